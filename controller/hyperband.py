"""Hyperband: brackets of successive halving, from many trained little to few trained fully (Li et al. 2018, JMLR 18:185)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from controller import _halving
from controller._base import Prior, Proposal, Results
from search_spaces._base import Space, Task

__all__ = ["Hyperband"]

State = _halving.State


@dataclass(frozen=True)
class Hyperband:
    """Algorithm 1, over and over: no bet on how well few epochs tell what many will."""

    space: Space
    epochs: int = 16
    """Those of each bracket's last rung: the paper's R."""
    eta: int = 4
    """One in `eta` goes on, to `eta` times the epochs."""

    @cached_property
    def rungs(self) -> list[_halving.Rung]:
        """Bracket `s` begins with `ceil((s_max + 1) eta^s / (s + 1))` architectures at `R eta^-s` epochs (line 3)."""
        most = _halving.brackets_below(self.epochs, self.eta)
        entrants = [-(-(most + 1) * self.eta**s // (s + 1)) for s in range(most + 1)]
        brackets = [_halving.bracket(entrants[s], s, self.epochs, self.eta) for s in reversed(range(most + 1))]
        return [rung for bracket in brackets for rung in bracket]

    def begin(self, task: Task, seeds: Tensor, prior: Prior | None = None) -> State:
        return _halving.begin(self.space, seeds, self.rungs)

    def propose(self, state: State, batch: int) -> Proposal:
        return _halving.propose(self.space, state, batch, self.rungs)

    def learn(self, state: State, proposal: Proposal, results: Results) -> State:
        return _halving.learn(state, proposal, results, self.rungs)
