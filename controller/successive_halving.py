"""Successive halving: train many a little, the best of them longer (Jamieson & Talwalkar 2016, arXiv:1502.07943, figure 1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from controller._settings_types import Range
from controller.candidates.rungs import Rung, RungSearch, bracket, ladder
from search_spaces import Task

__all__ = ["SuccessiveHalving"]


@dataclass(frozen=True)
class SuccessiveHalving(RungSearch):
    """One bracket after another, each from `entrants` random architectures to the few that train for all `epochs`."""

    entrants: Annotated[int, Range(0)] = 0
    """Architectures of the first rung; 0: as many as leave one for the last."""

    def rungs(self, task: Task) -> list[Rung]:
        """A single one, which is random search, where the task can be evaluated at one fidelity alone."""
        return bracket(self.entrants, ladder(task, self.epochs, self.eta))
