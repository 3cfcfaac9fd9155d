"""Hyperband: brackets of successive halving, from many trained little to few trained fully (Li et al. 2018, JMLR 18:185)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from controller.candidates.rungs import Rung, RungSearch, bracket, ladder
from search_spaces import Task

__all__ = ["Hyperband"]


@dataclass(frozen=True)
class Hyperband(RungSearch):
    """Algorithm 1, repeated: brackets from many short trainings to few long ones, as it is not known how much short ones tell."""

    def rungs(self, task: Task) -> list[Rung]:
        """Bracket `s` begins with `ceil((s_max + 1) eta^s / (s + 1))` architectures at `R eta^-s` epochs (line 3).

        Where rungs lie wider apart than `eta`, their own ratio takes the place of `eta^s`.
        """
        epochs = ladder(task, self.epochs, self.eta)
        found = []
        for s in reversed(range(len(epochs))):
            of_bracket = epochs[len(epochs) - 1 - s :]
            times = of_bracket[-1] / max(of_bracket[0], 1)
            found += bracket(max(1, math.ceil(len(epochs) * times / (s + 1))), of_bracket)
        return found
