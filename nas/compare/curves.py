"""The curves of a comparison's searches, evaluation by evaluation: plain data, ready for JSON and CSV.

Searches by simulated seconds differ in length; beyond its last evaluation a search has what it ended with.
Shapes: `K` tasks, `S` seeds, `T` evaluations, `P` points of a curve.
"""

from __future__ import annotations

from typing import Any

import numpy
from numpy import ndarray

from nas.compare import statistics
from nas.compare.rows import rounded
from nas.compare.summary import TrialSummary, first_reached

RESAMPLES = 100
"""Of a band, drawn at 30 points of each curve; the intervals in the rows have more."""


def curve(summary: TrialSummary) -> list[dict[str, Any]]:
    """The best so far over evaluations and seconds, at points that lie evenly on a logarithmic scale."""
    rows = []
    for at in points(summary.best.shape[1]):
        score = statistics.interval(summary.best[None, :, at - 1], RESAMPLES)
        rows.append(
            {
                "task": summary.spec.task,
                "controller": summary.spec.controller,
                "evaluations": int(at),
                "seconds": rounded(summary.seconds[:, at - 1].mean()),
                **dict(zip(("score_iqm", "score_low", "score_high"), map(rounded, score))),
                "report_mean": rounded(_nanmean(summary.report[:, at - 1])),
                "regret_mean": rounded(_nanmean(summary.regret[:, at - 1])),
                "test_regret_mean": rounded(_nanmean(summary.test_regret[:, at - 1])),
                "test_rank_median": rounded(_nanmedian(summary.test_rank[:, at - 1])),
            }
        )
    return rows


def points(count: int) -> ndarray:
    """Evaluations to show, int `[P]`, the first and the last among them."""
    # Evenly on a logarithmic axis, which is how the curves are drawn; rounding makes the first of them coincide.
    return numpy.unique(numpy.geomspace(1, count, 30).round().astype(int))


Curve = tuple[ndarray, ndarray, ndarray | None, ndarray | None]
"""x, y, and the edges of the band."""


def regret(summaries: list[TrialSummary]) -> Curve | None:
    at = points(_longest(summaries))
    lost_KSP = numpy.stack([1 - _after(at, c.normalised) for c in summaries])
    return _banded(at, lost_KSP)


def by_seconds(summaries: list[TrialSummary]) -> Curve | None:
    """Best so far at moments of simulated time, each run by its own clock."""
    # A table without costs has no clock.
    if not all(c.seconds[:, -1].all() for c in summaries):
        return None
    # Only the time that all runs were in: beyond it the mean would be over the slow ones.
    most = min(c.seconds[:, -1].min() for c in summaries)
    first = max(c.seconds[:, 0].max() for c in summaries)
    # There is none where one run ends before another has its first score.
    if not 0 < first < most:
        return None
    moments = numpy.geomspace(first, most, 30)
    lost = []
    for c in summaries:
        done_SP = (c.seconds[:, :, None] <= moments).sum(1)
        lost.append(1 - numpy.take_along_axis(c.normalised, done_SP.clip(1) - 1, 1))
    return _banded(moments, numpy.stack(lost))


def reported(summaries: list[TrialSummary]) -> Curve | None:
    at = points(_longest(summaries))
    values_KSP = numpy.stack([_after(at, c.report) for c in summaries])
    return None if numpy.isnan(values_KSP).any() else _banded(at, values_KSP)


def test_regret(summaries: list[TrialSummary]) -> Curve | None:
    """How far the test score of the best so far is below the best of the space."""
    at = points(_longest(summaries))
    values_KSP = numpy.stack([_after(at, c.test_regret) for c in summaries])
    return None if numpy.isnan(values_KSP).any() else _banded(at, values_KSP)


def reached(summaries: list[TrialSummary]) -> Curve | None:
    found = numpy.concatenate([first_reached(c, c.top_threshold) for c in summaries])
    at = numpy.arange(1, _longest(summaries) + 1)
    return at, (found[:, None] <= at).mean(0), None, None


def profile(summaries: list[TrialSummary]) -> Curve | None:
    # From 0.7: where runs differ in the drawings of the tables that ship; a choice for the eye, not derived.
    thresholds = numpy.linspace(0.7, 1, 151)
    final_KS = numpy.stack([c.normalised[:, -1] for c in summaries])
    # A run at the optimum has 1 but for rounding.
    return thresholds, statistics.profile(final_KS, thresholds - 1e-9), None, None


def _longest(summaries: list[TrialSummary]) -> int:
    return max(c.best.shape[1] for c in summaries)


def _after(count: int | ndarray, values_ST: ndarray) -> ndarray:
    """The values after so many evaluations, or after the last that there is: `[S]` of a number, `[S, P]` of several."""
    return values_ST[:, numpy.minimum(count, values_ST.shape[1]) - 1]


def _banded(x: ndarray, values_KSP: ndarray) -> Curve:
    found = [statistics.interval(values_KSP[..., p], RESAMPLES) for p in range(len(x))]
    y, low, high = (numpy.array(side) for side in zip(*found))
    return x, y, low, high


def best_after(summary: TrialSummary, after: tuple[int, ...]) -> list[dict[str, Any]]:
    """The best found after so many evaluations, chosen by the scores that the search saw; a shorter search has found its last.

    Over seeds, what it is judged by, and where the task has a test column its test score, test regret and test rank.
    """
    columns = {
        "score": summary.best,
        "report": summary.report,
        "test_regret": summary.test_regret,
        "test_rank": summary.test_rank,
    }
    names = {"task": summary.spec.task, "controller": summary.spec.controller}
    return [
        names | {"evaluations": count} | {name: _spread(_after(count, column)) for name, column in columns.items()}
        for count in after
    ]


def _spread(values_S: ndarray) -> dict[str, float | None] | None:
    """Mean, standard deviation and quartiles of those that are numbers."""
    known = values_S[~numpy.isnan(values_S)]
    if not len(known):
        return None
    quartiles = dict(zip(("q25", "median", "q75"), map(rounded, numpy.percentile(known, (25, 50, 75)))))
    return {"mean": rounded(known.mean()), "std": rounded(known.std(ddof=1) if len(known) > 1 else 0.0)} | quartiles


def _nanmean(values: ndarray) -> float | None:
    return None if numpy.isnan(values).all() else float(numpy.nanmean(values))


def _nanmedian(values: ndarray) -> float | None:
    return None if numpy.isnan(values).all() else float(numpy.nanmedian(values))
