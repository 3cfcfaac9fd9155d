"""Portfolio: what was best elsewhere, by mean normalised rank over source tasks; the least that transfer must beat."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from controller import _order
from controller._base import Prior, Proposal, Results
from search_spaces._base import Space, Task

__all__ = ["Portfolio"]


@dataclass(frozen=True)
class Portfolio:
    """Follows its prior to the letter and learns nothing. Without a prior: random search that never repeats itself."""

    space: Space

    prior_from = "sources"

    def begin(self, task: Task, seeds: Tensor, prior: Prior | None = None) -> _order.State:
        return _order.begin(self.space, seeds, prior)

    def propose(self, state: _order.State, batch: int) -> Proposal:
        return _order.propose(self.space, state, batch)

    def learn(self, state: _order.State, proposal: Proposal, results: Results) -> _order.State:
        return _order.learn(state, proposal)
