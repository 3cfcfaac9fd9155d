"""Evaluations of a stalled search that do not rest on the prior.

While `patience` evaluations brought no better one, a share of them explores, by turns in two ways. One is Bayesian optimization
without a prior. The other takes the first architecture not yet evaluated of a net in which each is the farthest from those before
it, along the components in which tasks differ most (Gonzalez 1985, farthest-first traversal). So a task whose best architectures
lie in a region where no other task's do is found out, where models of what was evaluated never look.

Shapes: `S` seeds, `B` architectures, `T` of them that explore, `R` seeds that are stalled, `D` decisions, `E` evaluations so far,
`N` architectures of an enumerable space, `A` components.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from controller.candidates import batch
from controller.models import kernels, scores
from controller.models.gp import GaussianProcess
from controller.models.transfer_model import TransferModel
from search_spaces import Space, _ops, _sampling

_NUM_COMPONENTS = 8
"""Components that the net lies along. Chosen among 8 and 24 on Square 2 to 4, FGSM 255, NinaPro, digits, aerial images and three
of TransNAS: with the net 100 of 100 searches reach one of the best 0.1% of Square 2, without it 1."""
_CONTRAST = 9
"""Stream of random numbers."""
_CONTRASTS = 16
"""Random architectures of which the first that was not evaluated is taken."""
_NET = 256
"""Architectures of the net: more than any search evaluates by these steps."""


def explore(model: TransferModel, state: Any, size: int, patience: int, share: float) -> tuple[Tensor, Tensor]:
    """Which of the next evaluations explore, bool `[S, B]`, and what those that do in any search evaluate, `[S, T, D]`.

    For a search that does not explore the latter is anything.
    """
    number_B = state.archs.shape[1] + torch.arange(size)
    count_B = (share * (number_B + 1).double()).floor()
    due_B = count_B > (share * number_B.double()).floor()
    stalled_S = no_improvement(state.score, patience)
    explore_SB = stalled_S[:, None] & due_B
    parity_T = count_B[explore_SB.any(0)] % 2
    archs_STD = state.archs[:, :1].expand(-1, len(parity_T), -1).clone()
    at_R, net_N = stalled_S.nonzero().squeeze(-1), farthest_first(model)
    if len(at_R) and len(parity_T):
        some = state._replace(**{n: getattr(state, n)[at_R] for n in ("seeds", "step", "archs", "score")})
        from_net_T = (parity_T == 0) & (net_N is not None)
        for at_K, propose in ((~from_net_T, _without_prior), (from_net_T, _from_net)):
            at_K = at_K.nonzero().squeeze(-1)
            if len(at_K):
                found_RKD = propose(model, some, len(at_K))
                archs_STD[at_R[:, None], at_K[: found_RKD.shape[1]]] = found_RKD
    return explore_SB, archs_STD


def no_improvement(score_SE: Tensor, patience: int) -> Tensor:
    """Whether none of the last `patience` evaluations is better than those before, bool `[S]`."""
    if score_SE.shape[1] <= patience:
        return torch.zeros(len(score_SE), dtype=torch.bool)
    top_SE = scores.nan_to_worst(score_SE).cummax(-1).values
    return top_SE[:, -1 - patience] == top_SE[:, -1]


def _without_prior(model: TransferModel, state: Any, count: int) -> Tensor:
    """What Bayesian optimization that knows of no other task and of no equivalents would evaluate next, `[R, count, D]`."""
    return GaussianProcess(model.space).next(state)[:, :count]


def _from_net(model: TransferModel, state: Any, count: int) -> Tensor:
    """The first architectures of the net that were not evaluated, `[R, count, D]`."""
    rows = farthest_first(model)
    assert rows is not None
    assert model.all_archs is not None
    net_RMD = model.all_archs[rows].expand(len(state.seeds), -1, -1)
    order_RM = batch.is_evaluated(model.space, net_RMD, state).int().argsort(dim=-1, stable=True)
    return batch.take(net_RMD, order_RM[:, :count])


def with_contrast(space: Space, state: Any, archs_SBD: Tensor) -> Tensor:
    """With a random architecture in the first place of searches that have just given their prior up.

    What the prior proposed is alike and good, and tells little of the rest of the space; and searches of one prior would all go
    the same way from there.
    """
    begins_S11 = (state.given_up == state.archs.shape[1])[:, None, None]
    first_S1D = torch.where(begins_S11, random_new(space, state, archs_SBD), archs_SBD[:, :1])
    return torch.cat([first_S1D, archs_SBD[:, 1:]], 1)


def random_new(space: Space, state: Any, proposed_SCD: Tensor) -> Tensor:
    """A random architecture that is neither evaluated nor proposed, `[S, 1, D]`."""
    drawn_SND = _sampling.sample(space, state.seeds, state.step, _CONTRASTS, stream=_CONTRAST)
    known_SED = torch.cat([state.archs, proposed_SCD], 1)
    at_S1 = _ops.isin(*_ops.keys(space.choices, drawn_SND, known_SED)).int().argmin(-1, keepdim=True)
    return batch.take(drawn_SND, at_S1)


@lru_cache(maxsize=4)
def farthest_first(model: TransferModel) -> Tensor | None:
    """The rows of the net, the prior's favourite first; None without an enumeration or without components."""
    if model.all_features is None or not model.all_features.components.shape[1]:
        return None
    along_NA = model.all_features.components[:, :_NUM_COMPONENTS]
    rows = [int(model.prior_ranking[0])]
    distance_N = torch.full((len(along_NA),), torch.inf, dtype=torch.float64)
    for _ in range(min(_NET, len(along_NA)) - 1):
        nearest_N = kernels.squared_distances(along_NA[rows[-1:]], along_NA).squeeze(0)
        distance_N = torch.minimum(distance_N, nearest_N)
        rows.append(int(distance_N.argmax()))
    return torch.tensor(rows)
