"""Portfolio: what was best elsewhere, by mean normalised rank over source tasks; the least that transfer must beat."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from controller._base import Prior, Proposal, Results
from controller.candidates import fixed_order
from search_spaces import Space, Task

__all__ = ["Portfolio"]


@dataclass(frozen=True)
class Portfolio:
    """Follows its prior to the letter and learns nothing. Without a prior: random search that never repeats itself."""

    space: Space

    ranking_source = "sources"

    def begin(self, task: Task, seeds: Tensor, prior: Prior | None = None) -> fixed_order.State:
        return fixed_order.begin(self.space, seeds, prior)

    def propose(self, state: fixed_order.State, batch: int) -> Proposal:
        return fixed_order.propose(self.space, state, batch)

    def learn(self, state: fixed_order.State, proposal: Proposal, results: Results) -> fixed_order.State:
        return fixed_order.learn(state, proposal)
