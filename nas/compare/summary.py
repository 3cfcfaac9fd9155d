"""From the raw evaluations of a comparison to rows and aggregates: plain data, ready for JSON and CSV.

Shapes: `K` tasks, `S` seeds, `T` evaluations.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy
import torch
from numpy import ndarray
from torch import Tensor

from nas import tasks
from nas.compare import statistics
from nas.compare.trial import ColumnsRead, Trial, TrialSpec, final_archs
from nas.evaluators.constrained import feasible
from nas.run import incumbent
from nas.tasks import TaskName, constraints, families, full_columns

TOP_SHARE = 0.001
"""The best of the space that a search is to find: 1 in 1,000, the 16 best of NAS-Bench-201."""


class TrialSummary(NamedTuple):
    """One controller on one task, over its budget."""

    spec: TrialSpec
    columns_read: ColumnsRead
    family: str
    best: ndarray
    """float64 `[S, T]` score of the best so far, after the task's own epochs; what lies beyond the budget repeats the last
    within it."""
    report: ndarray
    """float64 `[S, T]` its report column; NaN where there is none."""
    seconds: ndarray
    """float64 `[S, T]` simulated seconds spent."""
    evaluations: ndarray
    """int `[S]` evaluations within the budget."""
    distinct_archs: ndarray
    """int `[S]` distinct architectures among them."""
    feasible_share: float | None
    """Share of final architectures that keep the task's constraints; None where it has none."""
    top_threshold: float | None
    """The score from which an architecture is among the best `TOP_SHARE` of the space; None where the space is not known."""
    optimum: float | None
    median: float | None
    """Of the space's scores: where normalised scores are 0; they are 1 at the optimum."""

    @property
    def normalised(self) -> ndarray:
        """`best` with 0 at the space's median and 1 at its optimum."""
        assert self.optimum is not None
        assert self.median is not None
        return (self.best - self.median) / (self.optimum - self.median)


def summarize(spec: TrialSpec, trial: Trial, columns_read: ColumnsRead) -> TrialSummary:
    """A trial against its whole space: its best so far, and the best that the space has."""
    allowed = incumbent.within(trial.cost, spec.seconds)
    score = torch.where(allowed & _whole(spec, trial), trial.score, torch.nan)
    best = incumbent.best_so_far(score).nan_to_num(_floor(trial)).double().numpy()
    # Architectures by index, sorted: a change along the row is one not seen before. -1 marks those beyond the budget.
    ordered = _ordered(spec.task)
    indices = trial.index.masked_fill(~allowed, -1).sort(1).values
    distinct = (indices.diff(dim=1, prepend=torch.full_like(indices[:, :1], -1)) > 0).sum(1)
    return TrialSummary(
        spec=spec,
        columns_read=columns_read,
        family=families.family_of(spec.task),
        best=best,
        report=trial.report.double().numpy(),
        seconds=trial.cost.double().cumsum(1).numpy(),
        evaluations=allowed.sum(1).numpy(),
        distinct_archs=distinct.numpy(),
        feasible_share=_feasible_share(spec, trial),
        top_threshold=None
        if ordered is None
        else ordered[max(int(numpy.ceil(TOP_SHARE * len(ordered))) - 1, 0)].item(),
        optimum=None if ordered is None else ordered[0].item(),
        median=None if ordered is None else ordered[len(ordered) // 2].item(),
    )


def row(summary: TrialSummary) -> dict[str, Any]:
    """The summary of one controller on one task."""
    final, reports = summary.best[:, -1], summary.report[:, -1]
    spent = numpy.take_along_axis(summary.seconds, summary.evaluations[:, None].clip(1) - 1, 1).mean()
    return {
        "task": summary.spec.task,
        "family": summary.family,
        "controller": summary.spec.controller,
        "prior": summary.spec.prior or None,
        "seeds": summary.spec.seeds,
        "evaluations": rounded(summary.evaluations.mean()),
        "distinct_archs": rounded(summary.distinct_archs.mean()),
        "seconds": rounded(spent),
        "seconds_an_evaluation": rounded(spent / max(summary.evaluations.mean(), 1)),
        "evaluations_to_top": _reached(summary, summary.top_threshold),
        "evaluations_to_optimum": _reached(summary, summary.optimum),
        "score": _summary(final),
        "report": None if numpy.isnan(reports).all() else _summary(reports[~numpy.isnan(reports)]),
        "regret": None if summary.optimum is None else _summary(summary.optimum - final),
        "feasible_share": rounded(summary.feasible_share),
        "columns_read": summary.columns_read,
    }


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


def first_reached(summary: TrialSummary, score: float | None) -> ndarray:
    """The evaluation, counted from 1, at which each seed first had `score`; infinity where never, float `[S]`."""
    if score is None:
        return numpy.full(len(summary.best), numpy.inf)
    hit_ST = summary.best >= numpy.float32(score)
    return numpy.where(hit_ST.any(1), hit_ST.argmax(1) + 1.0, numpy.inf)


# Every controller of a comparison asks for the same tasks.
@lru_cache
def _ordered(task: str) -> Tensor | None:
    """All scores of the space from the best down, NaN left out."""
    scores = full_columns.everything(task)
    return None if scores is None else scores[~scores.isnan()].double().sort(descending=True).values


def _whole(spec: TrialSpec, trial: Trial) -> Tensor:
    """Which evaluations were of the task's own length, bool `[S, T]`: a score after fewer epochs is on another scale."""
    if trial.epochs is None:
        return torch.ones_like(trial.score, dtype=torch.bool)
    return trial.epochs == tasks.find(spec.task).task.fidelities[-1]


def _feasible_share(spec: TrialSpec, trial: Trial) -> float | None:
    evaluator = tasks.find(spec.task)
    bounds = constraints.of(TaskName.parse(spec.task), evaluator.space)
    if not bounds:
        return None
    return feasible(final_archs(evaluator, trial, spec.seconds), evaluator.space, bounds).double().mean().item()


def _reached(summary: TrialSummary, score: float | None) -> dict[str, Any]:
    counts = first_reached(summary, score)
    q25, median, q75 = statistics.quartiles(counts)
    return {"q25": q25, "median": median, "q75": q75, "reached": rounded(numpy.isfinite(counts).mean())}


def _summary(values_S: ndarray) -> dict[str, Any]:
    std = values_S.std(ddof=1) if len(values_S) > 1 else 0.0
    spread = {"mean": rounded(values_S.mean()), "std": rounded(std)}
    return _interval(statistics.interval(values_S[None])) | spread


def _interval(found: statistics.Interval) -> dict[str, Any]:
    return dict(zip(("iqm", "low", "high"), map(rounded, found)))


def rounded(value: Any) -> float | None:
    """To six significant digits, so that the last bit of a sum shows nowhere; None for what is no number."""
    if value is None or not numpy.isfinite(value):
        return None
    return float(f"{float(value):.6g}")


def _floor(trial: Trial) -> float:
    """The best so far while nothing has succeeded: the worst score of the trial, as NaN would spoil every mean."""
    return torch.where(trial.score.isnan(), torch.inf, trial.score).min().item()
