"""Whether a prior has seen a task in its training, by the columns that the two read and not by their names alone.

A column is the same under another number of epochs, rule on training seeds or bound; in nats_bench's own files; and in a table of
another name that holds the same values.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from nas import plugins, tables
from nas.tables import Table
from nas.tasks.find import find, space_of, task_columns
from nas.tasks.name import TaskName
from search_spaces import UserError

_NATS = ("nasbench201", "natsbench-size")
"""The tables that have what nats_bench's files have, named like their spaces."""
_MEASURED_ON = {"digits": "own201/digits/accuracy"}
"""Datasets that are always there, and the shipped column that was measured on their images."""

Identity = frozenset[str]
"""Of one column: its dataset and metric in its table, and a hash of its values. Two are of one column if they share one."""


def columns(task: str) -> list[Identity]:
    """The columns that a task's evaluator reads: the objective, then one for each constraint."""
    name = TaskName.parse(task)
    return [_objective(name), *(_column(text.rpartition("<=")[0]) for text in name.table_constraints)]


def trained_on(tasks: Iterable[str], auxiliary: Iterable[str] = ()) -> dict[str, str]:
    """What a prior knows: from an identity of each column of its training to the first task or column that has it.

    Args:
        tasks: names of the tasks of its training.
        auxiliary: the other columns of its training, `TABLE/COLUMN`.
    """
    pairs = [(key, task) for task in tasks for identity in columns(task) for key in identity]
    pairs += [(key, name) for name in auxiliary for key in _column(name)]
    return dict(reversed(pairs))


def seen(task: str, known: dict[str, str]) -> str | None:
    """What of `trained_on` makes a task no test; None where the task is one.

    A task was seen if all of its columns were. Accuracies that a prior knows, under a constraint that it does not, are a task to
    try it on: a known dataset on a new device.
    """
    found = [next((known[key] for key in sorted(identity) if key in known), None) for identity in columns(task)]
    return found[0] if all(found) else None


def _objective(name: TaskName) -> Identity:
    if name.kind in ("evaluator", "few_shot"):
        return frozenset({str(name.unconstrained())})
    if name.kind == "data":
        return frozenset({_MEASURED_ON.get(name.dataset, name.dataset)})
    if name.kind == "nats":
        return frozenset(f"{table}/{name.dataset}/accuracy" for table in _tables_of(name))
    if name.table not in tables.names():
        return frozenset({f"{name.table}/{name.dataset}/accuracy"})
    table = tables.find(name.table)
    # Of all lengths: a few epochs are no other task to who knows all of them.
    ours = [found.objective for found in task_columns(table) if found.name == name.dataset]
    return frozenset().union(*(_identity(table, column) for column in ours))


def _tables_of(name: TaskName) -> tuple[str, ...]:
    """The table that has what some of nats_bench's files have; each that may, where the files are gone since the training."""
    try:
        return (find(str(name.unconstrained())).space.name,)
    except UserError:
        return _NATS


def _column(text: str) -> Identity:
    """Of `TABLE/COLUMN`; by its name alone where the table is not at hand."""
    table, _, column = text.partition("/")
    known = tables.find(table) if table in tables.names() else None
    if known is None or column not in known.columns:
        return frozenset({f"{table}/{column.partition('@')[0]}"})
    return _identity(known, column)


def _identity(table: Table, column: str) -> Identity:
    about = table.columns[column]
    key = table.path, table.path.stat().st_mtime_ns, column
    if key not in _DIGESTS:
        _DIGESTS[key] = _digest(table, column)
    return frozenset({f"{table.name}/{about.task}/{about.metric}", _DIGESTS[key]})


_DIGESTS: dict[tuple[Path, int, str], str] = {}
"""By file, time of its change and column: a prior has hundreds of columns, and a comparison asks for each of its tasks."""


def _digest(table: Table, column: str) -> str:
    """SHA-256 of a column's values by index in its space, of the mean of its seeds where it has several."""
    listed = table.space.replace("-", "_") in plugins.names("space")
    values = table.by_index(column, space_of(table).choices) if listed else table.column(column)
    values = values if values.dim() == 1 else values.nanmean(-1)
    return f"sha256:{hashlib.sha256(values.contiguous().numpy().tobytes()).hexdigest()}"
