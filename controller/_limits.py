"""What limits take off a score, learned apart from what the cells are worth without them.

Each evaluation tells how far a cell is over each limit. So a search knows the score without the points off, which looks like
that of other tasks, and foretells the points off by a Gaussian process on the logarithm of value / limit: what a device takes
adds up over a cell's operations, whether or not they reach the output. Expected improvement is then taken over both, as in
composite Bayesian optimisation (Astudillo & Frazier 2019, arXiv:1906.01537).

Shapes: `S` seeds, `E` evaluations so far, `M` candidates, `N` listed architectures, `D` decisions, `L` limits, `F` features.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from controller import _bank, _landscape, _prior
from search_spaces import _ops
from search_spaces._base import Space

_KINDS = tuple((smooth, noise) for smooth in (0.1, 0.5) for noise in (0.003, 0.03, 0.15))
"""Variance that is not linear and of noise, in variances of what was measured; the likeliest of each search counts. The linear
part is left wide: devices' figures have outliers, and searches that are sure of them miss the best cells."""
_NODES = tuple((z, math.exp(-z * z / 2)) for z in (-1.8, -0.9, 0.0, 0.9, 1.8))
_GUESS = 0.5
"""Deviation over the space, before it can be measured."""
_SPARE, _HOPELESS = 0.3, 5.0
"""Values below and above so many times the limit are not worth telling apart."""
_FEW = 3
"""Evaluations from which on their own deviation is taken."""
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
    return (weight * (over.double() - 1).clamp_min(0)).sum(-1)


def exchange(score: Tensor) -> Tensor:
    """What a point is worth in units of standing, among the better half of scores `[S, E]`: `[S, 1]`."""
    lowest = score.nan_to_num(torch.inf).amin(-1, keepdim=True).nan_to_num(posinf=0.0)
    value = torch.where(score.isnan(), lowest, score).double()
    order = value.argsort(dim=-1, descending=True, stable=True)[:, : max(score.shape[1] // 2, 1)]
    ends = order[:, [0, -1]]
    points, stand = value.gather(1, ends), _bank.standing(score).gather(1, ends)
    return ((stand[:, :1] - stand[:, 1:]) / (points[:, :1] - points[:, 1:]).clamp_min(0.3)).clamp(0.02, 3.0)


def off(space: Space, state: Any, archs: Tensor, sight: _bank.Sight, key: int) -> Off:
    """The points off of what was tried and of candidates `archs` `[S, M, D]`."""
    worth_S1 = exchange(lifted(state))
    seen_SE = worth_S1 * _points(state.over, state.limits)
    tried = state.archs[:, -_LATEST:]
    if _landscape.listed(space) is None:
        a, b = _features(space, tried, _prior.look(key, space, tried).sight), _features(space, archs, sight)
    else:
        a, b = (_everything(space)[_prior.rows(space)[_landscape.ranks(space, x)]] for x in (tried, archs))
    mean, deviation = zip(*(_foretell(a, x, b) for x in _capped(state)[:, -_LATEST:].unbind(-1)))
    mean, deviation, total = torch.stack(mean, -1), torch.stack(deviation, -1), sum(p for _, p in _NODES)
    return Off(
        seen_SE,
        tuple((p / total, worth_S1 * _points((mean + z * deviation).exp(), state.limits)) for z, p in _NODES),
    )


def _capped(state: Any) -> Tensor:
    return state.over.double().clamp(_SPARE, _HOPELESS).log()


def listed(space: Space, state: Any) -> Tensor:
    """The points off of every architecture of a listed space, by ridge regression, in units of standing: `[S, N]`."""
    features_NF = _everything(space)
    seen_SEF = features_NF[_prior.rows(space)[_landscape.ranks(space, state.archs)]]
    gram_SFF = seen_SEF.mT @ seen_SEF + 0.03 * torch.eye(seen_SEF.shape[-1], dtype=torch.float64)
    over_SEL = _capped(state)
    centre_S1L = over_SEL.mean(1, keepdim=True)
    weight_SFL = torch.linalg.solve(gram_SFF, seen_SEF.mT @ (over_SEL - centre_S1L))
    over_LSN = (weight_SFL.permute(2, 0, 1) @ features_NF.mT + centre_S1L.permute(2, 0, 1)).exp()
    return exchange(lifted(state)) * _points(over_LSN.permute(1, 2, 0), state.limits)


@lru_cache
def _everything(space: Space) -> Tensor:
    described, found = _landscape.listed(space), _prior.everything(_prior.NONE, space)
    assert described is not None
    assert found is not None
    return _features(space, described.archs, found.sight)


def _features(space: Space, archs: Tensor, sight: _bank.Sight) -> Tensor:
    """float64 `[..., F]`: what was chosen, and of that what is alive."""
    chosen = _ops.one_hot(archs, space.choices).double() / 2
    whole = sight.whole * 2 / math.sqrt(sight.whole.shape[-1])
    return torch.cat([chosen, sight.place * 0.3, sight.pair, whole, torch.ones_like(whole[..., :1])], -1)


def _foretell(seen: Tensor, value: Tensor, ahead: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation `[S, M]` at `ahead` `[S, M, F]` after `value` `[S, E]` at `seen` `[S, E, F]`.

    A few searches at a time, as in `_bank`.
    """
    parts = zip(*(x.split(_bank.TOGETHER) for x in (seen, value, ahead)))
    mean, deviation = zip(*(_foretell_some(*part) for part in parts))
    return torch.cat(mean), torch.cat(deviation)


def _foretell_some(seen: Tensor, value: Tensor, ahead: Tensor) -> tuple[Tensor, Tensor]:
    E = value.shape[1]
    centre = value.mean(-1, keepdim=True)
    unit = torch.full_like(centre, _GUESS) if E < _FEW else value.std(-1, keepdim=True).clamp_min(0.02)
    target, own = ((value - centre) / unit)[..., None], torch.eye(E, dtype=torch.float64)
    line, near = _kernels(seen, seen)
    fits = []
    for smooth, noise in _KINDS:
        lower = torch.linalg.cholesky(line + smooth * near + noise * own)
        white = torch.linalg.solve_triangular(lower, target, upper=False)
        evidence = -white.square().sum((-1, -2)) / 2 - lower.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        fits.append((evidence, lower, white))
    evidence, lower, white = (torch.stack(x, 1) for x in zip(*fits))
    best_S, every_S = evidence.argmax(-1), torch.arange(len(evidence))
    lower, white = lower[every_S, best_S], white[every_S, best_S]
    smooth, noise = torch.tensor(_KINDS, dtype=torch.float64)[best_S, :, None, None].unbind(1)
    line, near = _kernels(seen, ahead)
    half = torch.linalg.solve_triangular(lower, line + smooth * near, upper=False)
    prior = (ahead.square().sum(-1, keepdim=True) + smooth + noise).squeeze(-1)
    deviation = (prior - half.square().sum(-2)).clamp_min(1e-6).sqrt()
    return centre + unit * (white.mT @ half).squeeze(-2), unit * deviation


def _kernels(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    line = a @ b.mT
    return line, _bank.apart(a, b, line).div_(-2).exp_()
