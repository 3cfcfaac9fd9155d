"""The types every package speaks of: what a network is for, and which networks there are."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:  # What wants the names of errors need not wait for torch.
    from torch import Tensor, nn


class UserError(ValueError):
    """What the user gave cannot be used; the message is one line: the value, the rule, what would do."""


def unknown(kind: str, name: str, there_are: list[str]) -> UserError:
    """The one line for a name that does not exist: the nearest, then all."""
    near = difflib.get_close_matches(name, there_are, n=1, cutoff=0.5)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    listed = f"There are: {', '.join(there_are)}." if there_are else "There is none."
    return UserError(f"No {kind} is called '{name}'.{hint} {listed}")


class ConstraintFacts(NamedTuple):
    """What is known of one constraint before a search."""

    quantity: str | None = None
    """What it bounds: `latency`, `energy`, `params`, `flops`, `train_seconds` or another metric; None where nobody says."""
    device: str | None = None
    """The kind of device it is measured on: `gpu`, `cpu`, `phone`, `board`, `fpga` or `accelerator`; None where it is of none, or
    unknown."""
    share: float | None = None
    """The share of the space that keeps the bound, 0 to 1, where the task gives the bound as a quantile; else None."""


@dataclass(frozen=True)
class Task:
    """What a controller may know of a problem beforehand."""

    name: str
    input_shape: tuple[int, int, int]
    """Channels, height, width of an input."""
    num_classes: int
    features: tuple[float, ...] = ()
    """Numbers that describe the data; may be empty. Their order is `nas.description`'s business."""
    fidelities: tuple[int, ...] = ()
    """Epochs that an evaluation may ask for, the fewest first; the last are the task's own. Empty: it knows no others."""
    constraints: tuple[float, ...] = ()
    """Penalty weight of each constraint: what the score loses at twice the bound. `Results.constraint_ratio` has the values."""
    data_known: bool = True
    """Whether `input_shape` and `num_classes` are those of the data. False where nobody says what the data is; then they only let
    a network be built."""
    constraint_facts: tuple[ConstraintFacts, ...] = ()
    """One for each constraint; empty where nothing is known of them."""
    aims: tuple[str, ...] = ()
    """Names of the objectives, where there are several. `Results.objectives` has the values."""


class Space(Protocol):
    """A set of architectures, each an int tensor of `D` decisions, decision `d` one of `choices[d]` options."""

    @property
    def name(self) -> str: ...

    @property
    def choices(self) -> tuple[int, ...]:
        """Number of options of each decision, `[D]`."""
        ...

    @property
    def decisions(self) -> tuple[str, ...]:
        """What each decision decides, as `0-1` for an edge or `stage 2`."""
        ...

    @property
    def operations(self) -> tuple[tuple[str, ...], ...]:
        """The options' names, decision by decision: what a network may know of a space it never saw."""
        ...

    def valid(self, archs: Tensor) -> Tensor:
        """Which of `archs` `[..., D]` are in the space: bool `[...]`."""
        ...

    def canonical(self, archs: Tensor) -> Tensor:
        """The cheapest architecture that computes the same function, `[..., D]`; idempotent."""
        ...

    def build(self, arch: Tensor, task: Task) -> nn.Module:
        """The network of one architecture `[D]`: images `[N, *task.input_shape]` to logits `[N, num_classes]`."""
        ...

    def describe(self, arch: Tensor) -> str:
        """One line that names one architecture `[D]`; `parse` reads it back."""
        ...

    def parse(self, text: str) -> Tensor:
        """The architecture `[D]` that `text` names. Raises `UserError` saying what is wrong and what there is."""
        ...


@runtime_checkable
class HasAllValid(Protocol):
    """A space that says of itself whether every combination of options is valid.

    Only a space of more than a million combinations needs to: a smaller one is listed. A large one that does not say so is
    sampled by rejection.
    """

    @property
    def all_valid(self) -> bool: ...


class OperationFeatures(NamedTuple):
    """What an option does, in numbers that mean the same in every space: how a model sees spaces it was not trained on."""

    none: float = 0.0
    """1 for the option that lets nothing through."""
    identity: float = 0.0
    """1 for the option that hands its input on."""
    convolution: float = 0.0
    kernel: float = 0.0
    """A convolution's area over 9: 1 for 3x3."""
    pooling: float = 0.0
    other: float = 0.0
    """1 for what none of these words fits."""
    number: float = 0.0
    """log(1 + n) / log(65) for an option that is a number `n`, as a width is; 0 for the others."""


@runtime_checkable
class HasOperationFeatures(Protocol):
    """A space that says what its options do. One that does not has options that are `other`, told apart by name alone."""

    @property
    def operation_features(self) -> tuple[tuple[OperationFeatures, ...], ...]:
        """Of each decision's options, in the order of `operations`."""
        ...


