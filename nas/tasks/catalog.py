"""Every task there is, with what is known of it before a search."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from typing import Any, NamedTuple

import torch

from controller import Proposal
from nas import datasets, plugins, tables
from nas.tasks import families, objective, top
from nas.tasks.find import TaskColumns, find, task_columns
from nas.tasks.name import TaskName
from nas.types import Objective
from search_spaces import UserError, _ops, unknown


class Entry(NamedTuple):
    """One task."""

    task: str
    family: str
    space: str
    architectures: int
    """How many were measured; of a dataset, how many there are to train."""
    input_shape: tuple[int, int, int] | None
    """Channels, height, width; None where the table's dataset is not known, as of one's own results. So is the next."""
    num_classes: int | None
    objective: str
    """What a search maximizes: a column, or the validation accuracy of training."""
    split: str | None
    """Of the examples that the objective is measured on: `valid`, `test`; None where the source names none."""
    training_seeds: str
    """How many stand behind a score, in words."""
    test_metric: str | None
    """What is reported of the best; None where there is no test estimate, as the objective is itself all that was measured."""
    optimum: float | None
    """The highest search score in the space; None where only training would tell."""
    optimum_arch: str | None
    top: dict[str, Any] | None
    """The best 0.1% of the functions (`nas.tasks.top.Top`), and whether this is `coarse`; None where only training would tell."""


def entries(
    family: str | None = None, passed_over: list[str] | None = None, without: Collection[str] = ()
) -> Iterator[Entry]:
    """Datasets that are always there, then the tables' tasks, then constrained ones; of one family if it is named.

    Raises `UserError` for a family that is not there. Of a table that cannot be read, or that another hides, the reason goes to
    `passed_over`, once.

    Args:
        without: families that are left out.
    """
    passed_over = [] if passed_over is None else passed_over
    passed_over += tables.unreadable() + tables.shadowed()
    known = families.families()
    if family is not None and family not in (*known, "data"):
        raise unknown("family of tasks", family, ["data", *known])
    parsed = {name: [TaskName.parse(task) for task in members] for name, members in known.items()}
    family_of = {
        task.strip_fidelity(): name for name, members in parsed.items() for task in members if not task.constraints
    }
    if family in (None, "data"):
        yield from map(_dataset, datasets.names())
    for found in (s for name in tables.names() for s in task_columns(tables.find(name))):
        plain = TaskName("table", found.table.name, found.name)
        if plain in family_of and family in (None, family_of[plain]) and family_of[plain] not in without:
            yield from _readable(
                lambda f=found, p=plain: _entry(p._replace(epochs=f.epochs), family_of[p], f), passed_over
            )
    for name, members in parsed.items():
        if family in (None, name):
            for task in members:
                if task.constraints:
                    yield from _readable(lambda t=task, n=name: _constrained(t, n), passed_over)


def families_of_tables() -> dict[str, Counter[str]]:
    """Of each table that divides its tasks into families, how many tasks each has, at whatever length."""
    found = {}
    for name in tables.names():
        table = tables.find(name)
        counted = Counter(f for column in task_columns(table) if (f := table.families.get(column.name)) is not None)
        if counted and table.space.replace("-", "_") in plugins.names("space"):
            found[name] = counted
    return found


def _readable(entry: Callable[[], Entry], passed_over: list[str]) -> Iterator[Entry]:
    """The entry, if its table can be read."""
    try:
        yield entry()
    except UserError as error:
        if str(error) not in passed_over:
            passed_over.append(str(error))


def _dataset(name: str) -> Entry:
    data = datasets.load(name)
    space = plugins.load("space", "nasbench201")()
    c, h, w = data.x_train.shape[1:]
    return Entry(
        name, "data", space.name, _ops.size(space.choices), (c, h, w), len(data.class_names),
        "valid_accuracy", "valid", Objective("valid", 1).seeds_text, "test_accuracy", None, None, None,
    )  # fmt: skip


def _constrained(task: TaskName, family: str) -> Entry:
    known = task_columns(tables.find(task.table))
    return _entry(task, family, next(s for s in known if (s.name, s.epochs) == (task.dataset, task.epochs)))


def _entry(task: TaskName, family: str, found: TaskColumns) -> Entry:
    evaluator = find(str(task))
    space, about = evaluator.space, evaluator.task
    archs = _ops.enumerate_all(space.choices)
    shape, classes = (about.input_shape, about.num_classes) if about.data_known else (None, None)
    score = evaluator.load(torch.zeros(1).long())(Proposal(archs[None])).score[0]
    measured_on, columns = objective.of(evaluator), ", ".join([found.objective, *task.constraints])
    optimum = optimum_arch = among = None
    if not score.isnan().all():  # A table may have a column of which nothing was measured yet.
        best, counted = int(score.nan_to_num(-torch.inf).argmax()), top.top(score, space)
        optimum, optimum_arch = round(score[best].item(), 4), space.describe(archs[best])
        among = counted._asdict() | {"coarse": counted.coarse}
    return Entry(
        str(task), family, space.name, found.table.rows, shape, classes, columns,
        measured_on.split, measured_on.seeds_text, found.test_metric, optimum, optimum_arch, among,
    )  # fmt: skip
