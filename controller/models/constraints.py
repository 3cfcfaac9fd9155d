"""What limits take off a score, learned apart from what the cells are worth without them.

Each evaluation tells how far a cell is over each limit. So a search knows the score without the points off, which looks like
that of other tasks, and foretells the points off (`_amounts`). Expected improvement is then taken over both, as in composite
Bayesian optimisation (Astudillo & Frazier 2019, arXiv:1906.01537).

Shapes: `S` seeds, `E` evaluations so far, `M` candidates, `N` listed architectures, `D` decisions, `L` limits, `F` features.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from controller._base import penalty
from controller.models import constraint_gp, features, gp_ensemble, kernels, pretrained, ridge
from search_spaces import Space

_NODES = tuple((z, math.exp(-z * z / 2)) for z in (-1.8, -0.9, 0.0, 0.9, 1.8))
_LATEST = 96
"""Evaluations that the process rests on."""


class Off(NamedTuple):
    """What the points off are worth in units of standing."""

    seen: Tensor
    """float64 `[S, E]` what was taken off the evaluations so far."""
    ahead: tuple[tuple[float, Tensor], ...]
    """How likely, and what is then taken off the candidates, `[S, M]` or `[1, 1]`."""

    def expected(self, gain: Callable[[Tensor], Tensor]) -> Tensor:
        """The expectation of a gain `[S, M]` that depends on what is taken off."""
        return sum((p * gain(off) for p, off in self.ahead), torch.zeros((), dtype=torch.float64))


NOTHING = Off(torch.zeros(1, 1, dtype=torch.float64), ((1.0, torch.zeros(1, 1, dtype=torch.float64)),))
"""Nothing is taken off."""


def lifted(state: Any) -> Tensor:
    """Scores without the points off, float32 `[S, E]`."""
    return state.score + _points(state.over, state.limits).float()


def without(state: Any) -> Any:
    """A search as it would be without limits."""
    return state._replace(score=lifted(state), over=state.over[..., :0], limits=state.limits[:, :0])


def _points(over: Tensor, limits: Tensor) -> Tensor:
    """Points off for value / limit `[S, ..., L]`, float64 `[S, ...]`."""
    weight = limits.view(len(limits), *[1] * (over.dim() - 2), -1)
    return penalty(over.double(), weight)


def exchange(score: Tensor) -> Tensor:
    """What a point is worth in units of standing, among the better half of scores `[S, E]`: `[S, 1]`."""
    lowest = score.nan_to_num(torch.inf).amin(-1, keepdim=True).nan_to_num(posinf=0.0)
    value = torch.where(score.isnan(), lowest, score).double()
    order = value.argsort(dim=-1, descending=True, stable=True)[:, : max(score.shape[1] // 2, 1)]
    ends = order[:, [0, -1]]
    points, stand = value.gather(1, ends), gp_ensemble.standing(score).gather(1, ends)
    return ((stand[:, :1] - stand[:, 1:]) / (points[:, :1] - points[:, 1:]).clamp_min(0.3)).clamp(0.02, 3.0)


def prepare(key: int, space: Space) -> None:
    """Do at once what is done once for a prior and a space."""
    if features.listed(space) is not None:
        constraint_gp.line(key, space)


def off(space: Space, state: Any, archs: Tensor, sight: kernels.Sight, key: int) -> Off:
    """The points off of what was tried and of candidates `archs` `[S, M, D]`."""
    worth_S1 = exchange(lifted(state))
    seen_SE = worth_S1 * _points(state.over, state.limits)
    tried = state.archs[:, -_LATEST:]
    known, (row_SE, row_SM) = _known(space, tried, archs, sight, key)
    over_SEL = constraint_gp.capped(state.over[:, -_LATEST:], known)
    mean, deviation = zip(*(constraint_gp.foretell(known, row_SE, x, row_SM) for x in over_SEL.unbind(-1)))
    mean, deviation, total = torch.stack(mean, -1), torch.stack(deviation, -1), sum(p for _, p in _NODES)
    return Off(
        seen_SE,
        tuple((p / total, worth_S1 * _points((mean + z * deviation).exp(), state.limits)) for z, p in _NODES),
    )


def _known(
    space: Space, tried: Tensor, archs: Tensor, sight: kernels.Sight, key: int
) -> tuple[constraint_gp.Seen, tuple[Tensor, Tensor]]:
    """What amounts are foretold from, and the rows there of `tried` `[S, E, D]` and of `archs` `[S, M, D]`."""
    if features.listed(space) is not None:
        return constraint_gp.everything(key, space), (features.rows(space, tried), features.rows(space, archs))
    E, every, seen = tried.shape[1], torch.cat([tried, archs], 1), pretrained.look(key, space, tried).sight
    both = kernels.Sight(*(torch.cat(pair, 1).flatten(0, 1) for pair in zip(seen, sight)))
    row = torch.arange(len(every) * every.shape[1]).view(len(every), -1)
    return constraint_gp.described(space, every.flatten(0, 1), both), (row[:, :E], row[:, E:])


def listed(space: Space, state: Any) -> Tensor:
    """The points off of every architecture of a listed space, by ridge regression, in units of standing: `[S, N]`."""
    key, row_SE = int(state.prior[0]), features.rows(space, state.archs)
    everything, (told_NF, noise) = constraint_gp.everything(key, space), constraint_gp.line(key, space)
    over_SEL = constraint_gp.capped(state.over, everything) - everything.usual[row_SE][..., None]
    centre_S1L = over_SEL.mean(1, keepdim=True)
    weight_SFL = ridge.ridge(told_NF, row_SE, over_SEL - centre_S1L, noise)
    over_LSN = (weight_SFL.permute(2, 0, 1) @ told_NF.mT).add_(centre_S1L.permute(2, 0, 1)).add_(everything.usual)
    points_LSN = over_LSN.exp_().sub_(1).clamp_min_(0).mul_(state.limits.T[..., None])
    return exchange(lifted(state)) * points_LSN.sum(0)
