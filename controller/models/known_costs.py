"""Which architectures keep a task's constraints, by what they cost on the devices that a prior knows.

Shapes: `M` architectures kept, `P` costs, `L` constraints, `C` ways to take the known costs for those constrained.
"""

from __future__ import annotations

import torch
from torch import Tensor

from controller.models.source_ranks import KINDS, QUANTITIES, SHARES, SourceRanks, place
from search_spaces import ConstraintFacts

_OTHER_KIND = 0.3
"""How much a cost counts that is of another kind of device. 0.3 and 0.1 do alike on the tasks below; 1 was worse without the
usual cost."""
_USUAL = 1.0
"""How much the usual cost, the mean over devices, counts beside all single devices together. With the devices of the split
`development-devices` held out kind by kind (18 tasks), a greedy order has a top architecture after 1.45 to 1.50 in the geometric
mean for 0.5 to 4, and after 3.8 for 0."""
_FEW_DEVICES = 2.0
"""Devices of a kind of which the mean counts as much as that over all. Not ablated."""
_NEAR = 0.15
"""How far from a bound, as a share of the space, known devices are compared with each other. Not ablated."""


def allowed(ranks: SourceRanks, facts: tuple[ConstraintFacts, ...]) -> tuple[Tensor, Tensor]:
    """Which architectures keep all constraints, bool `[M, C]`, in `C` ways to take the known costs for those constrained; and
    how much each way counts, `[C]`.

    A way takes one known cost, or the usual one, for one of the constraints, and the usual cost for the others.
    """
    usual_ML = torch.stack([usual_cost(ranks, constraint) for constraint in facts], 1)
    within_ML = usual_ML <= torch.tensor([_shares(constraint)[len(_shares(constraint)) // 3] for constraint in facts])
    kept, counts = [], []
    for at, constraint in enumerate(facts):
        others_M1 = within_ML[:, [i for i in range(len(facts)) if i != at]].all(1, keepdim=True)
        weights_P = _cost_weights(ranks, constraint)
        cost_MC = torch.cat([ranks.costs.float(), usual_ML[:, at : at + 1]], 1)
        weights_C = torch.cat([weights_P / weights_P.sum(), torch.tensor([_USUAL])])
        for share in _shares(constraint):
            kept.append((cost_MC <= share) & others_M1)
            counts.append(weights_C)
    return torch.cat(kept, 1), torch.cat(counts)


def probability_kept(ranks: SourceRanks, facts: tuple[ConstraintFacts, ...]) -> Tensor:
    """How likely each architecture keeps all constraints on a device that is not known, float32 `[M]`.

    A device is taken to differ from the mean of those of its kind as each of them does from the mean of the others. Differences
    are taken to be normal, constraints independent. A constraint of which nothing can be said, as fewer than two devices of its
    kind are known or not what share of the space keeps it, counts as kept.
    """
    kept_M = torch.ones(len(ranks.rows))
    quantity_P, kind_P, is_mean_P = ranks.cost_kinds.unbind(1)
    for constraint in facts:
        same_P = (quantity_P == place(QUANTITIES, constraint.quantity)) & (kind_P == place(KINDS, constraint.device))
        costs_MD = ranks.costs[:, same_P & (is_mean_P == 0)].float()
        mean_M, count = costs_MD.mean(1), costs_MD.shape[1]
        if constraint.share is None or count < 2:
            continue
        near_M = (mean_M - constraint.share).abs() <= _NEAR
        # A device's difference from the mean of the others is n / (n - 1) times that from the mean of all.
        apart_MD = (costs_MD - mean_M[:, None])[near_M] * (count / (count - 1))
        spread = float(apart_MD.square().mean().sqrt()) if near_M.any() else 0.0
        kept_M = kept_M * torch.special.ndtr((constraint.share - mean_M) / max(spread, 1e-6))
    return kept_M


def _shares(constraint: ConstraintFacts) -> tuple[float, ...]:
    """Of the space that may keep a constraint: the share where it is known, else several."""
    return SHARES if constraint.share is None else (constraint.share,)


def _cost_weights(ranks: SourceRanks, constraint: ConstraintFacts) -> Tensor:
    """How much each known cost counts, float32 `[P]`: those of the same quantity, of which kinds count alike that are as near."""
    quantity_P, kind_P, is_mean_P = ranks.cost_kinds.unbind(1)
    ours_P = (quantity_P == place(QUANTITIES, constraint.quantity)) & (is_mean_P == 0)
    ours_P = ours_P if ours_P.any() else is_mean_P == 0
    kind = place(KINDS, constraint.device)
    near_P = torch.where(kind_P == kind, 1.0, _OTHER_KIND if kind >= 0 else 1.0)
    # As `family_balance`: a kind of which many were measured counts more, but does not drown the others.
    number_P = (kind_P[:, None] == kind_P).float()[:, ours_P].sum(1).clamp_min(1)
    return near_P * number_P**-0.7 * ours_P


def usual_cost(ranks: SourceRanks, constraint: ConstraintFacts) -> Tensor:
    """The share of the space that costs less by mean rank over the known devices, those of the same kind more, `[M]`."""
    quantity_P, kind_P, is_mean_P = ranks.cost_kinds.unbind(1)
    ours_P = (is_mean_P == 1) & (quantity_P == place(QUANTITIES, constraint.quantity))
    ours_P = ours_P if ours_P.any() else is_mean_P == 1
    all_M = ranks.costs.float()[:, ours_P & (kind_P == -1)].mean(1)
    kind = place(KINDS, constraint.device)
    same_P = ours_P & (kind_P == kind)
    if kind < 0 or not same_P.any():
        return all_M
    # A kind of which few devices are known says less of another one.
    known = int(((quantity_P == quantity_P[same_P][0]) & (kind_P == kind) & (is_mean_P == 0)).sum())
    return torch.lerp(all_M, ranks.costs.float()[:, same_P].mean(1), known / (known + _FEW_DEVICES))
