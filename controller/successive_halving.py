"""Successive halving: train many a little, the best of them longer (Jamieson & Talwalkar 2016, arXiv:1502.07943, figure 1)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from controller import _halving
from controller._base import Prior, Proposal, Results
from search_spaces._base import Space, Task

__all__ = ["SuccessiveHalving"]

State = _halving.State


@dataclass(frozen=True)
class SuccessiveHalving:
    """One bracket after another, each from `entrants` random architectures to the few that train for all `epochs`."""

    space: Space
    epochs: int = 16
    """Those of the last rung."""
    eta: int = 4
    """One in `eta` goes on, to `eta` times the epochs."""
    entrants: int = 0
    """Architectures of the first rung; 0: as many as leave one for the last."""

    @cached_property
    def rungs(self) -> list[_halving.Rung]:
        halvings = _halving.brackets_below(self.epochs, self.eta)
        return _halving.bracket(self.entrants or self.eta**halvings, halvings, self.epochs, self.eta)

    def begin(self, task: Task, seeds: Tensor, prior: Prior | None = None) -> State:
        return _halving.begin(self.space, seeds, self.rungs)

    def propose(self, state: State, batch: int) -> Proposal:
        return _halving.propose(self.space, state, batch, self.rungs)

    def learn(self, state: State, proposal: Proposal, results: Results) -> State:
        return _halving.learn(state, proposal, results, self.rungs)
