"""Robust statistics of few runs (Agarwal et al. 2021, arXiv:2108.13264).

Shapes: `K` tasks, `S` seeds, `R` bootstrap samples. Every function is deterministic: resampling has a fixed seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy
import torch
from numpy import ndarray

RESAMPLES = 1000
"""Of an interval. At 1,000 its ends rest on 25 samples at each side; not ablated."""
PAIR_RESAMPLES = 200
"""Fewer, for there are many pairs of controllers."""
LEVEL = 0.95
"""Of the intervals, as in Agarwal et al."""


class Interval(NamedTuple):
    """An estimate and its percentile bootstrap interval."""

    value: float
    low: float
    high: float


def iqm(values: ndarray) -> ndarray:
    """The interquartile mean over the last axis: of what is left when a quarter is cut off at each end (rounded down)."""
    count = values.shape[-1]
    cut = count // 4
    # A partition and not a sort: the bootstrap takes this mean thousands of times.
    if cut:
        values = numpy.partition(values, (cut, count - cut - 1), axis=-1)[..., cut : count - cut]
    return values.mean(-1)


def interval(values_KS: ndarray, resamples: int = RESAMPLES) -> Interval:
    """The interquartile mean of all runs `[K, S]` with its stratified interval: seeds are drawn anew within each task."""
    pooled = iqm(values_KS.reshape(-1))
    K, S = values_KS.shape
    # Stratified: tasks are given and not drawn, so that only seeds are resampled.
    drawn_RKS = numpy.stack([row[_draws(S, k)[:resamples]] for k, row in enumerate(values_KS)], 1)
    estimates_R = iqm(drawn_RKS.reshape(resamples, K * S))
    tail = 50 * (1 - LEVEL)
    low, high = numpy.percentile(estimates_R, (tail, 100 - tail))
    return Interval(float(pooled), float(low), float(high))


def probability_of_improvement(ours_KS: ndarray, theirs_KS: ndarray) -> float:
    """The probability that a run of ours ends above one of theirs on the same task, ties half; mean over tasks.

    Agarwal et al. 2021, section 4.3 (Mann-Whitney's U over its most).
    """
    return float(numpy.mean([_above(*pair).mean() for pair in zip(ours_KS, theirs_KS)]))


def improvement(ours_KS: ndarray, theirs_KS: ndarray) -> Interval:
    """`probability_of_improvement` with its stratified interval: the runs of both sides are drawn anew within each task."""
    estimates_R = numpy.zeros(PAIR_RESAMPLES)
    for k, (ours_S, theirs_S) in enumerate(zip(ours_KS, theirs_KS)):
        # A resample weighs pairs by how often each run was drawn: two matrix products instead of R copies of S x S.
        weights_RS, their_weights_RS = _weights(len(ours_S), 2 * k), _weights(len(theirs_S), 2 * k + 1)
        above_RS = _product(weights_RS, _above(ours_S, theirs_S))
        estimates_R += (above_RS * their_weights_RS).sum(1) / len(ours_KS)
    tail = 50 * (1 - LEVEL)
    low, high = numpy.percentile(estimates_R, (tail, 100 - tail))
    return Interval(probability_of_improvement(ours_KS, theirs_KS), float(low), float(high))


def profile(values_KS: ndarray, thresholds: ndarray) -> ndarray:
    """The share of runs at or above each threshold (a performance profile), `[len(thresholds)]`."""
    return (values_KS.reshape(-1)[:, None] >= thresholds).mean(0)


def quartiles(values_S: ndarray) -> tuple[float | None, float | None, float | None]:
    """Nearest-rank quartiles of evaluation counts `[S]`, infinity for searches that never arrived; an infinite quartile is None.

    Each is a count that some search had: the mean of the middle two would mix a count with a censored one.
    """
    ordered = numpy.sort(values_S)
    places = [max(int(numpy.ceil(q * len(ordered))) - 1, 0) for q in (0.25, 0.5, 0.75)]
    found = [float(ordered[p]) for p in places]
    return tuple(None if numpy.isinf(v) else v for v in found)  # type: ignore[return-value]


def geometric_mean(medians: Sequence[float | None], budget: int) -> float:
    """Over tasks, of medians as `quartiles` gives them; one that was never reached counts as twice the budget.

    It is above the budget, by how much is not known: twice leaves it worse than the last that was reached, without letting one
    task decide the mean. Tables of `nas compare` and of `runs/` have no other mean of counts.
    """
    return float(numpy.exp(numpy.log([2 * budget if m is None else m for m in medians]).mean()))


def count_text(median: float | None) -> str:
    """A count of evaluations as `quartiles` gives it, in words: `never` where it lies beyond the budget."""
    return "never" if median is None else f"{median:.0f}"


def _product(a: ndarray, b: ndarray) -> ndarray:
    """`a @ b` in torch's threads: NumPy's wait for each other where the machine is busy, for a hundred times as long."""
    return (torch.from_numpy(a) @ torch.from_numpy(b)).numpy()


def _above(ours_S: ndarray, theirs_S: ndarray) -> ndarray:
    """1 where ours is above theirs, a half where they tie, `[S, S]`."""
    return (ours_S[:, None] > theirs_S) + 0.5 * (ours_S[:, None] == theirs_S)


@lru_cache(maxsize=256)
def _draws(count: int, stream: int) -> ndarray:
    """Indices `[R, count]` drawn with replacement."""
    # The seed is of the size and the stream alone: the same runs have the same interval in every comparison.
    return numpy.random.default_rng((count, stream)).integers(0, count, (RESAMPLES, count))


@lru_cache(maxsize=256)
def _weights(count: int, stream: int) -> ndarray:
    """The share of the draws that each of `count` runs has, float `[R, count]`."""
    draws = _draws(count, stream)[:PAIR_RESAMPLES]
    flat = draws + count * numpy.arange(len(draws))[:, None]
    return numpy.bincount(flat.ravel(), minlength=len(draws) * count).reshape(len(draws), count) / count


AFTER = (1, 5, 10, 30, 100)
"""Evaluations after which a comparison shows what would be handed out."""


def ends(evaluations: int) -> tuple[int, ...]:
    """Those of `AFTER` that lie within a budget, and its end."""
    return (*(count for count in AFTER if count < evaluations), evaluations)
