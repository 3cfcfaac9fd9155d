"""Whether a table is what it says: types, shapes, architectures of its space, values in their range, the checksum."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from nas import plugins
from nas.tables import table as tables
from nas.tables.table import Column, Table

_NEVER_NEGATIVE = ("percent", "million", "second", "millisecond", "seconds", "milliseconds", "millijoule", "joule")


def verify(table: Table) -> list[str]:
    """What is wrong with a table, a line each; empty where nothing is. Reads every value."""
    return list(_problems(table))


def knows_space(table: Table) -> bool:
    """Whether the table's space is one that is here, so that its architectures can be checked."""
    return table.space.replace("-", "_") in plugins.names("space")


def _problems(table: Table) -> Iterator[str]:
    archs = table.archs
    if table.sha256 is not None:
        # Before all else: whatever else is wrong with a file that was damaged on the way is only its consequence.
        tensors = {name: table.column(name) for name in table.columns} | {"archs": archs}
        if tables.checksum(tensors) != table.sha256:
            yield "its values are not those it was written with: the checksum differs"
    yield from _archs(table, archs)
    for name, about in table.columns.items():
        yield from (f"column '{name}' {what}" for what in _column(about, table.column(name), len(archs)))


def _archs(table: Table, archs: Tensor) -> Iterator[str]:
    if archs.dtype != torch.int8 or archs.dim() != 2:
        yield f"'archs' is {archs.dtype} with {archs.dim()} dimensions; it takes int8 with 2"
        return
    twice = len(archs) - len(torch.unique(archs, dim=0))
    if twice:
        yield f"{twice} of {len(archs)} architectures are there twice"
    if not knows_space(table):
        return
    space = plugins.load("space", table.space)()
    if archs.shape[1] != len(space.choices):
        yield f"architectures have {archs.shape[1]} decisions; space '{table.space}' takes {len(space.choices)}"
        return
    invalid = ~space.valid(archs)
    if invalid.any():
        row = int(invalid.nonzero()[0])
        yield f"architecture {archs[row].tolist()} of row {row} is not in space '{table.space}'"


def _column(about: Column, values: Tensor, rows: int) -> Iterator[str]:
    if values.dtype != torch.float32 or values.dim() not in (1, 2) or len(values) != rows:
        yield f"is {values.dtype} {list(values.shape)}; it takes torch.float32 [{rows}] or [{rows}, seeds]"
        return
    known = values[~values.isnan()]
    if not len(known):
        yield "holds no value at all"
        return
    low, high = known.min().item(), known.max().item()
    # NaN is a value that was not measured; an infinity is a mistake of whoever wrote the table.
    if not -torch.inf < low <= high < torch.inf:
        yield "holds infinities"
    elif about.unit == "percent" and not 0 <= low <= high <= 100:
        yield f"holds {low if low < 0 else high:g}; percent lie between 0 and 100"
    elif about.unit in _NEVER_NEGATIVE and low < 0:
        yield f"holds {low:g}; a number of {about.unit} is not below 0"
