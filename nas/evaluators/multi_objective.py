"""Several objectives in one search: another evaluator's score, and beside it figures of the same architectures.

Shapes: `S` searches, `B` architectures, `D` decisions, `A` objectives.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from controller import Proposal, Results
from nas.types import (
    CompletesResults,
    Concurrent,
    Defaults,
    Evaluate,
    Evaluator,
    HasDataDigest,
    KeepsFiles,
    TrainingEvaluator,
)
from search_spaces import Space, Task

__all__ = ["MultiObjective"]


class Aim(Protocol):
    """One of the objectives."""

    @property
    def name(self) -> str: ...

    @property
    def maximize(self) -> bool: ...

    @property
    def unit(self) -> str | None:
        """Of its values; None where it has none, or none is known."""
        ...

    @property
    def digest(self) -> str:
        """Of all that its values depend on, besides what the scores do."""
        ...

    def values(self, proposal: Proposal, results: Results, seeds: Tensor) -> Tensor:
        """Of each architecture that was evaluated, as people read them, `[S, B]`; NaN where there is none."""
        ...


@dataclass(frozen=True)
class MultiObjective:
    """Another evaluator's results with `Results.objectives`; reports and trainings are the other's.

    An evaluation that lacks one of the objectives has failed: its score is NaN.
    """

    inner: Evaluator
    task: Task
    aims: tuple[Aim, ...]

    @property
    def space(self) -> Space:
        return self.inner.space

    @property
    def defaults(self) -> Defaults:
        return self.inner.defaults

    @property
    def training(self) -> TrainingEvaluator | None:
        return self.inner.training

    @property
    def description(self) -> str:
        named = ", ".join(f"{'highest' if aim.maximize else 'lowest'} {aim.name}" for aim in self.aims)
        return f"{self.inner.description}; objectives: {named}"

    @property
    def data_digest(self) -> str | None:
        """Of the other's data and of the columns that are objectives."""
        inner = self.inner.data_digest if isinstance(self.inner, HasDataDigest) else None
        texts = [inner or "", *(aim.digest for aim in self.aims)]
        return None if inner is None else hashlib.sha256("".join(texts).encode()).hexdigest()[:16]

    def load(self, seeds: Tensor) -> Evaluate:
        evaluate = self.inner.load(seeds)
        return lambda proposal: self.with_objectives(proposal, evaluate(proposal), seeds)

    def completed(self, proposal: Proposal, results: Results, seeds: Tensor) -> Results:
        """Results of the innermost evaluator, with what those between add, and the objectives."""
        if isinstance(self.inner, CompletesResults):
            results = self.inner.completed(proposal, results, seeds)
        return self.with_objectives(proposal, results, seeds)

    def with_objectives(self, proposal: Proposal, results: Results, seeds: Tensor) -> Results:
        """Results of the other evaluator, with the objectives."""
        signed = [(1 if aim.maximize else -1) * aim.values(proposal, results, seeds) for aim in self.aims]
        objectives = torch.stack(signed, -1).float()
        failed = (results.score.isnan() | ~objectives.isfinite().all(-1))[..., None]
        objectives = objectives.masked_fill(failed, torch.nan)
        return results._replace(score=results.score.masked_fill(failed[..., 0], torch.nan), objectives=objectives)

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
        self._concurrent.submit(ticket, arch, epochs, seed)

    def wait(self) -> tuple[int, float, float]:
        return self._concurrent.wait()

    def abandon(self) -> None:
        self._concurrent.abandon()

    @property
    def _concurrent(self) -> Concurrent:
        assert isinstance(self.inner, Concurrent)
        return self.inner
