"""A part of a space, as of 15,625 cells the 300 that a table holds or those that keep a bound.

Searches propose among these: any other architecture could only fail. All else is the whole space's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache

import torch
from torch import Tensor, nn

from search_spaces import _ops
from search_spaces._base import (
    CellSpace,
    HasFirstArchs,
    HasOperationFeatures,
    HasSmaller,
    OperationFeatures,
    Skeleton,
    Space,
    Task,
    UserError,
    as_cell_space,
)
from search_spaces._sampling import is_listed


@dataclass(frozen=True)
class Part:
    """Some architectures of `whole`; which, a subclass says by `valid`."""

    whole: Space

    @property
    def name(self) -> str:
        return self.whole.name

    @property
    def choices(self) -> tuple[int, ...]:
        return self.whole.choices

    @property
    def decisions(self) -> tuple[str, ...]:
        return self.whole.decisions

    @property
    def operations(self) -> tuple[tuple[str, ...], ...]:
        return self.whole.operations

    @property
    def operation_features(self) -> tuple[tuple[OperationFeatures, ...], ...]:
        if isinstance(self.whole, HasOperationFeatures):
            return self.whole.operation_features
        return tuple((OperationFeatures(other=1.0),) * options for options in self.choices)

    def canonical(self, archs: Tensor) -> Tensor:
        return self.whole.canonical(archs)

    def build(self, arch: Tensor, task: Task) -> nn.Module:
        return self.whole.build(arch, task)

    def describe(self, arch: Tensor) -> str:
        return self.whole.describe(arch)

    def parse(self, text: str) -> Tensor:
        return self.whole.parse(text)


class CellPart(Part):
    """A part of a space of cells."""

    @property
    def _cells(self) -> CellSpace:
        cells = as_cell_space(self.whole)
        assert cells is not None
        return cells

    @property
    def edges(self) -> tuple[tuple[int, int], ...]:
        return self._cells.edges

    @property
    def reference_arch(self) -> Tensor:
        return self._cells.reference_arch

    @property
    def skeleton(self) -> Skeleton | None:
        return self._cells.skeleton

    def equivalents(self, archs: Tensor, *, deep: bool = False) -> Tensor:
        return self._cells.equivalents(archs, deep=deep)

    def proxy(self, channels: int, cells: int, stem_stride: int) -> CellSpace:
        return self._cells.proxy(channels, cells, stem_stride)

    def cost(self, archs: Tensor, task: Task) -> tuple[Tensor, Tensor]:
        return self._cells.cost(archs, task)


@dataclass(frozen=True)
class Measured(Part):
    """The architectures of `whole` that have a figure. `canonical` may name one without: it tells which compute the same."""

    indices: tuple[int, ...] = field(repr=False)
    """Of the architectures in `whole`."""

    def valid(self, archs: Tensor) -> Tensor:
        within = _ops.in_range(archs, self.choices)
        return within & _is_measured(self)[_ops.index(torch.where(within[..., None], archs, 0), self.choices)]


@dataclass(frozen=True)
class MeasuredCells(Measured, CellPart):
    """`Measured` of a space of cells."""


@dataclass(frozen=True)
class Bounded(Part):
    """The architectures of a `whole` that is too large to list, of which those are kept that `keeps` tells."""

    keeps: Callable[[Tensor], Tensor] = field(repr=False)
    """Architectures `[..., D]` of `whole` to bool `[...]`. Equal ones, by `==`, keep the same."""
    all_valid = False

    @property
    def first_archs(self) -> Tensor:
        """What the whole begins with, as `fitting` has it; none where the whole does not say."""
        if not isinstance(self.whole, HasFirstArchs):
            return torch.zeros(0, len(self.choices), dtype=torch.long)
        return self.fitting(self.whole.first_archs)

    def fitting(self, archs: Tensor) -> Tensor:
        """Of each of `archs` `[N, D]` of the whole the first that is kept of it and its `smaller` ones, in order, `[P, D]`."""
        chosen: dict[tuple[int, ...], Tensor] = {}
        for arch in archs:
            tried = arch[None]
            if isinstance(self.whole, HasSmaller):
                tried = torch.cat([tried, self.whole.smaller(arch)])
            for kept in tried[self.valid(tried)][:1]:
                chosen.setdefault(tuple(kept.tolist()), kept)
        return torch.stack(list(chosen.values())) if chosen else archs[:0]

    def valid(self, archs: Tensor) -> Tensor:
        within = self.whole.valid(archs)
        if within.any():
            within[within.clone()] = self.keeps(archs[within])
        return within


@dataclass(frozen=True)
class BoundedCells(Bounded, CellPart):
    """`Bounded` of a space of cells."""


def measured(whole: Space, archs: Tensor) -> Space:
    """`whole` with nothing but the valid ones of `archs` `[N, D]`; itself where these are all that it has.

    Raises `UserError` where none is valid.
    """
    indices = _ops.index(archs[whole.valid(archs)].long(), whole.choices).unique()
    if not len(indices):
        raise UserError(f"None of the {len(archs):,} architectures is one of space '{whole.name}'.")
    if len(indices) == int(whole.valid(_ops.enumerate_all(whole.choices)).sum()):
        return whole
    kind = MeasuredCells if as_cell_space(whole) else Measured
    return kind(whole, tuple(indices.tolist()))


def bounded(whole: Space, keeps: Callable[[Tensor], Tensor]) -> Space:
    """`whole` with nothing but the architectures that `keeps` tells, as `Bounded.keeps` does; listed where it can be.

    Raises `UserError` where a space with a list has none.
    """
    if is_listed(whole):
        every = _ops.enumerate_all(whole.choices)
        every = every[whole.valid(every)]
        return measured(whole, every[keeps(every)])
    kind = BoundedCells if as_cell_space(whole) else Bounded
    return kind(whole, keeps)


def whole_of(space: Space) -> Space:
    """The space that another is a part of; any other is its own."""
    return whole_of(space.whole) if isinstance(space, Part) else space


@lru_cache(maxsize=16)
def _is_measured(space: Measured) -> Tensor:
    """Bool `[N]` by index in the whole space."""
    found = torch.zeros(_ops.size(space.choices), dtype=torch.bool)
    found[list(space.indices)] = True
    return found
