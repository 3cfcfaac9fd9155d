"""Whether a table is what it says: types, shapes, architectures of its space, values in their range, the checksum."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from safetensors import safe_open
from torch import Tensor

from nas.tables import checks
from nas.tables import table as tables
from nas.tables.table import Table


def verify(table: Table) -> list[str]:
    """What is wrong with a table, a line each; empty where nothing is. Reads every value."""
    return list(_problems(table))


def knows_space(table: Table) -> bool:
    """Whether the table's space is one that is here, so that its architectures can be checked."""
    return checks.knows_space(table.space)


def _problems(table: Table) -> Iterator[str]:
    tensors = _tensors(table)
    archs = tensors["archs"]
    # Before all else: whatever else is wrong with a file that was damaged on the way is only its consequence.
    if table.sha256 is not None and tables.checksum(tensors) != table.sha256:
        yield "its values are not those it was written with: the checksum differs"
    wrong = list(checks.archs(archs, table.space))
    yield from wrong
    if wrong and table.packing is not None:
        return  # No value of it can be read: each is found by its architecture.
    for name, about in table.columns.items():
        values = table.spread(name, tensors[name])
        yield from (f"column '{name}' {what}" for what in checks.column(about.unit, values, table.rows))
        if bool(torch.isnan(values).all()):
            yield f"column '{name}' holds no value at all"


def _tensors(table: Table) -> dict[str, Tensor]:
    """All of them as they are in the file: `Table` refuses the first that is not as it should be."""
    with safe_open(table.path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in ("archs", *table.columns)}
