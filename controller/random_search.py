"""Random search: uniform architectures, the floor under every claim (Li & Talwalkar 2019, arXiv:1902.07638)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from controller._base import Prior, Proposal, Results
from search_spaces import Space, Task, _sampling

__all__ = ["RandomSearch"]


class State(NamedTuple):
    seeds: Tensor
    """int64 `[S]`."""
    step: Tensor
    """int64 `[S]` steps taken."""


@dataclass(frozen=True)
class RandomSearch:
    """Draws with replacement, and learns nothing."""

    space: Space

    def begin(self, task: Task, seeds: Tensor, prior: Prior | None = None) -> State:
        return State(seeds, torch.zeros_like(seeds))

    def propose(self, state: State, batch: int) -> Proposal:
        return Proposal(_sampling.sample(self.space, state.seeds, state.step, batch))

    def learn(self, state: State, proposal: Proposal, results: Results) -> State:
        return state._replace(step=state.step + 1)
