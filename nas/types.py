"""The evaluator's types."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from torch import Tensor

from controller import Proposal, Results
from search_spaces import Space, Task

Evaluate = Callable[[Proposal], Results]
"""Proposals `[S, B, D]` to scores and costs `[S, B]`; a pure function of the proposal and of the seeds it was loaded for."""


class Trained(NamedTuple):
    """A network trained to the end."""

    arch: str
    """As its space describes it."""
    state_dict: dict[str, Tensor]
    """Of `space.build(arch, task)`."""
    mean: Tensor
    """float32 `[C]`: the pixels' mean, of pixels / 255, that training took away; `std` it divided by."""
    std: Tensor
    class_names: tuple[str, ...]
    figures: dict[str, Any]
    """`test_accuracy` in percent, `interval` around it, `confusion` `[K, K]` (rows: the truth), `loss` by epoch."""


class Evaluator(Protocol):
    """Finds out what architectures score on one task."""

    @property
    def space(self) -> Space: ...

    @property
    def task(self) -> Task: ...

    @property
    def budget(self) -> int:
        """Evaluations of a search when nothing is said."""
        ...

    @property
    def batch(self) -> int:
        """Architectures evaluated at once when nothing is said."""
        ...

    @property
    def about(self) -> str:
        """One line: which figure is the score, which is the report, what an evaluation is."""
        ...

    @property
    def final(self) -> Space:
        """The space with the network that leaves: the search's own, or a larger one than its proxy."""
        ...

    def load(self, seeds: Tensor) -> Evaluate:
        """The search column, for searches with `seeds` int64 `[S]`. Never a test figure."""
        ...

    def report(self, archs: Tensor) -> Tensor | None:
        """The report column of `archs` `[..., D]`, float32 `[...]`; None where the task has none. Read after the search."""
        ...

    def remember(self, folder: Path) -> None:
        """Keep what cost much to find out in a run's `folder`, and take up what an earlier sitting left there."""
        ...

    def curve(self, arch: Tensor) -> list[float]:
        """The mean training loss after each epoch of `arch` `[D]`; empty where nothing was trained."""
        ...

    def trained(self, arch: Tensor) -> Trained | None:
        """The network of `arch` `[D]` in `final`, trained to the end; None where there is nothing to train on."""
        ...
