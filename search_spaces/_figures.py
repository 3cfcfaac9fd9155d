"""A space that knows a figure of each architecture without evaluating it, as a zero-cost proxy.

Controllers whose models can use one ask `isinstance(space, HasFigures)`; to all others the space is as it was.
Shapes: `D` decisions, `P` figures.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from torch import Tensor

from search_spaces._base import HasAllValid, Space, as_cell_space
from search_spaces._measured import CellPart, Part


class Figures(Protocol):
    """What knows them. Equal ones, by `==`, know the same."""

    @property
    def count(self) -> int:
        """`P`."""
        ...

    def __call__(self, archs: Tensor) -> Tensor:
        """Of architectures `[..., D]`, float32 `[..., P]`: normal scores over the space, higher for what promises more."""
        ...


@runtime_checkable
class HasFigures(Protocol):
    """A space that knows figures of each architecture."""

    @property
    def num_figures(self) -> int: ...

    def figures(self, archs: Tensor) -> Tensor:
        """Of `archs` `[..., D]`, float32 `[..., P]`, as `Figures` gives them."""
        ...


@dataclass(frozen=True)
class WithFigures(Part):
    """All of `whole`, with figures."""

    read: Figures = field(repr=False)

    @property
    def all_valid(self) -> bool:
        return self.whole.all_valid if isinstance(self.whole, HasAllValid) else False

    def valid(self, archs: Tensor) -> Tensor:
        return self.whole.valid(archs)

    @property
    def num_figures(self) -> int:
        return self.read.count

    def figures(self, archs: Tensor) -> Tensor:
        return self.read(archs)


@dataclass(frozen=True)
class CellsWithFigures(WithFigures, CellPart):
    """`WithFigures` of a space of cells."""


def with_figures(whole: Space, read: Figures) -> Space:
    """`whole` with figures."""
    return (CellsWithFigures if as_cell_space(whole) else WithFigures)(whole, read)
