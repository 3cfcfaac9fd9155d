"""Constrained tasks: accuracy, less a penalty for what exceeds a bound on latency, energy or size.

Score = accuracy - sum of penalty_weight x max(0, value / bound - 1) over the constraints.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

from controller import Proposal, Results, penalty
from nas.tables import Table
from nas.types import Defaults, Evaluate, Evaluator, HasDataDigest, TrainingEvaluator
from search_spaces import Space, Task, _ops

__all__ = ["Constrained"]

PENALTY_WEIGHT = 20.0
"""Points of accuracy that an architecture at twice the bound loses: more than the accuracies of trained architectures differ by
on most tables, so that the best score keeps its bounds. Not ablated."""


@dataclass(frozen=True)
class Constraint:
    """At most `bound` of a table's column."""

    table: Table
    column: str
    bound: float
    """In the column's unit."""
    penalty_weight: float = PENALTY_WEIGHT

    def values(self, archs: Tensor, space: Space) -> Tensor:
        """The column of `archs` `[..., D]`, float32 `[...]`."""
        return self.table.by_index(self.column, space.choices)[_ops.index(archs, space.choices)]


@dataclass(frozen=True)
class Constrained:
    """Another evaluator's scores, less the penalties. Reports and trainings are the other's."""

    inner: Evaluator
    task: Task
    constraints: tuple[Constraint, ...]

    @property
    def space(self) -> Space:
        return self.inner.space

    @property
    def defaults(self) -> Defaults:
        return self.inner.defaults

    @property
    def description(self) -> str:
        bounds = ", ".join(f"{c.column} <= {c.bound:g} ({c.penalty_weight:g} points)" for c in self.constraints)
        return f"{self.inner.description}; constraints: {bounds}"

    @property
    def data_digest(self) -> str | None:
        """Of the other's data and of the columns that are bounded."""
        inner = self.inner.data_digest if isinstance(self.inner, HasDataDigest) else ""
        own = [c.table.digest([c.column]) for c in self.constraints]
        return hashlib.sha256("".join([inner or "", *own]).encode()).hexdigest()[:16] if inner else None

    @property
    def training(self) -> TrainingEvaluator | None:
        return self.inner.training

    def load(self, seeds: Tensor) -> Evaluate:
        # For the whole space at once: bounds are of tables, and then each evaluation is a look-up.
        ratio, points = self.penalties()
        evaluate = self.inner.load(seeds)

        def penalised(proposal: Proposal) -> Results:
            results = evaluate(proposal)
            index = _ops.index(proposal.archs, self.space.choices)
            return results._replace(score=results.score - points[index], constraint_ratio=ratio[index])

        return penalised

    def penalties(self) -> tuple[Tensor, Tensor]:
        """Of all architectures by index: value over bound `[N, L]`, and the points that the score loses for it `[N]`."""
        everything = _ops.enumerate_all(self.space.choices)
        ratio = torch.stack([c.values(everything, self.space) / c.bound for c in self.constraints], -1)
        return ratio, penalty(ratio, torch.tensor(self.task.constraints))

    def report(self, archs: Tensor) -> Tensor | None:
        return self.inner.report(archs)


def feasible(archs: Tensor, space: Space, constraints: tuple[Constraint, ...]) -> Tensor:
    """Which of `archs` `[..., D]` keep every bound, bool `[...]`; all where there is none."""
    within = torch.ones(archs.shape[:-1], dtype=torch.bool)
    for constraint in constraints:
        within &= constraint.values(archs, space) <= constraint.bound
    return within
