"""The tables of transfer.py: evaluations to the best 0.1%, and what is handed out after few, by test where there is one.

Shapes: `S` searches, `T` evaluations.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy
from numpy import ndarray

from nas import tasks
from nas.compare import statistics, summary
from nas.tasks import TaskName, families, objective
from runs.transfer_groups import group

COLD = ("random_search", "evolution", "local_search", "bayesian", "reinforce")
CONTROLLERS = (
    "no prior", "portfolio", "portfolio, families", "portfolio, fastest", "attention_policy", "attention_policy, no prior",
    *COLD,
)  # fmt: skip
BEST_COLD = "best of the cold"
"""Task by task that of `COLD` which needs the fewest evaluations: no method that anybody could choose beforehand."""


class Row(NamedTuple):
    label: str
    draw: int = 0
    """Which drawn part of the tasks its prior was trained on; 0: all."""


class Tried(NamedTuple):
    row: Row
    summary: summary.TrialSummary

    @property
    def task(self) -> str:
        return self.summary.spec.task


def print_tables(found: Sequence[Tried]) -> None:
    """Everything that docs/benchmarks.md shows of transfer."""
    every = sorted(dict.fromkeys(tried.task for tried in found), key=lambda task: _order(found, task))
    with_test = [task for task in every if _has_test(found, task)]
    print("## What is measured\n")
    print_row("task", "settings", "score", "best test", "functions in the top", "architectures in the top")
    print_rule(2, 4)
    for task in every:
        print_measure(_of(found, task)[0].summary)
    print("\n## Evaluations to the best 0.1%\n")
    print_row("task", "settings", "transfer_bo", "quartiles", "reached", "80% of the tasks", *CONTROLLERS, BEST_COLD)
    print_rule(2, 5 + len(CONTROLLERS))
    for task in every:
        print_counts(_of(found, task))
    print_means(found, every)
    print("\n## Test regret of what is handed out, and its rank by test\n")
    print_ends(
        [[task] for task in with_test if not TaskName.parse(task).constraints], found, "test_regret", "test_rank"
    )
    print("\n## The same, mean over the tasks of a family, with the penalties of constraints\n")
    print_ends(_by_family(with_test), found, "test_regret", "test_rank")
    print("\n## Regret of the score, where there is no test column, mean over the tasks of a family\n")
    print_ends(_by_family([task for task in every if task not in with_test]), found, "regret", None)


def print_measure(one: summary.TrialSummary) -> None:
    measured_on, top = objective.of(tasks.find(one.spec.task)), one.top
    assert top is not None
    # Where the incumbent breaks a constraint, the regret has its penalty and the sum is above the best.
    best = one.report + one.test_regret
    best = "none" if numpy.isnan(best).all() else f"{numpy.nanmin(best):.2f}"
    functions = f"{top.functions} of {top.all_functions:,}{', coarse' if top.coarse else ''}"
    print_row(
        short(one.spec.task), group(one.spec.task), measured_on.text, best, functions, f"{top.archs} ({top.share:.2%})"
    )


def print_counts(tried: Sequence[Tried]) -> None:
    """A task in a line. Of the priors on drawn tasks the median of each."""
    counts = {label: _counts([t for t in tried if t.row.label == label]) for label in ("transfer_bo", *CONTROLLERS)}
    q25, median, q75 = map(statistics.count_text, statistics.quartiles(counts["transfer_bo"]))
    drawn = [_median(_counts([t])) for t in tried if t.row.draw]
    others = [statistics.count_text(_median(counts[name])) if len(counts[name]) else "" for name in CONTROLLERS]
    others.append(statistics.count_text(_best_cold(tried)))
    reached = f"{numpy.isfinite(counts['transfer_bo']).mean():.0%}"
    spread = ", ".join(map(statistics.count_text, drawn))
    task = tried[0].task
    print_row(short(task), group(task), f"**{median}**", f"{q25} to {q75}", reached, spread, *others)


def print_means(found: Sequence[Tried], every: Sequence[str]) -> None:
    """Geometric means over tasks of the medians, `never` as `statistics.geometric_mean` counts it."""
    print("\nGeometric means of the medians:\n")
    draws = sorted({tried.row.draw for tried in found} - {0})
    print_row("tasks", "transfer_bo", *(f"80%, draw {draw}" for draw in draws), *CONTROLLERS, BEST_COLD)
    print_rule(1, 2 + len(draws) + len(CONTROLLERS))
    rows = [Row("transfer_bo"), *(Row("drawn tasks", draw) for draw in draws), *map(Row, CONTROLLERS)]
    for name in ("kept", "dev", "seen", "all"):
        ours = [task for task in every if name in (group(task), "all")]
        if ours:
            _print_mean(name, found, rows, ours)
    for ours in _by_family(every):
        _print_mean(_family(ours[0]), found, rows, ours)


def _print_mean(name: str, found: Sequence[Tried], rows: Sequence[Row], ours: Sequence[str]) -> None:
    budget = found[0].summary.spec.evals
    assert budget is not None
    cold = statistics.geometric_mean([_best_cold(_of(found, task)) for task in ours], budget)
    print_row(f"{name} ({len(ours)})", *(_mean_of(found, row, ours) for row in rows), f"{cold:.1f}")


def _mean_of(found: Sequence[Tried], row: Row, every: Sequence[str]) -> str:
    ours = [tried for tried in found if tried.row == row and tried.task in every]
    if len(ours) < len(every):  # A portfolio has no sources everywhere: a mean over fewer tasks could not be compared.
        return "-"
    budget = ours[0].summary.spec.evals
    assert budget is not None
    return f"{statistics.geometric_mean([_median(_counts([tried])) for tried in ours], budget):.1f}"


def print_ends(groups: Sequence[Sequence[str]], found: Sequence[Tried], what: str, rank: str | None) -> None:
    """After each of `statistics.AFTER` evaluations the mean over searches and priors; in brackets the median rank."""
    if not groups:
        return
    at = statistics.ends(found[0].summary.best.shape[1])
    print_row("task" if len(groups[0]) == 1 else "tasks", "searches", *(f"after {count}" for count in at))
    print_rule(2, len(at))
    for members in groups:
        name = short(members[0]) if len(members) == 1 else f"{_family(members[0])} ({len(members)})"
        for label in ("transfer_bo", "drawn tasks", *CONTROLLERS):
            ours = [tried.summary for tried in found if tried.task in members and tried.row.label == label]
            if {one.spec.task for one in ours} == set(members):
                print_row(name, _label(label), *(_end(ours, count, what, rank) for count in at))


def _end(ours: Sequence[summary.TrialSummary], count: int, what: str, rank: str | None) -> str:
    value = numpy.mean([getattr(one, what)[:, count - 1].mean() for one in ours])
    if rank is None:
        return f"{value:.2f}"
    ranks = numpy.concatenate([getattr(one, rank)[:, count - 1] for one in ours])
    return f"{value:.2f} ({numpy.median(ranks):.0f})"


def _label(label: str) -> str:
    return {"drawn tasks": "transfer_bo, 80% of the tasks", "no prior": "transfer_bo, no prior"}.get(label, label)


def _counts(tried: Sequence[Tried]) -> ndarray:
    """Evaluations to the top of all searches, infinity for never."""
    counts = [summary.first_reached(t.summary, t.summary.top_threshold) for t in tried]
    return numpy.concatenate(counts) if counts else numpy.zeros(0)


def _best_cold(tried: Sequence[Tried]) -> float | None:
    """The fewest evaluations by any of `COLD` on one task; None where none got there."""
    medians = [_median(_counts([t])) for t in tried if t.row.label in COLD]
    return min((x for x in medians if x is not None), default=None)


def _median(counts: ndarray) -> float | None:
    return statistics.quartiles(counts)[1]


def _of(found: Sequence[Tried], task: str) -> list[Tried]:
    return [tried for tried in found if tried.task == task]


def _order(found: Sequence[Tried], task: str) -> int:
    return next(i for i, tried in enumerate(found) if tried.task == task)


def _has_test(found: Sequence[Tried], task: str) -> bool:
    return not numpy.isnan(_of(found, task)[0].summary.test_regret).all()


def _by_family(every: Sequence[str]) -> list[list[str]]:
    families_of = {task: _family(task) for task in every}
    return [[t for t in every if families_of[t] == family] for family in dict.fromkeys(families_of.values())]


def _family(task: str) -> str:
    """That of the table's tasks; tasks with a constraint are one, whichever their dataset."""
    return "device" if TaskName.parse(task).constraints else families.family_of(task)


def short(task: str) -> str:
    return (
        task.replace("nasbench201-", "")
        .replace("nasbench201/", "")
        .replace("cifar10-aa_", "")
        .replace("cifar10-fgsm", "fgsm")
    )


def print_row(*cells: str) -> None:
    print(f"| {' | '.join(cells)} |", flush=True)


def print_rule(words: int, numbers: int) -> None:
    print(f"|{'---|' * words}{'---:|' * numbers}")
