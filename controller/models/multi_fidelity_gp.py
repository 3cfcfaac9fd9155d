"""A Gaussian process over architectures and the level of compute at which they were scored.

All scores are pooled: k((x, l), (x', l')) = k_x(x, x') r^|l - l'| + level offsets + d m(x) m(x'), where `l` is the number of a
level and `m` the mean function of a prior, whose size is in doubt by the variance `d`. An architecture's kernel is half linear,
for what each option adds, and half radial, for what options do together. As in Kandasamy et al. 2017 (BOCA, section 3) levels
have a kernel of their own; here it is that of an Ornstein-Uhlenbeck process on numbers of levels.

Everything is of one search: what stands beside it changes no bit. Shapes: `E` evaluations, `M` candidates, `D` decisions, `F`
features.
"""

from __future__ import annotations

import itertools
import math
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from search_spaces import HasOperationFeatures, Space, _ops

_LENGTHS = (2.0, 8.0)
"""Squared distances, counted in decisions that differ, at which the radial kernel falls to 1/e: neighbors, and most of a cell."""
_NOISE = (0.05, 0.3)
"""Variances of the noise of a score, in units of the scores' variance; the marginal likelihood chooses, as for the lengths."""
_NEXT_LEVEL = 0.9
"""Correlation `r` of what architectures are worth at one level and at the next."""
_OFFSETS = 4.0
"""Variance of a level's offset, in units of the scores' variance: next to unknown."""
_DOUBT = 0.25
"""Variance of how many times as large as a prior says effects are here; one time as large is expected."""
_TAIL = 3.0
"""Scores lie at most so many times as far below the median of their level as the best lies above it: how badly the worst failed
tells nothing of the best."""


class Posterior(NamedTuple):
    """Of `M` architectures at one level."""

    mean: Tensor
    """float64 `[M]`, in standard deviations of the scores."""
    std: Tensor


class Observed(NamedTuple):
    """What the process is conditioned on."""

    archs: Tensor
    """int64 `[E, D]`."""
    level: Tensor
    """int64 `[E]` the number of the level, from 0."""
    target: Tensor
    """float64 `[E]`: scores as `targets` gives them."""


class MultiFidelityGP:
    """The process given what was observed.

    Args:
        mean_weights: float64 `[F]`, by which a prior's mean function weighs `features`; empty: no prior.
    """

    def __init__(self, space: Space, seen: Observed, mean_weights: Tensor):
        self.space, self.seen, self.weights = space, seen, mean_weights
        self._features = _scaled(space, seen.archs)
        gram = self._features @ self._features.mT
        same = _level_kernel(seen.level, seen.level)
        mean = self.mean(seen.archs)
        # What does not depend on length and noise.
        fixed = _offset_kernel(seen.level, seen.level) + _DOUBT * mean[:, None] * mean
        target = (seen.target - mean)[:, None]
        best = -math.inf
        for length in _LENGTHS:
            kernel = _arch_kernel(gram, self._features, self._features, length) * same + fixed
            for noise in _NOISE:
                root = torch.linalg.cholesky(kernel + noise * torch.eye(len(kernel), dtype=torch.float64))
                white = torch.linalg.solve_triangular(root, target, upper=False)
                # Rasmussen & Williams 2006, equation 5.8, without what is the same for all.
                evidence = float(-white.square().sum() / 2 - root.diagonal().log().sum())
                if evidence > best:
                    best, self._length, self._root, self._white = evidence, length, root, white

    def mean(self, archs: Tensor) -> Tensor:
        """What the prior expects, float64 `[M]`; zeros without one."""
        if not len(self.weights):
            return torch.zeros(len(archs), dtype=torch.float64)
        return features(self.space, archs) @ self.weights

    def posterior(self, archs: Tensor, level: int) -> Posterior:
        """Of `archs` `[M, D]` at a level; the noise of a score is not in it."""
        asked, numbers = _scaled(self.space, archs), torch.full((len(archs),), level)
        cross = _arch_kernel(self._features @ asked.mT, self._features, asked, self._length)
        mean = self.mean(archs)
        cross = cross * _level_kernel(self.seen.level, numbers) + _offset_kernel(self.seen.level, numbers)
        cross = cross + _DOUBT * self.mean(self.seen.archs)[:, None] * mean
        half = torch.linalg.solve_triangular(self._root, cross, upper=False)
        # The linear part of an architecture with itself is one, as its features have length one; and so is the radial one.
        own = 1 + _OFFSETS + _DOUBT * mean.square()
        return Posterior(mean + (half.mT @ self._white)[:, 0], (own - half.square().sum(0)).clamp_min(1e-9).sqrt())

    def likeness(self, archs: Tensor) -> Tensor:
        """The kernel of `archs` `[M, D]` with each other, float64 `[M, M]` from about 0 to 1."""
        ours = _scaled(self.space, archs)
        return _arch_kernel(ours @ ours.mT, ours, ours, self._length)


