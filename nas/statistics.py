"""How to sum up runs so that the summary can be believed (Agarwal et al. 2021, arXiv:2108.13264).

Shapes: `K` tasks, `S` seeds, `R` bootstrap samples. Every function is deterministic: resampling has a fixed seed.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy
from numpy import ndarray

RESAMPLES = 1000
LEVEL = 0.95
"""Of the intervals."""


class Interval(NamedTuple):
    """An estimate and its percentile bootstrap interval."""

    value: float
    low: float
    high: float


def iqm(values: ndarray) -> ndarray:
    """The interquartile mean over the last axis: of what is left when a quarter is cut off at each end (rounded down)."""
    count = values.shape[-1]
    cut = count // 4
    if cut:
        values = numpy.partition(values, (cut, count - cut - 1), axis=-1)[..., cut : count - cut]
    return values.mean(-1)


def interval(values_KS: ndarray, resamples: int = RESAMPLES) -> Interval:
    """The interquartile mean of all runs `[K, S]` with its stratified interval: seeds are drawn anew within each task."""
    pooled = iqm(values_KS.reshape(-1))
    K, S = values_KS.shape
    drawn_RKS = numpy.stack([row[_draws(S, k)[:resamples]] for k, row in enumerate(values_KS)], 1)
    estimates_R = iqm(drawn_RKS.reshape(resamples, K * S))
    tail = 50 * (1 - LEVEL)
    low, high = numpy.percentile(estimates_R, (tail, 100 - tail))
    return Interval(float(pooled), float(low), float(high))


def improvement(ours_KS: ndarray, theirs_KS: ndarray) -> Interval:
    """The probability that a run of ours ends above one of theirs on the same task, ties half; mean over tasks.

    Agarwal et al. 2021, section 4.3 (Mann-Whitney's U over its most).
    """
    K, S = ours_KS.shape
    above_KSS = _above(ours_KS[:, :, None], theirs_KS[:, None, :])
    estimates_R = numpy.zeros(RESAMPLES)
    for k in range(K):
        # A resample weighs pairs by how often each run was drawn: two matrix products instead of R copies of S x S.
        ours_RS, theirs_RS = _counts(S, 2 * k), _counts(theirs_KS.shape[1], 2 * k + 1)
        estimates_R += ((ours_RS @ above_KSS[k]) * theirs_RS).sum(1) / (ours_RS.sum(1) * theirs_RS.sum(1)) / K
    tail = 50 * (1 - LEVEL)
    low, high = numpy.percentile(estimates_R, (tail, 100 - tail))
    return Interval(float(above_KSS.mean()), float(low), float(high))


def profile(values_KS: ndarray, thresholds: ndarray) -> ndarray:
    """The share of runs at or above each threshold (a performance profile), `[len(thresholds)]`."""
    return (values_KS.reshape(-1)[:, None] >= thresholds).mean(0)


def quartiles(values_S: ndarray) -> tuple[float | None, float | None, float | None]:
    """Nearest-rank quartiles of counts, infinity for what was never reached; a quartile that is infinite is None."""
    ordered = numpy.sort(values_S)
    places = [max(int(numpy.ceil(q * len(ordered))) - 1, 0) for q in (0.25, 0.5, 0.75)]
    found = [float(ordered[p]) for p in places]
    return tuple(None if numpy.isinf(v) else v for v in found)  # type: ignore[return-value]


def _above(ours: ndarray, theirs: ndarray) -> ndarray:
    return (ours > theirs) + 0.5 * (ours == theirs)


@lru_cache(maxsize=256)
def _draws(count: int, stream: int) -> ndarray:
    """Indices `[R, count]` drawn with replacement."""
    return numpy.random.default_rng((count, stream)).integers(0, count, (RESAMPLES, count))


def _counts(count: int, stream: int) -> ndarray:
    """How often each of `count` runs is drawn, float `[R, count]`."""
    draws = _draws(count, stream)
    flat = draws + count * numpy.arange(RESAMPLES)[:, None]
    return numpy.bincount(flat.ravel(), minlength=RESAMPLES * count).reshape(RESAMPLES, count).astype(float)
