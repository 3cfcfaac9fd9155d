"""Rows and aggregates of a comparison: plain data, ready for JSON and CSV.

Shapes: `S` seeds.
"""

from __future__ import annotations

from typing import Any

import numpy
from numpy import ndarray

from nas import tasks
from nas.compare import statistics
from nas.compare.summary import TrialSummary, first_reached, handed_out_top
from nas.tasks import objective


def row(summary: TrialSummary) -> dict[str, Any]:
    """The summary of one controller on one task."""
    final, reports = summary.best[:, -1], summary.report[:, -1]
    measured_on = objective.of(tasks.find(summary.spec.task))
    spent = numpy.take_along_axis(summary.seconds, summary.evaluations[:, None].clip(1) - 1, 1).mean()
    return {
        "task": summary.spec.task,
        "family": summary.family,
        "controller": summary.spec.controller,
        "prior": summary.spec.prior or None,
        "split": measured_on.split,
        "training_seeds": measured_on.seeds_text,
        "top": None if summary.top is None else summary.top._asdict() | {"coarse": summary.top.coarse},
        "seeds": summary.spec.seeds,
        "evaluations": rounded(summary.evaluations.mean()),
        "distinct_archs": rounded(summary.distinct_archs.mean()),
        "seconds": rounded(spent),
        "seconds_an_evaluation": rounded(spent / max(summary.evaluations.mean(), 1)),
        "evaluations_to_top": _reached(summary, summary.top_threshold),
        "handed_out_top": rounded(handed_out_top(summary)),
        "evaluations_to_optimum": _reached(summary, summary.optimum),
        "score": _summary(final),
        "report": _known_summary(reports),
        "regret": None if summary.optimum is None else _summary(summary.regret[:, -1]),
        "test_regret": _known_summary(summary.test_regret[:, -1]),
        "test_rank": _known_summary(summary.test_rank[:, -1]),
        "feasible_share": rounded(summary.feasible_share),
        "columns_read": summary.columns_read,
        "front_share": _front_shares(summary),
    }


def _front_shares(summary: TrialSummary) -> dict[str, Any] | None:
    """By number of evaluations, as text."""
    found = summary.front_shares
    return None if found is None else {str(count): _summary(share_S) for count, share_S in found.items()}


def aggregate(summaries: list[TrialSummary]) -> dict[str, Any]:
    """One controller over the tasks of one family."""
    final_KS = numpy.stack([c.normalised[:, -1] for c in summaries])
    reached = numpy.concatenate([first_reached(c, c.top_threshold) for c in summaries])
    q25, median, q75 = statistics.quartiles(reached)
    return {
        "family": summaries[0].family,
        "controller": summaries[0].spec.controller,
        "tasks": len(summaries),
        "seeds": summaries[0].spec.seeds,
        "normalised_score": _interval(statistics.interval(final_KS)),
        "evaluations_to_top": {
            "q25": q25,
            "median": median,
            "q75": q75,
            "reached": rounded(numpy.isfinite(reached).mean()),
        },
    }


def improvement(ours: list[TrialSummary], theirs: list[TrialSummary]) -> dict[str, Any]:
    """How probable it is that the first controller ends above the second, over the tasks of one family."""
    found = statistics.improvement(*(numpy.stack([c.best[:, -1] for c in side]) for side in (ours, theirs)))
    names = {"family": ours[0].family, "controller": ours[0].spec.controller, "over": theirs[0].spec.controller}
    value, low, high = map(rounded, found)
    return names | {"probability": value, "low": low, "high": high}


def _reached(summary: TrialSummary, score: ndarray | None) -> dict[str, Any]:
    counts = first_reached(summary, score)
    q25, median, q75 = statistics.quartiles(counts)
    return {"q25": q25, "median": median, "q75": q75, "reached": rounded(numpy.isfinite(counts).mean())}


def _summary(values_S: ndarray) -> dict[str, Any]:
    std = values_S.std(ddof=1) if len(values_S) > 1 else 0.0
    spread = {"mean": rounded(values_S.mean()), "std": rounded(std)}
    return _interval(statistics.interval(values_S[None])) | spread


def _known_summary(values_S: ndarray) -> dict[str, Any] | None:
    """Of those that are numbers; None where none is."""
    known = values_S[~numpy.isnan(values_S)]
    return _summary(known) if len(known) else None


def _interval(found: statistics.Interval) -> dict[str, Any]:
    return dict(zip(("iqm", "low", "high"), map(rounded, found)))


def rounded(value: Any) -> float | None:
    """To six significant digits, so that the last bit of a sum shows nowhere; None for what is no number."""
    if value is None or not numpy.isfinite(value):
        return None
    return float(f"{float(value):.6g}")
