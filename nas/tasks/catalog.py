"""Every task there is, with what is known of it before a search."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch

from controller import Proposal
from nas import datasets, plugins, tables
from nas.tasks import families
from nas.tasks.find import Searchable, find, searchable
from nas.types import Evaluator
from search_spaces import _ops


class Entry(NamedTuple):
    """One task."""

    task: str
    family: str
    space: str
    architectures: int
    """How many were measured; of a data set, how many there are to train."""
    input_shape: tuple[int, int, int]
    num_classes: int
    search: str
    """What a search raises: a column, or the validation accuracy of training."""
    report: str | None
    """What is reported of the best."""
    optimum: float | None
    """The highest search score in the space; None where only training would tell."""
    optimum_arch: str | None


def entries(family: str | None = None) -> Iterator[Entry]:
    """Data sets that are always there, then the tables' tasks, then those with limits; of one family if it is named.

    Raises `UserError` for a family that is not there.
    """
    known = families.families()
    if family is not None and family not in (*known, "data"):
        raise plugins.unknown("family of tasks", family, ["data", *known])
    family_of = {
        task.partition("@")[0]: name for name, members in known.items() for task in members if "<=" not in task
    }
    if family in (None, "data"):
        yield from map(_data_set, datasets.names())
    for found in (s for name in tables.names() for s in searchable(tables.find(name))):
        plain = f"{found.table.name}/{found.name}"
        if plain in family_of and family in (None, family_of[plain]):
            task = plain + (f"@{found.epochs}" if found.epochs else "")
            yield _entry(task, family_of[plain], find(task), found, found.search)
    for name, members in known.items():
        if family in (None, name):
            yield from (_limited(task, name) for task in members if "<=" in task)


def _data_set(name: str) -> Entry:
    data = datasets.load(name)
    space = plugins.load("space", "nasbench201")()
    c, h, w = data.x_train.shape[1:]
    return Entry(
        name, "data", space.name, _ops.size(space.choices), (c, h, w), len(data.class_names),
        "valid_accuracy", "test_accuracy", None, None,
    )  # fmt: skip


def _limited(task: str, family: str) -> Entry:
    plain, limit = task.split("+", 1)
    table = tables.find(plain.partition("/")[0])
    found = next(s for s in searchable(table) if f"{table.name}/{s.name}@{s.epochs}" == plain)
    return _entry(task, family, find(task), found, f"{found.search}, {limit}")


def _entry(task: str, family: str, evaluator: Evaluator, found: Searchable, search: str) -> Entry:
    space, about = evaluator.space, evaluator.task
    archs = _ops.enumerate_all(space.choices)
    score = evaluator.load(torch.zeros(1).long())(Proposal(archs[None])).score[0].nan_to_num(-torch.inf)
    best = int(score.argmax())
    return Entry(
        task, family, space.name, found.table.rows, about.input_shape, about.num_classes, search, found.report,
        round(score[best].item(), 4), space.describe(archs[best]),
    )  # fmt: skip
