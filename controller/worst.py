"""Worst: the worst architecture first. No search but a bound, for figures: its prior is the task's own search column."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from controller._base import Prior, Proposal, Results
from controller.candidates import fixed_order
from search_spaces import Space, Task

__all__ = ["Worst"]


@dataclass(frozen=True)
class Worst:
    """Tries the task's architectures from the worst up. Without a prior it knows nothing: a random order."""

    space: Space

    ranking_source = "task"

    def begin(self, task: Task, seeds: Tensor, prior: Prior | None = None) -> fixed_order.State:
        return fixed_order.begin(self.space, seeds, prior, worst_first=True)

    def propose(self, state: fixed_order.State, batch: int) -> Proposal:
        return fixed_order.propose(self.space, state, batch)

    def learn(self, state: fixed_order.State, proposal: Proposal, results: Results) -> fixed_order.State:
        return fixed_order.learn(state, proposal)
