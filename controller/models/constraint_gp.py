"""How much architectures take of what may be limited: a Gaussian process on the logarithm of value / limit.

What a device takes adds up over a cell's operations, whether or not they reach the output. Where the prior remembers what the
cells of the space take of other devices, that counts as well, for as long as it explains what was measured.

Shapes: `S` seeds, `E` evaluations so far, `M` candidates, `N` listed architectures, `F` features, `A` directions of what is
remembered, `K` kinds of covariance.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from controller.models import features, kernels, pretrained, ridge
from search_spaces import Space, _ops

_KINDS = tuple((smooth, noise) for smooth in (0.1, 0.5) for noise in (0.003, 0.03, 0.15))
"""Variance that is not linear and of noise, in variances of what was measured; the likeliest of each search counts. The linear
part is left wide: devices' figures have outliers, and searches that are sure of them miss the best cells."""
_KNOWN = tuple((smooth, noise) for smooth in (0.003, 0.03) for noise in (0.0003, 0.003, 0.02, 0.06))
"""Likewise in nats squared, of what is left of a logarithm that follows those remembered."""
_OWN, _SLOPE, _LEVEL = 0.01, 0.3, 2.0
"""Its variance by what was chosen, and deviations of its slope against the usual one and of its level."""
_GUESS = 0.5
"""Deviation over the space, before it can be measured."""
_SPARE, _HOPELESS = 0.3, 5.0
"""Values below and above so many times the limit are not worth telling apart."""
_LEAST, _MOST = 0.05, 20.0
"""The same for those that follow what is remembered."""
_FEW = 3
"""Evaluations from which on their own deviation is taken."""
_SCREEN = 32
"""Those by which the kind of covariance is chosen."""


class Seen(NamedTuple):
    """Architectures as what they take is foretold from. Leading axes are free."""

    features: Tensor
    """float64 `[..., F]` what was chosen, and of that what is alive."""
    usual: Tensor
    """float64 `[...]` the usual logarithm; zero where the prior remembers none."""
    along: Tensor
    """float64 `[..., A]` directions of what is remembered; A = 0 without."""

    def at(self, index: Tensor) -> Seen:
        """The rows of an index `[...]` of architectures."""
        return Seen(*(ridge.rows(x, index) for x in self))


def capped(over: Tensor, seen: Seen) -> Tensor:
    """Logarithms of value / limit `over`, of the same shape."""
    ends = (_LEAST, _MOST) if seen.along.shape[-1] else (_SPARE, _HOPELESS)
    return over.double().clamp(*ends).log()


@lru_cache
def everything(key: int, space: Space) -> Seen:
    """Every architecture of a listed space, by row of `_landscape.listed`."""
    listed, found = features.listed(space), pretrained.everything(pretrained.NONE, space)
    assert listed is not None
    assert found is not None
    seen, amounts_NA = described(space, listed.archs, found.sight), pretrained.amounts(key, space)
    if amounts_NA is None:
        return seen
    usual_N = amounts_NA[:, 0]
    level_N = torch.full_like(usual_N, _LEVEL)
    return seen._replace(
        usual=usual_N, along=torch.cat([amounts_NA[:, 1:], torch.stack([usual_N * _SLOPE, level_N], 1)], 1)
    )


@lru_cache
def line(key: int, space: Space) -> tuple[Tensor, float]:
    """What a ridge regression sees of every architecture of a listed space, `[N, A + F]`, and the variance of noise for it."""
    seen = everything(key, space)
    known = bool(seen.along.shape[-1])
    return torch.cat([seen.along, seen.features * (_OWN**0.5 if known else 1.0)], -1), 0.01 if known else 0.03


def described(space: Space, archs: Tensor, sight: kernels.Sight) -> Seen:
    """Architectures `[..., D]` without what a prior remembers."""
    chosen = _ops.one_hot(archs, space.choices).double() / 2
    whole = sight.whole * 2 / math.sqrt(sight.whole.shape[-1])
    features = torch.cat([chosen, sight.place * 0.3, sight.pair, whole, torch.ones_like(whole[..., :1])], -1)
    return Seen(features, torch.zeros_like(features[..., 0]), features[..., :0])


def foretell(known: Seen, tried: Tensor, value: Tensor, ahead: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation `[S, M]` of rows `ahead` `[S, M]` of what is known, after `value` `[S, E]` of its rows `tried`.

    A few searches at a time.
    """
    parts = zip(*(x.split(ridge.TOGETHER) for x in (tried, value, ahead)))
    mean, deviation = zip(*(_foretell_some(known.at(a), x, known.at(b)) for a, x, b in parts))
    return torch.cat(mean), torch.cat(deviation)


class _Shares(NamedTuple):
    """What covariances are made of, in nats squared, `[S, K]` each."""

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
    torch.exp(kernels.apart(a.features, b.features, line).div_(-2), out=near)
    return found
