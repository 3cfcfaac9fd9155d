"""How a comparison's searches went, evaluation by evaluation: plain data, ready for JSON and CSV.

Shapes: `S` seeds, `T` evaluations, `P` points of a curve.
"""

from __future__ import annotations

from typing import Any

import numpy
from numpy import ndarray

from nas import statistics
from nas.report import Cell, rounded

RESAMPLES = 100
"""For a band that the eye reads; the numbers of the rows have more."""


def curve(cell: Cell) -> list[dict[str, Any]]:
    """The best so far over evaluations and seconds, at points that lie evenly on a logarithmic scale."""
    rows = []
    for at in points(cell.best.shape[1]):
        score = statistics.interval(cell.best[None, :, at - 1], RESAMPLES)
        rows.append(
            {
                "task": cell.ask.task,
                "controller": cell.ask.controller,
                "evaluations": int(at),
                "seconds": rounded(cell.seconds[:, at - 1].mean()),
                **dict(zip(("score_iqm", "score_low", "score_high"), map(rounded, score))),
                "report_mean": rounded(_nanmean(cell.report[:, at - 1])),
                "regret_mean": None if cell.optimum is None else rounded(cell.optimum - cell.best[:, at - 1].mean()),
            }
        )
    return rows


def points(count: int) -> ndarray:
    """Evaluations to show, int `[P]`, the first and the last among them."""
    return numpy.unique(numpy.geomspace(1, count, 30).round().astype(int))


def standing(cell: Cell, after: tuple[int, ...]) -> list[dict[str, Any]]:
    """The best found after so many evaluations: quartiles over seeds of its score, and of its report where there is one."""
    rows = []
    for count in after:
        best, report = (_quartiles(column[:, count - 1]) for column in (cell.best, cell.report))
        names = {"task": cell.ask.task, "controller": cell.ask.controller, "evaluations": count}
        rows.append(names | {"score": best, "report": report})
    return rows


def _quartiles(values_S: ndarray) -> dict[str, float | None] | None:
    if numpy.isnan(values_S).all():
        return None
    return dict(zip(("q25", "median", "q75"), map(rounded, numpy.nanpercentile(values_S, (25, 50, 75)))))


def _nanmean(values: ndarray) -> float | None:
    return None if numpy.isnan(values).all() else float(numpy.nanmean(values))
