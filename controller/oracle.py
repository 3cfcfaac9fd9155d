"""Oracle: the best architecture first. No search but a bound, for figures: its prior is the task's own search column."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from controller import _order
from controller._base import Prior, Proposal, Results
from search_spaces._base import Space, Task

__all__ = ["Oracle"]


@dataclass(frozen=True)
class Oracle:
    """Tries the task's architectures from the best down. Without a prior it knows nothing: a random order."""

    space: Space

    prior_from = "task"

    def begin(self, task: Task, seeds: Tensor, prior: Prior | None = None) -> _order.State:
        return _order.begin(self.space, seeds, prior)

    def propose(self, state: _order.State, batch: int) -> Proposal:
        return _order.propose(self.space, state, batch)

    def learn(self, state: _order.State, proposal: Proposal, results: Results) -> _order.State:
        return _order.learn(state, proposal)
