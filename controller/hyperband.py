"""Hyperband: brackets of successive halving, from many trained little to few trained fully (Li et al. 2018, JMLR 18:185)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from controller._base import Prior, Proposal, Results
from controller.candidates import rungs
from search_spaces import Space, Task

__all__ = ["Hyperband"]

State = rungs.State


@dataclass(frozen=True)
class Hyperband:
    """Algorithm 1, over and over: no bet on how well few epochs tell what many will."""

    space: Space
    epochs: int = 0
    """Those of each bracket's last rung, the paper's R; 0: the task's own, and below them those that it can be evaluated at."""
    eta: int = 4
    """One in `eta` goes on, to `eta` times the epochs; or fewer to more, where the task knows none between."""

    def rungs(self, task: Task) -> list[rungs.Rung]:
        """Bracket `s` begins with `ceil((s_max + 1) eta^s / (s + 1))` architectures at `R eta^-s` epochs (line 3).

        Where rungs lie wider apart than `eta`, their own ratio takes the place of `eta^s`.
        """
        ladder = rungs.ladder(task, self.epochs, self.eta)
        found = []
        for s in reversed(range(len(ladder))):
            of_bracket = ladder[len(ladder) - 1 - s :]
            times = of_bracket[-1] / max(of_bracket[0], 1)
            found += rungs.bracket(max(1, math.ceil(len(ladder) * times / (s + 1))), of_bracket)
        return found

    def begin(self, task: Task, seeds: Tensor, prior: Prior | None = None) -> State:
        return rungs.begin(self.space, seeds, self.rungs(task))

    def propose(self, state: State, batch: int) -> Proposal:
        return rungs.propose(self.space, state, batch)

    def learn(self, state: State, proposal: Proposal, results: Results) -> State:
        return rungs.learn(state, proposal, results)
