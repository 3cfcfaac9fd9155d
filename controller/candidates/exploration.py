"""Evaluations of a stalled search that do not rest on the prior: Bayesian optimisation without prior, and space filling.

Space filling goes where the search has not been, along the components in which tasks differ most: to the first not yet evaluated
of a net, each the architecture farthest from those before it (Gonzalez 1985, farthest-first traversal). So a task whose best
architectures lie in a region where no other task's do is found out, where models of what was evaluated never look.

Shapes: `S` seeds, `B` architectures, `T` of them that explore, `R` seeds that explore, `D` decisions, `E` evaluations so far,
`N` architectures of an enumerable space.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from controller.candidates import batch
from controller.models import kernels, scores
from controller.models.gp import GaussianProcess
from controller.models.transfer_model import TransferModel

_NUM_COMPONENTS = 8
"""Components that the net lies along. Chosen among 8 and 24, with `_FIRST`, on Square 2 to 4, FGSM 255, NinaPro, digits, aerial
images and three of TransNAS: with space filling 100 of 100 searches reach one of the best 0.1% of Square 2, without it 1."""
_NET = 256
"""Architectures of the net: more than any search evaluates by these steps."""
_FIRST = 32
"""Evaluations before the first of these steps: until then a search has better to do."""
_PRIOR_IS_WRONG = 0.5
"""Posterior weight of the hypotheses that use the prior below which space filling begins. Not ablated."""


class ExplorationSteps(NamedTuple):
    """Which of the next evaluations explore, bool `[S, B]` each."""

    cold_bo: Tensor
    space_filling: Tensor
    """Where the prior turns out to be wrong, too."""

    def columns(self) -> Tensor:
        """The steps of any search, `[T]` of B."""
        return (self.cold_bo | self.space_filling).any(0).nonzero().squeeze(-1)

    def active(self, prior_weight_S: Tensor) -> Tensor:
        """Which are taken, given the posterior weight of the prior, bool `[S, B]`."""
        return self.cold_bo | (self.space_filling & (prior_weight_S < _PRIOR_IS_WRONG)[:, None])


def schedule(
    model: TransferModel, state: Any, size: int, patience: int, cold_bo_every: int, space_filling_every: int
) -> ExplorationSteps:
    """While `patience` evaluations brought no better one: one in `cold_bo_every`; of the others one in `space_filling_every`."""
    number_B = state.archs.shape[1] + torch.arange(size)
    cold_B = number_B % cold_bo_every == cold_bo_every - 1
    filling_B = ~cold_B & (number_B % space_filling_every == space_filling_every // 2) & (number_B >= _FIRST)
    filling_B &= farthest_first(model) is not None
    stalled_S1 = no_improvement(state.score, patience)[:, None]
    return ExplorationSteps(stalled_S1 & cold_B, stalled_S1 & filling_B)


def no_improvement(score_SE: Tensor, patience: int) -> Tensor:
    """Whether none of the last `patience` evaluations is better than those before, bool `[S]`."""
    if score_SE.shape[1] <= patience:
        return torch.zeros(len(score_SE), dtype=torch.bool)
    top_SE = scores.nan_to_worst(score_SE).cummax(-1).values
    return top_SE[:, -1 - patience] == top_SE[:, -1]


def propose(model: TransferModel, state: Any, steps: ExplorationSteps) -> Tensor:
    """What each step would evaluate, `[S, T, D]`; for searches that do not explore, anything."""
    columns_T = steps.columns()
    archs_STD = state.archs[:, :1].expand(-1, len(columns_T), -1).clone()
    ways: tuple[tuple[Tensor, Callable[..., Tensor]], ...] = (
        (steps.cold_bo, _cold_bo),
        (steps.space_filling, _space_filling),
    )
    for wanted_SB, propose_some in ways:
        at_R, at_K = wanted_SB.any(1).nonzero().squeeze(-1), wanted_SB[:, columns_T].any(0).nonzero().squeeze(-1)
        if len(at_R):
            some = state._replace(**{n: getattr(state, n)[at_R] for n in ("seeds", "step", "archs", "score")})
            found_RKD = propose_some(model, some, len(at_K))
            archs_STD[at_R[:, None], at_K[: found_RKD.shape[1]]] = found_RKD
    return archs_STD


def _cold_bo(model: TransferModel, state: Any, count: int) -> Tensor:
    """What Bayesian optimisation that knows of no other task and of no equivalents would evaluate next, `[S, count, D]`."""
    return GaussianProcess(model.space).next(state)[:, :count]


def _space_filling(model: TransferModel, state: Any, count: int) -> Tensor:
    """The first architectures of the net that were not evaluated, `[S, count, D]`."""
    rows = farthest_first(model)
    assert rows is not None
    assert model.all_archs is not None
    net_SMD = model.all_archs[rows].expand(len(state.seeds), -1, -1)
    order_SM = batch.is_evaluated(model.space, net_SMD, state).int().argsort(dim=-1, stable=True)
    return batch.take(net_SMD, order_SM[:, :count])


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
