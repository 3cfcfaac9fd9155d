"""REINFORCE: raise the probability of what beats the moving average (Williams 1992; Zoph & Le 2017, arXiv:1611.01578).

Shapes: `S` seeds, `B` architectures, `D` decisions, `C` choices.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from controller import _nets, _optim
from controller._base import Prior, Proposal, Results
from search_spaces._base import Space, Task

__all__ = ["Reinforce"]


class State(NamedTuple):
    seeds: Tensor
    """int64 `[S]`."""
    step: Tensor
    """int64 `[S]` steps taken."""
    params: _optim.Params
    adam: _optim.Adam
    baseline: Tensor
    """float32 `[S]` decayed sum of scores."""
    weight: Tensor
    """float32 `[S]` decayed count of scores; the moving average is `baseline / weight`."""


@dataclass(frozen=True)
class Reinforce:
    """Samples from a policy and follows the gradient of `-(score - average) log p(arch)` with Adam."""

    space: Space
    lr: float = 0.01
    momentum: float = 0.9
    """Of the average, as in NATS-Bench."""
    entropy: float = 0.0
    """Weight of the policy's entropy in the loss, in units of score."""
    policy_net: Literal["autoregressive", "independent"] = "autoregressive"
    """`independent` is NATS-Bench's."""
    hidden: int = 16
    """Units of the autoregressive policy."""

    @property
    def net(self) -> _nets.Policy:
        if self.policy_net == "independent":
            return _nets.Independent(self.space)
        return _nets.Autoregressive(self.space, self.hidden)

    def init(self, seeds: Tensor) -> _optim.Params:
        return self.net.init(seeds)

    def begin(self, task: Task, seeds: Tensor, prior: Prior | None = None) -> State:
        params = _nets.begin(self.net, seeds, prior)
        zero_S = torch.zeros(len(seeds))
        return State(seeds, torch.zeros_like(seeds), params, _optim.adam_begin(params), zero_S, zero_S)

    def propose(self, state: State, batch: int) -> Proposal:
        return Proposal(self.net.sample(state.params, state.seeds, state.step, batch))

    def learn(self, state: State, proposal: Proposal, results: Results) -> State:
        state, advantage_SB = self._advantage(state, results.score)
        params = _optim.leaves(state.params)
        grads = _optim.grads(self.loss(params, proposal.archs, advantage_SB), params)
        moved, adam = _optim.adam(state.params, grads, state.adam, self.lr)
        return state._replace(params=moved, adam=adam, step=state.step + 1)

    def loss(self, params: _optim.Params, archs: Tensor, advantage: Tensor) -> Tensor:
        """Minus the advantage times the log-probability, mean over `B`: `[S]`."""
        log_probs_SBDC = self.net.log_probs(params, archs)
        loss_SB = -advantage * _nets.log_prob(log_probs_SBDC, archs)
        if self.entropy:
            loss_SB = loss_SB - self.entropy * _nets.entropy(log_probs_SBDC)
        return loss_SB.mean(-1)

    def policy(self, state: State) -> Tensor:
        """Probabilities of each decision's choices `[S, D, C]`, along the likeliest architecture."""
        return _nets.along_the_mode(self.net, state.params)

    def _advantage(self, state: State, score_SB: Tensor) -> tuple[State, Tensor]:
        """Score minus its moving average, this batch's included; 0 for a failed evaluation."""
        ok_SB = ~score_SB.isnan()
        share_S = ok_SB.float().mean(-1)
        mean_S = torch.where(ok_SB, score_SB, 0.0).sum(-1) / ok_SB.sum(-1).clamp(min=1)
        keep_S = torch.where(share_S > 0, self.momentum, 1.0)
        baseline_S = keep_S * state.baseline + (1 - keep_S) * mean_S
        weight_S = keep_S * state.weight + (1 - keep_S)
        average_S = baseline_S / weight_S.clamp(min=1e-9)
        advantage_SB = torch.where(ok_SB, score_SB - average_S[:, None], 0.0)
        return state._replace(baseline=baseline_S, weight=weight_S), advantage_SB
