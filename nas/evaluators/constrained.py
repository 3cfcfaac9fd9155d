"""Constrained tasks: accuracy, less a penalty for what exceeds a bound on latency, energy or size.

Score = accuracy - sum of penalty_weight x max(0, value / bound - 1) over the constraints. A constraint that is known before an
evaluation has no penalty: the space is the part that keeps it, or what breaks it is not evaluated.
Shapes: `S` searches, `B` architectures, `D` decisions, `L` constraints, `N` architectures of an enumerable space.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from controller import Proposal, Results, penalty
from nas.evaluators._mixture import expectation
from nas.tables import Table, device_kinds, network_counts
from nas.types import (
    Concurrent,
    Defaults,
    Evaluate,
    EvaluateWithMemory,
    Evaluator,
    HasDataDigest,
    HasMemory,
    KeepsFiles,
    Memory,
    TrainingEvaluator,
)
from search_spaces import ConstraintFacts, Space, Task, UserError, _ops, _sampling

__all__ = ["Constrained"]

PENALTY_WEIGHT = 20.0
"""Points of accuracy that an architecture at twice the bound loses: more than the accuracies of trained architectures differ by
on most tables, so that the best score keeps its bounds. Not ablated."""


class Bound(Protocol):
    """At most `bound` of a figure."""

    @property
    def label(self) -> str:
        """The figure's name."""
        ...

    @property
    def bound(self) -> float: ...

    @property
    def penalty_weight(self) -> float:
        """Points that the score loses at twice the bound; 0 where nothing beyond the bound is evaluated."""
        ...

    @property
    def digest(self) -> str:
        """Of all that its values depend on."""
        ...

    @property
    def facts(self) -> ConstraintFacts:
        """What a search may know of it beforehand."""
        ...

    def values(self, archs: Tensor, space: Space) -> Tensor:
        """The figure of `archs` `[..., D]`, float32 `[...]`."""
        ...


@dataclass(frozen=True)
class Constraint:
    """At most `bound` of a table's column."""

    table: Table
    column: str
    bound: float
    """In the column's unit."""
    penalty_weight: float = PENALTY_WEIGHT
    share: float | None = None
    """Of the space that keeps the bound, where it was given as a quantile."""

    @property
    def label(self) -> str:
        return self.column

    @property
    def digest(self) -> str:
        return network_counts.digest(self.table, self.column)

    @property
    def facts(self) -> ConstraintFacts:
        """The share of a bound in a unit is not among them: who searches would have to measure the whole space for it."""
        about = self.table.columns[self.column]
        return ConstraintFacts(about.metric, device_kinds.kind_of(about.task), self.share)

    def values(self, archs: Tensor, space: Space) -> Tensor:
        """The column of `archs` `[..., D]`, float32 `[...]`."""
        return network_counts.values(self.table, self.column, archs, space)


