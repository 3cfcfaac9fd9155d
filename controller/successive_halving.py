"""Successive halving: train many a little, the best of them longer (Jamieson & Talwalkar 2016, arXiv:1502.07943, figure 1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from torch import Tensor

from controller._base import Prior, Proposal, Results
from controller._settings_types import Range
from controller.candidates import rungs
from search_spaces import Space, Task

__all__ = ["SuccessiveHalving"]

State = rungs.State


@dataclass(frozen=True)
class SuccessiveHalving:
    """One bracket after another, each from `entrants` random architectures to the few that train for all `epochs`."""

    space: Space
    epochs: int = 0
    """Those of the last rung; 0: the task's own, and at the rungs below the epochs that it can be evaluated at."""
    eta: int = 4
    """One in `eta` goes on, to `eta` times the epochs; or fewer to more, where the task knows none between."""
    entrants: Annotated[int, Range(0)] = 0
    """Architectures of the first rung; 0: as many as leave one for the last."""

    def rungs(self, task: Task) -> list[rungs.Rung]:
        """A single one, which is random search, where the task can be evaluated at one fidelity alone."""
        return rungs.bracket(self.entrants, rungs.ladder(task, self.epochs, self.eta))

    def begin(self, task: Task, seeds: Tensor, prior: Prior | None = None) -> State:
        return rungs.begin(self.space, seeds, self.rungs(task))

    def propose(self, state: State, batch: int) -> Proposal:
        return rungs.propose(self.space, state, batch)

    def learn(self, state: State, proposal: Proposal, results: Results) -> State:
        return rungs.learn(state, proposal, results)
