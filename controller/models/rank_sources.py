"""Ranks the architectures of a space by each task of a task set, and keeps those worth copying (`source_ranks`).

Shapes: `N` architectures of a space, `M` of them kept, `T` source tasks, `P` costs, `Q` costs by shares.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from controller._base import AuxiliaryColumn, TaskSet
from controller.models import task_pca
from controller.models.source_ranks import KINDS, QUANTITIES, SHARES, SourceRanks, place
from search_spaces import Space

_TOP, _TOP_WITHIN = 64, 16
"""Architectures kept of each task, and of each task within each share of each cost: more than a search ever copies.
Not ablated."""


def fit(space: Space, known: TaskSet) -> SourceRanks | None:
    """What to keep of a space; None where no task on it has a score to copy.

    Sources are tasks without constraints at their longest training. Constraints follow from the costs (`portfolio`).
    """
    found = {
        k: scores
        for k, x in enumerate(known.tasks)
        if x.longest and not x.task.constraints and (scores := task_pca.scores_on(space, x)) is not None
    }
    if not found:
        return None
    rank_NT = torch.stack([_above(score_N) for score_N in found.values()], 1)
    cost_NP, kind_P3 = _costs(space, known.auxiliary, len(rank_NT))
    rows = _worth_keeping(rank_NT, cost_NP)
    families = [known.tasks[k].family for k in found]
    likely = torch.tensor([known.family_weights.get(f, task_pca.UNDECLARED) / families.count(f) for f in families])
    numbered = list(dict.fromkeys([*known.families, *families]))
    return SourceRanks(
        rows=rows.float(),
        ranks=rank_NT[rows].log1p().half(),
        tasks=torch.tensor([*found]).float(),
        families=torch.tensor([numbered.index(family) for family in families]).float(),
        shares=likely / likely.sum(),
        costs=cost_NP[rows].half(),
        cost_kinds=kind_P3,
    )


def _worth_keeping(rank_NT: Tensor, cost_NP: Tensor) -> Tensor:
    """The rows of the best of each task, and of the best within each share of each cost, int64 `[M]`."""
    kept = torch.zeros(len(rank_NT), dtype=torch.bool)
    within_NQ = torch.cat([cost_NP <= share for share in SHARES], 1)
    for rank_N in rank_NT.T:
        order_N = rank_N.argsort(stable=True)
        kept[order_N[:_TOP]] = True
        sorted_NQ = within_NQ[order_N]
        first_NQ = sorted_NQ & (sorted_NQ.cumsum(0) <= _TOP_WITHIN)
        kept[order_N[first_NQ.any(1)]] = True
    return kept.nonzero().squeeze(1)


def _above(score_N: Tensor) -> Tensor:
    """How many score higher, float32 `[N]`; what was not measured stands at the bottom."""
    negative_N = -score_N.nan_to_num(-torch.inf)
    return torch.searchsorted(negative_N.sort().values, negative_N).float()


def _costs(space: Space, auxiliary: Sequence[AuxiliaryColumn], size: int) -> tuple[Tensor, Tensor]:
    """The share of the space that costs less, float32 `[N, P]`, by each cost and by the mean of each kind and of each quantity;
    and what each is, `[P, 3]`."""
    found = [
        (cost_N, [place(QUANTITIES, x.quantity), place(KINDS, x.device), 0])
        for x in auxiliary
        if x.log_value is not None and (cost_N := task_pca.values_on(space, x)) is not None
    ]
    if not found:
        return torch.zeros(size, 0), torch.zeros(0, 3)
    cost_NP = torch.stack([_share_below(cost_N) for cost_N, _ in found], 1)
    kind_P3 = torch.tensor([kind for _, kind in found])
    means, kinds = [], []
    for quantity in kind_P3[:, 0].unique().tolist():
        ours_P = kind_P3[:, 0] == quantity
        for kind in [-1, *kind_P3[ours_P & (kind_P3[:, 1] >= 0), 1].unique().tolist()]:
            # The mean over all devices stands for an unknown kind.
            these_P = ours_P if kind < 0 else ours_P & (kind_P3[:, 1] == kind)
            means.append(_share_below(cost_NP[:, these_P].mean(1)))
            kinds.append([quantity, kind, 1])
    return torch.cat([cost_NP, torch.stack(means, 1)], 1), torch.cat([kind_P3, torch.tensor(kinds)]).float()


def _share_below(cost_N: Tensor) -> Tensor:
    return torch.searchsorted(cost_N.sort().values, cost_N.contiguous()).float() / len(cost_N)
