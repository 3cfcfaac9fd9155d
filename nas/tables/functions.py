"""Which architectures of a space compute the same function, for tables that hold one row a function.

Shapes: `N` architectures of a space, in the order of their index.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from nas import plugins
from search_spaces import Space, UserError, _ops, representatives

MOST = 1_000_000
"""Architectures of a space whose functions are told apart here: it lists them all."""

_FUNCTIONS: dict[tuple, Tensor] = {}
"""Of each space that was asked for: a fraction of a second each, for every task of a list."""


def function_index(space: Space) -> Tensor:
    """For every architecture by index, the index of the one that stands for all that compute the same, int64 `[N]`."""
    key = (type(space), space.name, space.choices)
    if key not in _FUNCTIONS:
        _FUNCTIONS[key] = _ops.index(representatives(space, _ops.enumerate_all(space.choices)), space.choices)
    return _FUNCTIONS[key]


def space_of(name: str) -> Space:
    """The space of a table of functions. Raises `UserError` for one that is not here or whose architectures cannot be listed."""
    found = name.replace("-", "_")
    if found not in plugins.names("space"):
        raise UserError(f"its rows are functions of space '{name}', which is not here")
    space = plugins.load("space", found)()
    if _ops.size(space.choices) > MOST or not bool(space.valid(_ops.enumerate_all(space.choices)).all()):
        raise UserError(f"its rows are functions of space '{name}', whose architectures cannot all be listed")
    return space


def twice(space: Space, archs: Tensor) -> Iterator[str]:
    """What is wrong with a table's rows `[P, D]` where two are one function."""
    functions = function_index(space)[_ops.index(archs, space.choices)]
    more = len(functions) - len(functions.unique())
    if more:
        yield f"{more} of {len(functions)} rows are of a function that another row is of"


def rows(space: Space, archs: Tensor) -> Tensor:
    """For each architecture by index, the row that holds its function, -1 where none does, int64 `[N]`.

    Args:
        archs: of the rows, whole numbers `[P, D]`; each stands for all that compute the same.
    """
    representative_N = function_index(space)
    row_N = torch.full_like(representative_N, -1)
    row_N[representative_N[_ops.index(archs, space.choices)]] = torch.arange(len(archs))
    return row_N[representative_N]
