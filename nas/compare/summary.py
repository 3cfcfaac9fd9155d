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
from nas.compare import statistics, trial
from nas.compare.trial import Ask, Trace
from nas.evaluators.constrained import feasible
from nas.run import incumbent
from nas.tasks import constraints, families, full_columns

TOP_SHARE = 0.001
"""The best of the space that a search is to find: 1 in 1,000."""


class Cell(NamedTuple):
    """One controller on one task, over its budget."""

    ask: Ask
    reads: trial.Reads
    family: str
    best: ndarray
    """float64 `[S, T]` score of the best so far, after the task's own epochs; what lies beyond the budget repeats the last
    within it."""
    report: ndarray
    """float64 `[S, T]` its report column; NaN where there is none."""
    seconds: ndarray
    """float64 `[S, T]` simulated seconds spent."""
    counted: ndarray
    """int `[S]` evaluations within the budget."""
    candidates: ndarray
    """int `[S]` distinct architectures among them."""
    within: float | None
    """Share of final architectures that keep the task's limits; None where it has none."""
    top: float | None
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


def cell(ask: Ask, trace: Trace, reads: trial.Reads) -> Cell:
    """What a trace amounts to."""
    allowed = incumbent.within(trace.cost, ask.seconds)
    score = torch.where(allowed & _whole(ask, trace), trace.score, torch.nan)
    best = incumbent.best_so_far(score).nan_to_num(_floor(trace)).double().numpy()
    ordered = _ordered(ask.task)
    ranks = trace.rank.masked_fill(~allowed, -1).sort(1).values
    candidates = (ranks.diff(dim=1, prepend=torch.full_like(ranks[:, :1], -1)) > 0).sum(1)
    return Cell(
        ask=ask,
        reads=reads,
        family=families.family_of(ask.task),
        best=best,
        report=trace.report.double().numpy(),
        seconds=trace.cost.double().cumsum(1).numpy(),
        counted=allowed.sum(1).numpy(),
        candidates=candidates.numpy(),
        within=_share_within(ask, trace),
        top=None if ordered is None else ordered[max(int(numpy.ceil(TOP_SHARE * len(ordered))) - 1, 0)].item(),
        optimum=None if ordered is None else ordered[0].item(),
        median=None if ordered is None else ordered[len(ordered) // 2].item(),
    )


def row(cell: Cell) -> dict[str, Any]:
    """The summary of one controller on one task."""
    final, reports = cell.best[:, -1], cell.report[:, -1]
    spent = numpy.take_along_axis(cell.seconds, cell.counted[:, None].clip(1) - 1, 1).mean()
    return {
        "task": cell.ask.task,
        "family": cell.family,
        "controller": cell.ask.controller,
        "prior": cell.ask.prior or None,
        "seeds": cell.ask.seeds,
        "evaluations": rounded(cell.counted.mean()),
        "candidates": rounded(cell.candidates.mean()),
        "seconds": rounded(spent),
        "seconds_an_evaluation": rounded(spent / max(cell.counted.mean(), 1)),
        "evaluations_to_top": _reached(cell, cell.top),
        "evaluations_to_optimum": _reached(cell, cell.optimum),
        "score": _summary(final),
        "report": None if numpy.isnan(reports).all() else _summary(reports[~numpy.isnan(reports)]),
        "regret": None if cell.optimum is None else _summary(cell.optimum - final),
        "within_limits": rounded(cell.within),
        "columns_read": cell.reads,
    }


def aggregate(cells: list[Cell]) -> dict[str, Any]:
    """One controller over the tasks of one family."""
    final_KS = numpy.stack([c.normalised[:, -1] for c in cells])
    reached = numpy.concatenate([first_reached(c, c.top) for c in cells])
    q25, median, q75 = statistics.quartiles(reached)
    return {
        "family": cells[0].family,
        "controller": cells[0].ask.controller,
        "tasks": len(cells),
        "seeds": cells[0].ask.seeds,
        "normalised_score": _interval(statistics.interval(final_KS)),
        "evaluations_to_top": {
            "q25": q25,
            "median": median,
            "q75": q75,
            "reached": rounded(numpy.isfinite(reached).mean()),
        },
    }


def improvement(ours: list[Cell], theirs: list[Cell]) -> dict[str, Any]:
    """How probable it is that the first controller ends above the second, over the tasks of one family."""
    found = statistics.improvement(*(numpy.stack([c.best[:, -1] for c in side]) for side in (ours, theirs)))
    names = {"family": ours[0].family, "controller": ours[0].ask.controller, "over": theirs[0].ask.controller}
    value, low, high = map(rounded, found)
    return names | {"probability": value, "low": low, "high": high}


def first_reached(cell: Cell, score: float | None) -> ndarray:
    """The evaluation, counted from 1, at which each seed first had `score`; infinity where never, float `[S]`."""
    if score is None:
        return numpy.full(len(cell.best), numpy.inf)
    hit_ST = cell.best >= numpy.float32(score)
    return numpy.where(hit_ST.any(1), hit_ST.argmax(1) + 1.0, numpy.inf)


@lru_cache
def _ordered(task: str) -> Tensor | None:
    """All scores of the space from the best down, NaN left out."""
    scores = full_columns.everything(task)
    return None if scores is None else scores[~scores.isnan()].double().sort(descending=True).values


def _whole(ask: Ask, trace: Trace) -> Tensor:
    """Which evaluations were of the task's own length, bool `[S, T]`: a score after fewer epochs is on another scale."""
    if trace.epochs is None:
        return torch.ones_like(trace.score, dtype=torch.bool)
    return trace.epochs == tasks.find(ask.task).task.fidelities[-1]


def _share_within(ask: Ask, trace: Trace) -> float | None:
    evaluator = tasks.find(ask.task)
    bounds = constraints.of(ask.task, evaluator.space)
    if not bounds:
        return None
    return feasible(trial.final(evaluator, trace, ask.seconds), evaluator.space, bounds).double().mean().item()


def _reached(cell: Cell, score: float | None) -> dict[str, Any]:
    counts = first_reached(cell, score)
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


def _floor(trace: Trace) -> float:
    """What counts as the best so far while nothing has succeeded: the worst score seen."""
    return torch.where(trace.score.isnan(), torch.inf, trace.score).min().item()
