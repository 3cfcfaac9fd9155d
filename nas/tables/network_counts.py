"""Columns of parameters and FLOPs, of the networks that a table's scores are of.

`nas table build` trains one network for all architectures that compute the same, without the operations that reach no output;
its scores are of that network, and so is what `nas export` writes. Its columns of counts are by the benchmark's rule: every
operation of the cell. Other tables' networks have all of their operations.
"""

from __future__ import annotations

from torch import Tensor

from nas.tables.table import Table
from search_spaces import Space, _ops, representatives

_COUNTS = ("params", "flops")
BUILT = "metacell, measured by `nas table build`"
"""How the source of a table begins that we built."""


def of_trained(table: Table, column: str) -> bool:
    """Whether the column counts what the trained network does not have."""
    return table.columns[column].metric in _COUNTS and table.source.startswith(BUILT)


def values(table: Table, column: str, archs: Tensor, space: Space) -> Tensor:
    """The column of `archs` `[..., D]`, float32 `[...]`; counts are those of the network that was trained."""
    asked = representatives(space, archs) if of_trained(table, column) else archs
    return table.by_index(column, space.choices)[_ops.index(asked, space.choices)]


def digest(table: Table, column: str) -> str:
    """Of what `values` depends on."""
    return table.digest([column]) + ("-trained" if of_trained(table, column) else "")
