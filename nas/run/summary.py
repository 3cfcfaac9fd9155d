"""A run in one JSON document, from its own folder alone."""

from __future__ import annotations

import math
from typing import Any

from nas.run import (
    budget,
    choice,
    comparison,
    names,
    objective_front,
    session,
    step_log,
    store,
    subject,
    test_place,
    verified,
)
from nas.run.step_log import History
from nas.run.store import Run


def summary(run: Run) -> dict[str, Any]:
    """The JSON document of a run."""
    past, first = step_log.history(run), run.config.first_seed
    rows: list[dict[str, Any]] = [
        {"seed": first + s, "arch": None, "score": None, "report": None, "found_at": None, "epochs": None}
        for s in range(run.config.seeds)
    ]
    if past.steps:
        about = subject.read(run)
        space = subject.shown_space(run, about.space)
        found = choice.handed_out(run, past, session.best(run.config, past))
        reports = store.get_meta(run, "report") or [None] * len(rows)
        epochs = [None] * len(rows) if found.epochs is None else found.epochs.tolist()
        left_out = choice.diverged(run)
        ratio = step_log.constraint_ratio(run)
        rest = [a | b for a, b in zip(test_place.of_each(run, len(rows)), choice.of_each(run, past))]
        columns = rows, found.archs, found.score.tolist(), found.at.tolist(), reports, epochs, rest
        for row, arch, score, at, report, after, more in zip(*columns):
            if not math.isnan(score):
                row |= names.of(about, space, arch)._asdict()
                row |= {"score": round(score, 4), "report": report, "found_at": at, "epochs": after}
                row |= more
                if row["seed"] - first in left_out:
                    row["diverged"] = True
                if past.provisional is not None and bool(past.provisional[row["seed"] - first, at - 1]):
                    row["provisional"] = True
                if ratio is not None:
                    at_best = ratio[row["seed"] - first, at - 1]
                    row["constraint_ratio"] = [round(x, 4) for x in at_best.tolist()]
                    measured = verified.ratios(run, space.describe(arch))
                    row |= {"measured_ratio": measured} if measured else {}
    return overview(run, past) | {
        "cost_seconds": round(past.cost.double().sum(1).mean().item(), 3) if past.steps else 0.0,
        "wall_seconds": round(past.wall + choice.wall(run, past), 3),
        "columns_read": store.get_meta(run, "columns_read") or {},
        "data": store.get_meta(run, "data") or [],
        "comparison": comparison.brief(run),
        "objectives": objective_front.brief(run) if past.steps else None,
        "best": rows,
    }


def overview(run: Run, past: History) -> dict[str, Any]:
    """What a listing of runs says of each, and the summary of one begins with."""
    return {
        "run": str(run.folder),
        "task": run.config.task,
        "controller": run.config.controller,
        "seeds": run.config.seeds,
        "evaluations": past.score.shape[1],
        "leader_trainings": choice.trainings(run, past),
        "finished": budget.spent(run.config, past),
    }


def top_row(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Of the rows of `summary` that have an architecture, that of the search whose architecture is handed out."""
    return max(rows, key=lambda row: (not row.get("diverged"), row["epochs"] or 0, choice.row_mean(row)))
