"""A transformer policy that was meta-trained over whole searches (RL^2, Duan et al. 2016, arXiv:1611.02779).

It attends to what was evaluated and samples architectures decision by decision; nothing is fitted to the task at hand. Where
its samples no longer improve, Bayesian optimization without a prior (`transfer_bo`) takes over, with all that was evaluated.

Shapes: `S` seeds, `B` architectures, `E` evaluations so far, `D` decisions.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, NamedTuple

import torch
from torch import Tensor

from controller._base import Prior, Proposal, Results
from controller._settings_types import Range
from controller.candidates import exploration, named
from controller.models import prior_file, transfer_model
from controller.policies import attention
from search_spaces import Space, Task, UserError, _sampling

__all__ = ["AttentionPolicy"]

_POLICY = 1
"""Stream of random numbers."""
_COLD = "transfer_bo"
"""The search without a prior."""
_DROPPED = 3
"""Times `patience`, evaluations of the policy without a better one after which it is dropped. Not ablated."""


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
    idle: Tensor
    """int64 `[S]` evaluations of the policy since one of them was the best so far."""
    cold: Tensor
    """int64 `[S]` evaluations without it since then."""
    without: Any
    """The state of a search without a prior that has evaluated the same."""


@dataclass(frozen=True)
class AttentionPolicy:
    """Samples of a transformer policy that was meta-trained by reinforcement over whole searches; random without a prior."""

    space: Space
    prior: str = "none"
    """A prior's file for searches that are begun without one."""
    patience: Annotated[int, Range(0)] = 5
    """After so many evaluations of the policy without a better one, every other evaluation does without it; after three times as
    many, all do. Once the policy finds a better one it is alone again. 0 keeps to it."""

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
        zero_S = torch.zeros_like(seeds)
        return State(
            seeds,
            zero_S,
            prior_S,
            seeds.new_zeros(S, 0, D),
            none_SE,
            none_SE,
            zero_S,
            zero_S.clone(),
            self._cold.begin(task, seeds.clone()),
        )

    def propose(self, state: State, batch: int) -> Proposal:
        model = transfer_model.find(self.space, state.prior)
        if model.prior is None:
            return Proposal(_sampling.sample(self.space, state.seeds, state.step, batch, stream=_POLICY))
        archs_SBD = state.archs.new_zeros(len(state.seeds), batch, state.archs.shape[-1])
        turn_S = self._policy_turn(state)
        for of_policy in (True, False):
            at_R = (turn_S == of_policy).nonzero().squeeze(-1)
            if len(at_R):
                if of_policy:
                    some = state._replace(
                        **{name: getattr(state, name)[at_R] for name in ("seeds", "archs", "score", "cost")}
                    )
                    archs_SBD[at_R] = attention.sample(model, some, batch, state.archs.shape[1], _POLICY)
                else:
                    archs_SBD[at_R] = self._cold.propose(_rows(state.without, at_R), batch).archs
        return Proposal(archs_SBD, arm=turn_S[:, None].repeat(1, batch).long())

    def _policy_turn(self, state: State) -> Tensor:
        """Whether the policy proposes next, bool `[S]`."""
        taking_turns_S = (state.idle < _DROPPED * self.patience) & (state.idle - self.patience < state.cold)
        return (state.idle < self.patience) | taking_turns_S if self.patience else torch.ones_like(state.idle == 0)

    @property
    def _cold(self) -> Any:
        return named.controller(self.space, _COLD)

    def learn(self, state: State, proposal: Proposal, results: Results) -> State:
        archs, score = torch.cat([state.archs, proposal.archs], 1), torch.cat([state.score, results.score], 1)
        cost = torch.cat([state.cost, results.cost], 1)
        batch = results.score.shape[1]
        # The policy's turn may be over before its evaluations end.
        own_SB = self._policy_turn(state)[:, None].repeat(1, batch) if proposal.arm is None else proposal.arm == 1
        improves_S = own_SB.any(1) & ~exploration.no_improvement(score, batch)
        idle = torch.where(improves_S, 0, state.idle + own_SB.sum(1))
        cold = torch.where(improves_S, 0, state.cold + (~own_SB).sum(1))
        without = self._cold.learn(state.without, proposal, results)
        return State(state.seeds, state.step + 1, state.prior, archs, score, cost, idle, cold, without)

    def prior_weight(self, state: State) -> Tensor:
        """The share of the next evaluations that the policy gets, `[S]`: 1, a half, or 0 if dropped or without a prior."""
        share_S = torch.ones_like(state.idle, dtype=torch.float64)
        if self.patience:
            share_S[state.idle >= self.patience] = 0.5
            share_S[state.idle >= _DROPPED * self.patience] = 0.0
        return share_S * (state.prior != transfer_model.NO_PRIOR)


def _rows(state: Any, at: Tensor) -> Any:
    """The state of some of the searches."""
    return type(state)(*(leaf[at] for leaf in state))


@lru_cache(maxsize=4)
def _read(path: str) -> Prior:
    return prior_file.read(path)