@runtime_checkable
class HasCost(Protocol):
    """A space that knows what its networks cost without building them. Of others one network at a time is built and counted."""

    def cost(self, archs: Tensor, task: Task) -> tuple[Tensor, Tensor]:
        """Parameters and FLOPs (multiply-accumulates of one image) of `archs` `[..., D]`, int64 `[...]` each."""
        ...


class Loads(NamedTuple):
    """What a network makes a device do for one image: what its latency is a sum of. float64 `[...]` each."""

    wide: Tensor
    """Multiply-accumulates of convolutions wider than 1x1."""
    pointwise: Tensor
    """Multiply-accumulates of 1x1 convolutions and of the classifier."""
    blocked: Tensor
    """Multiply-accumulates of convolutions with channels in whole blocks (`in_blocks`), as vector units take them."""
    pooled: Tensor
    """Values that poolings give."""
    values: Tensor
    """Values that all layers give."""
    layers: Tensor
    """Convolutions, poolings and linear layers."""


@runtime_checkable
class HasLoads(Protocol):
    """A space that knows the loads of its networks without building them."""

    def loads(self, archs: Tensor, task: Task) -> Loads:
        """Of `archs` `[..., D]`."""
        ...


@runtime_checkable
class HasOwnSize(Protocol):
    """A space whose architectures decide the size of the images that they take."""

    def sized(self, arch: Tensor, task: Task) -> Task:
        """The task with images of the size of `arch` `[D]`."""
        ...


@runtime_checkable
class HasFirstArchs(Protocol):
    """A space that says what to begin with where nothing is known of other data."""

    @property
    def first_archs(self) -> Tensor:
        """int64 `[P, D]`."""
        ...


@runtime_checkable
class HasSmaller(Protocol):
    """A space that makes an architecture smaller: of one that breaks a bound, the first that keeps it is begun with."""

    def smaller(self, arch: Tensor) -> Tensor:
        """int64 `[P, D]`, the largest first; `arch` `[D]` is not among them."""
        ...


@runtime_checkable
class HasMirror(Protocol):
    """A space whose architectures decide whether they answer by the mean over an image and its mirror image: twice the work."""

    def mirrors(self, arch: Tensor) -> bool:
        """Whether `arch` `[D]` does."""
        ...


class Skeleton(NamedTuple):
    """NAS-Bench-201's network around a cell: a stem, three stages of equal cells, a head (`_cells.three_stages`)."""

    channels: int
    """Width of the first stage; the others have twice and four times that."""
    cells: int
    """Cells a stage; 0: one in the first stage alone."""
    stem_stride: int
    """2 halves the image in the stem: a quarter of the work."""


@runtime_checkable
class CellSpace(Space, HasOperationFeatures, Protocol):
    """A space whose decisions are the operations on the edges of one cell, of which a network holds many copies.

    Whoever can use that asks `as_cell_space`; a plain `Space` is searched, trained and exported without it.
    """

    @property
    def edges(self) -> tuple[tuple[int, int], ...]:
        """(from, to) of each decision: node 0 is the cell's input, the last node its output."""
        ...

    @property
    def reference_arch(self) -> Tensor:
        """A ResNet-like cell `[D]` to compare with: two 3x3 convolutions beside a skip."""
        ...

    @property
    def skeleton(self) -> Skeleton | None:
        """Where `build` gives NAS-Bench-201's network with its operations, that network's sizes; None for another network.

        Many networks of one skeleton are trained as one (`nas.training`); others are trained one by one.
        """
        ...

    def equivalents(self, archs: Tensor, *, deep: bool = False) -> Tensor:
        """The cheapest architecture that computes the same as each of `archs` `[..., D]`; `deep`: also where only sums of
        zeros and of sums tell them apart, which `canonical`, a benchmark's own notion, may not see."""
        ...

    def proxy(self, channels: int, cells: int, stem_stride: int) -> CellSpace:
        """The same cells in a network of another width (of its first stage), depth (cells a stage) and stem."""
        ...

    def cost(self, archs: Tensor, task: Task) -> tuple[Tensor, Tensor]:
        """Parameters and FLOPs (multiply-accumulates of one image) of `archs` `[..., D]`, int64 `[...]` each."""
        ...


def as_cell_space(space: Space) -> CellSpace | None:
    """`space` where it is one of cells, else None: the one place that asks.

    A space is one by having the members, as everywhere with Protocols: a user's space neither inherits nor registers, and a
    space without cells need not say so.
    """
    return space if isinstance(space, CellSpace) else None


def representatives(space: Space, archs: Tensor) -> Tensor:
    """The one architecture that is trained for all that compute the same, of each of `archs` `[..., D]`."""
    cells = as_cell_space(space)
    return cells.equivalents(archs, deep=True) if cells else space.canonical(archs)
