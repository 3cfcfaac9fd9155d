"""Tasks with limits: accuracy, less what a cell goes over its latency, energy or size.

Score = accuracy - weight x max(0, value / limit - 1).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from controller import Proposal, Results, penalty
from nas.tables import Table
from nas.types import Evaluate, Evaluator, Trained
from search_spaces import Space, Task, _ops

__all__ = ["Limited"]

WEIGHT = 20.0
"""Points of accuracy that a cell at twice the limit loses."""


@dataclass(frozen=True)
class Limit:
    """At most `bound` of a table's column."""

    table: Table
    column: str
    bound: float
    """In the column's unit."""
    weight: float = WEIGHT

    def values(self, archs: Tensor, space: Space) -> Tensor:
        """The column of `archs` `[..., D]`, float32 `[...]`."""
        return self.table.by_rank(self.column, space.choices)[_ops.index(archs, space.choices)]


@dataclass(frozen=True)
class Limited:
    """Another evaluator's scores, less the penalties. Reports are the other's; `within` says which cells keep the limits."""

    inner: Evaluator
    task: Task
    limits: tuple[Limit, ...]

    @property
    def space(self) -> Space:
        return self.inner.space

    @property
    def budget(self) -> int:
        return self.inner.budget

    @property
    def batch(self) -> int:
        return self.inner.batch

    @property
    def about(self) -> str:
        limits = ", ".join(f"{lim.column} <= {lim.bound:g} ({lim.weight:g} points)" for lim in self.limits)
        return f"{self.inner.about}; limits: {limits}"

    @property
    def final(self) -> Space:
        return self.inner.final

    def load(self, seeds: Tensor) -> Evaluate:
        everything = _ops.enumerate_all(self.space.choices)
        over = torch.stack([lim.values(everything, self.space) / lim.bound for lim in self.limits], -1)
        off = penalty(over, torch.tensor(self.task.constraints))
        evaluate = self.inner.load(seeds)

        def limited(proposal: Proposal) -> Results:
            results = evaluate(proposal)
            rank = _ops.index(proposal.archs, self.space.choices)
            return results._replace(score=results.score - off[rank], constraint_ratio=over[rank])

        return limited

    def report(self, archs: Tensor) -> Tensor | None:
        return self.inner.report(archs)

    def remember(self, folder: Path) -> None:
        self.inner.remember(folder)

    def curve(self, arch: Tensor) -> list[float]:
        return self.inner.curve(arch)

    def trained(self, arch: Tensor) -> Trained | None:
        return self.inner.trained(arch)

    def within(self, archs: Tensor) -> Tensor:
        """Which of `archs` `[..., D]` keep every limit, bool `[...]`."""
        kept = [lim.values(archs, self.space) <= lim.bound for lim in self.limits]
        return torch.stack(kept).all(0)
