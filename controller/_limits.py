"""What limits take off a score, learned apart from what the cells are worth without them.

Each evaluation tells how far a cell is over each limit. So a search knows the score without the points off, which looks like
that of other tasks, and foretells the points off by a Gaussian process on the logarithm of value / limit: what a device takes
adds up over a cell's operations, whether or not they reach the output. Where the prior remembers what the cells of the space
take of other devices, that counts as well, for as long as it explains what was measured. Expected improvement is then taken
over both, as in composite Bayesian optimisation (Astudillo & Frazier 2019, arXiv:1906.01537).

Shapes: `S` seeds, `E` evaluations so far, `M` candidates, `N` listed architectures, `D` decisions, `L` limits, `F` features,
`A` directions of what may be limited.
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
_KNOWN = tuple((smooth, noise) for smooth in (0.003, 0.03) for noise in (0.0003, 0.003, 0.02, 0.06))
"""Likewise in nats squared, of what is left of a logarithm that follows those remembered."""
_OWN, _SLOPE, _LEVEL = 0.01, 0.3, 2.0
"""Its variance by what was chosen, and deviations of its slope against the usual one and of its level."""
_NODES = tuple((z, math.exp(-z * z / 2)) for z in (-1.8, -0.9, 0.0, 0.9, 1.8))
_GUESS = 0.5
"""Deviation over the space, before it can be measured."""
_SPARE, _HOPELESS = 0.3, 5.0
"""Values below and above so many times the limit are not worth telling apart."""
_LEAST, _MOST = 0.05, 20.0
"""The same for those that follow what is remembered."""
_FEW = 3
"""Evaluations from which on their own deviation is taken."""
_LATEST = 96
"""Evaluations that the process rests on."""
_SCREEN = 32
"""Those by which the kind of covariance is chosen."""


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


class Seen(NamedTuple):
    """Architectures as what they take is foretold from. Leading axes are free."""

    features: Tensor
    """float64 `[..., F]` what was chosen, and of that what is alive."""
    usual: Tensor
    """float64 `[...]` the usual logarithm; zero where the prior remembers none."""
    along: Tensor
    """float64 `[..., A]` directions of what is remembered; A = 0 without."""


def off(space: Space, state: Any, archs: Tensor, sight: _bank.Sight, key: int) -> Off:
    """The points off of what was tried and of candidates `archs` `[S, M, D]`."""
    worth_S1 = exchange(lifted(state))
    seen_SE = worth_S1 * _points(state.over, state.limits)
    tried = state.archs[:, -_LATEST:]
    if _landscape.listed(space) is None:
        a, b = _unlisted(space, tried, _prior.look(key, space, tried).sight), _unlisted(space, archs, sight)
    else:
        rows = (_prior.rows(space)[_landscape.ranks(space, x)] for x in (tried, archs))
        a, b = (Seen(*(x[row] for x in _everything(key, space))) for row in rows)
    over_SEL = _capped(state, a)[:, -_LATEST:]
    mean, deviation = zip(*(_foretell(a, x, b) for x in over_SEL.unbind(-1)))
    mean, deviation, total = torch.stack(mean, -1), torch.stack(deviation, -1), sum(p for _, p in _NODES)
    return Off(
        seen_SE,
        tuple((p / total, worth_S1 * _points((mean + z * deviation).exp(), state.limits)) for z, p in _NODES),
    )


def _capped(state: Any, seen: Seen) -> Tensor:
    """Logarithms of value / limit, `[S, E, L]`."""
    ends = (_LEAST, _MOST) if seen.along.shape[-1] else (_SPARE, _HOPELESS)
    return state.over.double().clamp(*ends).log()


def listed(space: Space, state: Any) -> Tensor:
    """The points off of every architecture of a listed space, by ridge regression, in units of standing: `[S, N]`."""
    features_NF, usual_N, along_NA = _everything(int(state.prior[0]), space)
    known = bool(along_NA.shape[-1])
    told_NF = torch.cat([along_NA, features_NF * (_OWN**0.5 if known else 1.0)], 1)
    row_SE = _prior.rows(space)[_landscape.ranks(space, state.archs)]
    seen_SEF, usual_SE1 = told_NF[row_SE], usual_N[row_SE][..., None]
    gram_SFF = seen_SEF.mT @ seen_SEF + (0.01 if known else 0.03) * torch.eye(seen_SEF.shape[-1], dtype=torch.float64)
    over_SEL = _capped(state, _everything(int(state.prior[0]), space)) - usual_SE1
    centre_S1L = over_SEL.mean(1, keepdim=True)
    weight_SFL = torch.linalg.solve(gram_SFF, seen_SEF.mT @ (over_SEL - centre_S1L))
    over_LSN = (weight_SFL.permute(2, 0, 1) @ told_NF.mT + centre_S1L.permute(2, 0, 1) + usual_N).exp()
    return exchange(lifted(state)) * _points(over_LSN.permute(1, 2, 0), state.limits)


@lru_cache
def _everything(key: int, space: Space) -> Seen:
    described, found = _landscape.listed(space), _prior.everything(_prior.NONE, space)
    assert described is not None
    assert found is not None
    seen, amounts_NA = _unlisted(space, described.archs, found.sight), _prior.amounts(key, space)
    if amounts_NA is None:
        return seen
    usual_N = amounts_NA[:, 0]
    level_N = torch.full_like(usual_N, _LEVEL)
    return seen._replace(
        usual=usual_N, along=torch.cat([amounts_NA[:, 1:], torch.stack([usual_N * _SLOPE, level_N], 1)], 1)
    )


def _unlisted(space: Space, archs: Tensor, sight: _bank.Sight) -> Seen:
    """Without what a prior remembers."""
    chosen = _ops.one_hot(archs, space.choices).double() / 2
    whole = sight.whole * 2 / math.sqrt(sight.whole.shape[-1])
    features = torch.cat([chosen, sight.place * 0.3, sight.pair, whole, torch.ones_like(whole[..., :1])], -1)
    return Seen(features, torch.zeros_like(features[..., 0]), features[..., :0])


def _foretell(seen: Seen, value: Tensor, ahead: Seen) -> tuple[Tensor, Tensor]:
    """Mean and deviation `[S, M]` at `ahead` `[S, M]` after `value` `[S, E]` at `seen` `[S, E]`.

    A few searches at a time, as in `_bank`.
    """
    parts = zip(*(x.split(_bank.TOGETHER) for x in (*seen, value, *ahead)))
    mean, deviation = zip(*(_foretell_some(Seen(*part[:3]), part[3], Seen(*part[4:])) for part in parts))
    return torch.cat(mean), torch.cat(deviation)


class _Shares(NamedTuple):
    """What a covariance is made of, in nats squared: `[K]`, or `[S, K]` each."""

    line: Tensor
    near: Tensor
    along: Tensor
    noise: Tensor

    def of(self, kernels: Tensor) -> Tensor:
        """`[S, K, ...]` for kernels `[S, 3, ...]`."""
        share = torch.stack([self.line, self.near, self.along], -1)
        return (share @ kernels.flatten(2)).unflatten(-1, kernels.shape[2:])


def _foretell_some(seen: Seen, value: Tensor, ahead: Seen) -> tuple[Tensor, Tensor]:
    S, E = value.shape
    centre = value.mean(-1, keepdim=True)
    unit = torch.full_like(centre, _GUESS) if E < _FEW else value.std(-1, keepdim=True).clamp_min(0.02)
    shares = _shares(unit.square(), known=bool(seen.along.shape[-1]))
    usual = shares.along.sign()
    target = value[:, None] - torch.where(usual[..., None] > 0, seen.usual[:, None], centre[..., None])
    some = torch.arange(min(E, _SCREEN)) * E // min(E, _SCREEN)
    among = _kernels(seen, seen)
    evidence, _, _ = _fit(shares, among[:, :, some][..., some], target[..., some])
    best = evidence.argmax(-1, keepdim=True)
    shares = _Shares(*(x.expand(S, -1).gather(1, best) for x in shares))
    target = target.gather(1, best[..., None].expand(-1, -1, E))
    _, lower, white = _fit(shares, among, target)
    half = torch.linalg.solve_triangular(lower, shares.of(_kernels(seen, ahead)), upper=False)
    own = torch.stack([ahead.features.square().sum(-1), torch.ones_like(ahead.usual), ahead.along.square().sum(-1)], 1)
    deviation = (shares.of(own) + shares.noise[..., None] - half.square().sum(-2)).clamp_min(1e-6).sqrt()
    base = torch.where(shares.along > 0, ahead.usual, centre)
    return base + (white.mT @ half)[:, 0, 0], deviation[:, 0]


def _shares(unit2: Tensor, *, known: bool) -> _Shares:
    """The kinds of covariance there are, `[S, K]`, for what has variance `unit2` `[S, 1]`."""
    smooth, noise = torch.tensor(_KINDS, dtype=torch.float64).unbind(1)
    shares = _Shares(unit2.expand(-1, len(smooth)), unit2 * smooth, torch.zeros_like(unit2 * smooth), unit2 * noise)
    if not known:
        return shares
    smooth, noise = torch.tensor(_KNOWN, dtype=torch.float64).expand(len(unit2), -1, -1).unbind(-1)
    more = _Shares(torch.full_like(smooth, _OWN), smooth, torch.ones_like(smooth), noise)
    return _Shares(*(torch.cat(pair, 1) for pair in zip(shares, more)))


def _fit(shares: _Shares, among: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Evidence `[S, K]`, the factor `[S, K, E, E]`, and what it makes of the target `[S, K, E]`: `[S, K, E, 1]`."""
    covariance = shares.of(among)
    covariance.diagonal(dim1=-2, dim2=-1).add_(shares.noise[..., None])
    lower = torch.linalg.cholesky(covariance)
    white = torch.linalg.solve_triangular(lower, target[..., None], upper=False)
    certain = lower.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return -white.square().sum((-1, -2)) / 2 - certain, lower, white


def _kernels(a: Seen, b: Seen) -> Tensor:
    """`[S, 3, n, m]`: along a line of the features, near by them, and along what is remembered."""
    found = a.features.new_empty(len(a.features), 3, a.features.shape[1], b.features.shape[1])
    line, near, along = found.unbind(1)
    torch.matmul(a.features, b.features.mT, out=line)
    torch.matmul(a.along, b.along.mT, out=along)
    torch.exp(_bank.apart(a.features, b.features, line).div_(-2), out=near)
    return found
