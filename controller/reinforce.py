"""REINFORCE: raise the probability of what beats the moving average (Williams 1992; Zoph & Le 2017, arXiv:1611.01578).

Shapes: `S` seeds, `B` architectures, `M` samples, `E` evaluations so far, `D` decisions, `C` choices.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from controller._base import Prior, Proposal, Results
from controller._settings_types import Amount, Count, Decay, Positive
from controller.candidates.batch import DRAWS, first_new, with_evaluated
from controller.models import prior_file
from controller.policies import baseline, nets, optim
from search_spaces import Space, Task

__all__ = ["Reinforce"]


class State(NamedTuple):
    seeds: Tensor
    """int64 `[S]`."""
    step: Tensor
    """int64 `[S]` steps taken."""
    params: optim.Params
    adam: optim.Adam
    baseline: baseline.Baseline
    archs: Tensor | None = None
    """int64 `[S, E, D]` all evaluated, none of which comes again; None without a prior and in states of earlier versions."""


@dataclass(frozen=True)
class Reinforce:
    """Samples from a policy and follows the gradient of `-(score - average) log p(arch)` with Adam."""

    space: Space
    lr: Positive = 0.01
    baseline_decay: Decay = 0.9
    """Of the moving average of scores, as in NATS-Bench."""
    entropy: Amount = 0.0
    """Weight of the policy's entropy in the loss, in units of score."""
    policy_net: Literal["autoregressive", "independent"] = "autoregressive"
    """`independent` is NATS-Bench's."""
    hidden: Count = 8
    """Units of the autoregressive policy."""
    prior: str = "none"
    """A prior's file for searches that are begun without one; `maml` and `reptile` of `nas meta-train` make it."""

    @property
    def net(self) -> nets.Policy:
        if self.policy_net == "independent":
            return nets.Independent(self.space)
        return nets.Autoregressive(self.space, self.hidden)

    def _net(self, params: optim.Params) -> nets.Policy:
        """The policy of these parameters: a prior of logits makes it an independent one, whatever the setting."""
        return nets.Independent(self.space) if params.keys() == {"logits"} else self.net

    def init(self, seeds: Tensor) -> optim.Params:
        return self.net.init(seeds)

    def begin(self, task: Task, seeds: Tensor, prior: Prior | None = None) -> State:
        if prior is None and self.prior != "none":
            prior = prior_file.read(self.prior)
        if prior is not None:
            nets.check_start(self.net, prior)
        params = nets.begin(self.net, seeds, prior)
        # Without a prior it is the REINFORCE of NATS-Bench, which repeats itself.
        none_SED = None if prior is None else seeds.new_zeros(len(seeds), 0, len(self.space.choices))
        return State(seeds, torch.zeros_like(seeds), params, optim.adam_begin(params), baseline.begin(seeds), none_SED)

    def propose(self, state: State, batch: int) -> Proposal:
        net = self._net(state.params)
        if state.archs is None:
            return Proposal(net.sample(state.params, state.seeds, state.step, batch))
        sampled_SMD = net.sample(state.params, state.seeds, state.step, DRAWS * batch)
        return Proposal(first_new(self.space, sampled_SMD, state.archs, batch))

    def learn(self, state: State, proposal: Proposal, results: Results) -> State:
        after, advantage_SB = baseline.advantage(state.baseline, results.score, self.baseline_decay)
        params = optim.leaves(state.params)
        grads = optim.grads(self.loss(params, proposal.archs, advantage_SB), params)
        moved, adam = optim.adam(state.params, grads, state.adam, self.lr)
        archs = None if state.archs is None else with_evaluated(state.archs, proposal, results)
        return state._replace(params=moved, adam=adam, baseline=after, step=state.step + 1, archs=archs)

    def loss(self, params: optim.Params, archs: Tensor, advantage: Tensor) -> Tensor:
        """Minus the advantage times the log-probability, mean over `B`: `[S]`."""
        log_probs_SBDC = self._net(params).log_probs(params, archs)
        loss_SB = -advantage * nets.log_prob(log_probs_SBDC, archs)
        if self.entropy:
            loss_SB = loss_SB - self.entropy * nets.entropy(log_probs_SBDC)
        return loss_SB.mean(-1)

    def policy(self, state: State) -> Tensor:
        """Probabilities of each decision's choices `[S, D, C]`, along the likeliest architecture."""
        return nets.along_the_mode(self._net(state.params), state.params)
