"""A transformer policy that was meta-trained over whole searches (RL^2, Duan et al. 2016, arXiv:1611.02779).

It attends to what was evaluated and samples architectures decision by decision; nothing is fitted to the task at hand.

Shapes: `S` seeds, `B` architectures, `E` evaluations so far, `D` decisions.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from controller._base import Prior, Proposal, Results
from controller.models import prior_file, transfer_model
from controller.policies import attention
from search_spaces import Space, Task, UserError, _sampling

__all__ = ["AttentionPolicy"]

_POLICY = 1
"""Stream of random numbers."""


class State(NamedTuple):
    seeds: Tensor
    """int64 `[S]`."""
    step: Tensor
    """int64 `[S]` steps taken."""
    prior: Tensor
    """int64 `[S]` the fingerprint of the prior and the task's features; 0 without a prior."""
    archs: Tensor
    """int64 `[S, E, D]` all evaluated."""
    score: Tensor
    """float32 `[S, E]`; NaN where evaluation failed."""
    cost: Tensor
    """float32 `[S, E]` seconds."""


@dataclass(frozen=True)
class AttentionPolicy:
    """Samples of a transformer policy that was meta-trained by reinforcement over whole searches; random without a prior."""

    space: Space
    prior: str = "none"
    """A prior's file for searches that are begun without one."""

    def begin(self, task: Task, seeds: Tensor, prior: Prior | None = None) -> State:
        if prior is None and self.prior != "none":
            prior = _read(self.prior)
        model = transfer_model.make(self.space, prior, task)
        if model.prior is not None and model.prior.network is None:
            raise UserError(
                "The prior has no policy; attention_policy takes one that `nas meta-train` trained a policy for."
            )
        S, D = len(seeds), len(self.space.choices)
        prior_S, none_SE = torch.full_like(seeds, model.fingerprint), torch.zeros(S, 0)
        return State(seeds, torch.zeros_like(seeds), prior_S, seeds.new_zeros(S, 0, D), none_SE, none_SE)

    def propose(self, state: State, batch: int) -> Proposal:
        model = transfer_model.find(self.space, state.prior)
        if model.prior is None:
            return Proposal(_sampling.sample(self.space, state.seeds, state.step, batch, stream=_POLICY))
        return Proposal(attention.sample(model, state, batch, state.archs.shape[1], _POLICY))

    def learn(self, state: State, proposal: Proposal, results: Results) -> State:
        return state._replace(
            step=state.step + 1,
            archs=torch.cat([state.archs, proposal.archs], 1),
            score=torch.cat([state.score, results.score], 1),
            cost=torch.cat([state.cost, results.cost], 1),
        )


@lru_cache(maxsize=4)
def _read(path: str) -> Prior:
    return prior_file.read(path)