def targets(score: Tensor, level: Tensor) -> Tensor:
    """Scores `[E]` as the process sees them, float64: their far tail drawn in, a failure (NaN) as the worst, of variance one."""
    value = score.double().clone()
    for number in level.unique().tolist():
        at = level == number
        own = value[at]
        known = own[~own.isnan()]
        if not len(known):
            value[at] = 0.0
            continue
        middle, best = known.median(), known.max()
        lowest = torch.maximum(known.min(), middle - _TAIL * (best - middle))
        value[at] = own.nan_to_num(float(lowest)).clamp_min(float(lowest))
    value = value - value.mean()
    inside = torch.stack([value[level == number].var(unbiased=False) for number in level.unique().tolist()]).mean()
    return value / inside.sqrt().clamp_min(1e-6)


def features(space: Space, archs: Tensor) -> Tensor:
    """One-hot options of decisions without an order, and of those with one their place and its square, float64 `[M, F]`."""
    return _ops.one_hot(archs, space.choices).double() @ _tables(space)[0]


@lru_cache(maxsize=16)
def _ordered(space: Space) -> tuple[bool, ...]:
    """Which decisions have options that are numbers in ascending order."""
    if not isinstance(space, HasOperationFeatures):
        return (False,) * len(space.choices)
    numbers = [[option.number for option in options] for options in space.operation_features]
    return tuple(all(a < b for a, b in itertools.pairwise(values)) and len(values) > 1 for values in numbers)


@lru_cache(maxsize=16)
def _tables(space: Space) -> tuple[Tensor, Tensor]:
    """From one-hot options to `features`, and to features of which architectures that differ wholly in a decision differ by a
    squared distance of one, float64 `[options of all decisions, F]` each."""
    plain, scaled = [], []
    for ordered, options in zip(_ordered(space), space.choices):
        if not ordered:
            plain.append(torch.eye(options, dtype=torch.float64))
            scaled.append(plain[-1])
            continue
        place = torch.linspace(-1, 1, options, dtype=torch.float64)
        plain.append(torch.stack([place, place.square()] if options > 2 else [place], -1))
        # On a quarter of a circle: all architectures have features of one length, and so a linear kernel of one size.
        angle = (place + 1) * (math.pi / 4)
        scaled.append(torch.stack([angle.cos(), angle.sin()], -1))
    return torch.block_diag(*plain), torch.block_diag(*scaled) * math.sqrt(0.5)


def _scaled(space: Space, archs: Tensor) -> Tensor:
    return _ops.one_hot(archs, space.choices).double() @ _tables(space)[1]


def _arch_kernel(gram: Tensor, ours: Tensor, theirs: Tensor, length: float) -> Tensor:
    """Half linear, half radial, `[n, M]`."""
    # Each decision has features of squared length one half.
    half = ours[0].square().sum()
    squared = 2 * half - 2 * gram
    return 0.5 * gram / half + 0.5 * torch.exp(-squared / length)


def _level_kernel(ours: Tensor, theirs: Tensor) -> Tensor:
    return torch.tensor(_NEXT_LEVEL, dtype=torch.float64) ** (ours[:, None] - theirs).abs()


def _offset_kernel(ours: Tensor, theirs: Tensor) -> Tensor:
    return _OFFSETS * (ours[:, None] == theirs).double()
