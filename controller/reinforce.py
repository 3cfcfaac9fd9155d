"""REINFORCE: raise the probability of what beats the moving average (Williams 1992; Zoph & Le 2017, arXiv:1611.01578).

Shapes: `S` seeds, `B` architectures, `D` decisions, `C` choices.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from controller import _baseline, _nets, _optim
from controller._base import Amount, Count, Decay, Positive, Prior, Proposal, Results
from search_spaces._base import Space, Task

__all__ = ["Reinforce"]


class State(NamedTuple):
    seeds: Tensor
    """int64 `[S]`."""
    step: Tensor
    """int64 `[S]` steps taken."""
    params: _optim.Params
    adam: _optim.Adam
    baseline: _baseline.Baseline


@dataclass(frozen=True)
class Reinforce:
    """Samples from a policy and follows the gradient of `-(score - average) log p(arch)` with Adam."""

    space: Space
    lr: Positive = 0.01
    momentum: Decay = 0.9
    """Of the average, as in NATS-Bench."""
    entropy: Amount = 0.0
    """Weight of the policy's entropy in the loss, in units of score."""
    policy_net: Literal["autoregressive", "independent"] = "autoregressive"
    """`independent` is NATS-Bench's."""
    hidden: Count = 8
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
        return State(seeds, torch.zeros_like(seeds), params, _optim.adam_begin(params), _baseline.begin(seeds))

    def propose(self, state: State, batch: int) -> Proposal:
        return Proposal(self.net.sample(state.params, state.seeds, state.step, batch))

    def learn(self, state: State, proposal: Proposal, results: Results) -> State:
        baseline, advantage_SB = _baseline.advantage(state.baseline, results.score, self.momentum)
        params = _optim.leaves(state.params)
        grads = _optim.grads(self.loss(params, proposal.archs, advantage_SB), params)
        moved, adam = _optim.adam(state.params, grads, state.adam, self.lr)
        return state._replace(params=moved, adam=adam, baseline=baseline, step=state.step + 1)

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