@dataclass(frozen=True)
class Constrained:
    """Another evaluator's scores, less the penalties. Reports and trainings are the other's."""

    inner: Evaluator
    task: Task
    constraints: tuple[Bound, ...]
    part: Space | None = None
    """What of the other's space keeps the constraints that are known beforehand; None: all of it."""
    _refused: list[int] = field(default_factory=list, repr=False, compare=False)
    """Tickets of what breaks a bound, and is not evaluated."""

    @property
    def space(self) -> Space:
        return self.inner.space if self.part is None else self.part

    @property
    def defaults(self) -> Defaults:
        return self.inner.defaults

    @property
    def description(self) -> str:
        bounds = ", ".join(map(_described, self.constraints))
        return f"{self.inner.description}; constraints: {bounds}"

    @property
    def data_digest(self) -> str | None:
        """Of the other's data and of the columns that are bounded."""
        inner = self.inner.data_digest if isinstance(self.inner, HasDataDigest) else ""
        own = [c.digest for c in self.constraints]
        return hashlib.sha256("".join([inner or "", *own]).encode()).hexdigest()[:16] if inner else None

    @property
    def training(self) -> TrainingEvaluator | None:
        return self.inner.training

    def load(self, seeds: Tensor) -> Evaluate:
        evaluate, penalise = self.inner.load(seeds), self._penalised
        return lambda proposal: penalise(evaluate, proposal)

    def completed(self, proposal: Proposal, results: Results, seeds: Tensor) -> Results:
        """Results of the other, less the penalties."""
        return self._penalised(lambda _: results, proposal)

    @cached_property
    def _penalised(self) -> Callable[[Evaluate, Proposal], Results]:
        penalties = self._penalties()

        def penalised(evaluate: Evaluate, proposal: Proposal) -> Results:
            if proposal.weights is not None:
                return self._less_expected(evaluate(proposal), proposal.weights)
            ratio, points = penalties(proposal.archs)
            results = self._evaluated(evaluate, proposal, ratio)
            return results._replace(score=results.score - points, constraint_ratio=ratio)

        return penalised

    def _less_expected(self, results: Results, weights_SBDC: Tensor) -> Results:
        """Results of mixtures, less the expected penalty, its derivative and the expected values over the bounds."""
        choices = self.space.choices
        if not (all(isinstance(c, Constraint) for c in self.constraints) and _sampling.is_listed(self.space)):
            raise UserError(
                f"The controller proposes mixtures, and '{self.constraints[0].label}' is known of whole architectures alone; "
                "take a controller that samples, as transfer_bo."
            )
        ratio_NL, points_N = self.penalties()
        flat = weights_SBDC.flatten(0, 1)
        points_M, slope_MDC = expectation(_known(points_N), flat, choices)
        ratio_ML = torch.stack([expectation(_known(ratio_N), flat, choices)[0] for ratio_N in ratio_NL.unbind(-1)], -1)
        shape = weights_SBDC.shape[:2]
        slope = None if results.slope is None else results.slope - slope_MDC.float().view(weights_SBDC.shape)
        return results._replace(
            score=results.score - points_M.float().view(shape),
            slope=slope,
            constraint_ratio=ratio_ML.float().view(*shape, -1),
        )

    def _penalties(self) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
        """From architectures `[..., D]` to value over bound `[..., L]` and the points that the score loses for it `[...]`."""
        weights = torch.tensor(self.task.constraints)
        if all(isinstance(c, Constraint) for c in self.constraints):
            # For the whole space at once: bounds are of tables, and then each evaluation is a look-up.
            ratio_NL, points_N = self.penalties()
            return lambda archs: tuple(x[_ops.index(archs, self.space.choices)] for x in (ratio_NL, points_N))  # pyright: ignore
        return lambda archs: ((ratio := self.ratio(archs)), penalty(ratio, weights))

    def _evaluated(self, evaluate: Evaluate, proposal: Proposal, ratio: Tensor) -> Results:
        """The other's results; NaN, at no cost, for what breaks a bound that has no penalty."""
        broken_SB = self._broken(ratio)
        if not broken_SB.any():
            return evaluate(proposal)
        if broken_SB.all():
            return Results(torch.full(broken_SB.shape, torch.nan), torch.zeros(broken_SB.shape))
        # One that keeps its bounds stands in for those that break them: it is evaluated anyway.
        s, b = (~broken_SB).nonzero()[0].tolist()
        archs = torch.where(broken_SB[..., None], proposal.archs[s, b], proposal.archs)
        epochs = proposal.epochs
        if epochs is not None:
            epochs = torch.where(broken_SB, epochs[s, b], epochs)
        results = evaluate(proposal._replace(archs=archs, epochs=epochs))
        return results._replace(
            score=results.score.masked_fill(broken_SB, torch.nan), cost=results.cost.masked_fill(broken_SB, 0.0)
        )

    def _broken(self, ratio: Tensor) -> Tensor:
        """What of `[..., L]` breaks a bound that has no penalty, bool `[...]`."""
        return (ratio > 1)[..., [c.penalty_weight == 0 for c in self.constraints]].any(-1)

    def ratio(self, archs: Tensor) -> Tensor:
        """Value over bound of `archs` `[..., D]`, float32 `[..., L]`."""
        return torch.stack([c.values(archs, self.space) / c.bound for c in self.constraints], -1).float()

    def penalties(self) -> tuple[Tensor, Tensor]:
        """Of all architectures by index: value over bound `[N, L]`, and the points that the score loses for it `[N]`."""
        ratio = self.ratio(_ops.enumerate_all(self.space.choices))
        return ratio, penalty(ratio, torch.tensor(self.task.constraints))

    def report(self, archs: Tensor) -> Tensor | None:
        return self.inner.report(archs)

    def cache_to(self, folder: Path) -> None:
        """The other's; nothing where it keeps nothing."""
        if isinstance(self.inner, KeepsFiles):
            self.inner.cache_to(folder)

    @property
    def concurrency(self) -> int:
        return self.inner.concurrency if isinstance(self.inner, Concurrent) else 1

    def submit(self, ticket: int, arch: Tensor, epochs: int | None, seed: int) -> None:
        if bool(self._broken(self.ratio(arch))):
            self._refused.append(ticket)
        else:
            self._concurrent.submit(ticket, arch, epochs, seed)

    def wait(self) -> tuple[int, float, float]:
        return (self._refused.pop(0), torch.nan, 0.0) if self._refused else self._concurrent.wait()

    def abandon(self) -> None:
        self._refused.clear()
        self._concurrent.abandon()

    @property
    def _concurrent(self) -> Concurrent:
        assert isinstance(self.inner, Concurrent)
        return self.inner


@dataclass(frozen=True)
class ConstrainedWithMemory(Constrained):
    """The same around an evaluator with a memory."""

    def begin(self, seeds: Tensor) -> Memory:
        return self._remembering.begin(seeds)

    def load_with_memory(self, seeds: Tensor) -> EvaluateWithMemory:
        evaluate, penalise = self._remembering.load_with_memory(seeds), self._penalised

        def penalised(proposal: Proposal, memory: Memory) -> tuple[Results, Memory]:
            held = [memory]

            def inner(asked: Proposal) -> Results:
                results, held[0] = evaluate(asked, memory)
                return results

            # What breaks its bounds, all of it, is not evaluated: the memory stays.
            return penalise(inner, proposal), held[0]

        return penalised

    @property
    def _remembering(self) -> HasMemory:
        assert isinstance(self.inner, HasMemory)
        return self.inner


def constrained(inner: Evaluator, task: Task, constraints: tuple[Bound, ...], part: Space | None = None) -> Constrained:
    """The class that has the other's memory, where it has one."""
    return (ConstrainedWithMemory if isinstance(inner, HasMemory) else Constrained)(inner, task, constraints, part)


def _known(values_N: Tensor) -> Tensor:
    """What was not measured has the highest value."""
    return values_N.where(~values_N.isnan(), values_N.nan_to_num(-torch.inf).max())


def _described(constraint: Bound) -> str:
    weight = f" ({constraint.penalty_weight:g} points)" if constraint.penalty_weight else ""
    return f"{constraint.label} <= {constraint.bound:g}{weight}"


def feasible(archs: Tensor, space: Space, constraints: tuple[Bound, ...]) -> Tensor:
    """Which of `archs` `[..., D]` keep every bound, bool `[...]`; all where there is none."""
    within = torch.ones(archs.shape[:-1], dtype=torch.bool)
    for constraint in constraints:
        within &= constraint.values(archs, space) <= constraint.bound
    return within
