"""The two types every package speaks of: what a network is for, and which networks there are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # What wants the names of errors need not wait for torch.
    from torch import Tensor, nn


class UserError(ValueError):
    """What the user gave cannot be used; the message is one line: the value, the rule, what would do."""


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
