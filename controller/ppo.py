"""PPO: several clipped policy-gradient steps on each small batch of evaluations (Schulman et al. 2017, arXiv:1707.06347, eq. 7).

Shapes: `S` seeds, `B` architectures, `D` decisions, `C` choices, `W` evaluations an update.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from controller._base import Prior, Proposal, Results
from controller._settings_types import Amount, Count, Decay, Positive
from controller.policies import baseline, nets, optim
from controller.policies.losses import clipped_gain
from search_spaces import Space, Task

__all__ = ["Ppo"]


class State(NamedTuple):
    seeds: Tensor
    """int64 `[S]`."""
    step: Tensor
    """int64 `[S]` steps taken."""
    params: optim.Params
    adam: optim.Adam
    baseline: baseline.Baseline
    seen: Tensor
    """int64 `[S]` evaluations; the next takes place `seen` modulo `W` of the window."""
    archs: Tensor
    """int64 `[S, W, D]` the latest."""
    log_prob: Tensor
    """float32 `[S, W]` under the policy that proposed them."""
    advantage: Tensor
    """float32 `[S, W]` score minus moving average; 0 for a failed evaluation."""


@dataclass(frozen=True)
class Ppo:
    """Collects a window of evaluations, then takes `epochs` steps on it."""

    space: Space
    lr: Positive = 0.01
    update_every: Count = 8
    """Evaluations between two updates, which learn from all of them."""
    epochs: Count = 4
    clip: Positive = 0.2
    entropy: Amount = 0.01
    """Weight of the policy's entropy; advantages have standard deviation 1."""
    baseline_decay: Decay = 0.9
    hidden: Count = 8

    @property
    def net(self) -> nets.Autoregressive:
        return nets.Autoregressive(self.space, self.hidden)

    def init(self, seeds: Tensor) -> optim.Params:
        return self.net.init(seeds)

    def begin(self, task: Task, seeds: Tensor, prior: Prior | None = None) -> State:
        params = nets.begin(self.net, seeds, prior)
        zero_S = torch.zeros_like(seeds)
        archs_SWD = seeds.new_zeros(len(seeds), self.update_every, len(self.space.choices))
        blank_SW = torch.zeros(archs_SWD.shape[:2])
        return State(
            seeds,
            zero_S,
            params,
            optim.adam_begin(params),
            baseline.begin(seeds),
            zero_S,
            archs_SWD,
            blank_SW,
            blank_SW,
        )

    def propose(self, state: State, batch: int) -> Proposal:
        return Proposal(self.net.sample(state.params, state.seeds, state.step, batch))

    def learn(self, state: State, proposal: Proposal, results: Results) -> State:
        after, advantage_SB = baseline.advantage(state.baseline, results.score, self.baseline_decay)
        with torch.no_grad():
            log_prob_SB = nets.log_prob(self.net.log_probs(state.params, proposal.archs), proposal.archs)
        state = state._replace(step=state.step + 1, baseline=after)
        # One by one: a batch may fill the window more than once, and each update learns from all that came since the last.
        for arch_SD, log_prob_S, advantage_S in zip(
            *(x.unbind(1) for x in (proposal.archs, log_prob_SB, advantage_SB))
        ):
            place_S1 = state.seen[:, None] % self.update_every
            state = state._replace(
                seen=state.seen + 1,
                archs=state.archs.scatter(1, place_S1[..., None].expand(-1, -1, arch_SD.shape[1]), arch_SD[:, None]),
                log_prob=state.log_prob.scatter(1, place_S1, log_prob_S[:, None]),
                advantage=state.advantage.scatter(1, place_S1, advantage_S[:, None]),
            )
            full_S = state.seen % self.update_every == 0
            state = self._update(state, full_S) if bool(full_S.any()) else state
        return state

    def loss(self, params: optim.Params, archs: Tensor, advantage: Tensor) -> Tensor:
        """Minus the advantage times the log-probability, mean over `B`: `[S]`; what PPO's loss is at its first step."""
        return -(advantage * nets.log_prob(self.net.log_probs(params, archs), archs)).mean(-1)

    def policy(self, state: State) -> Tensor:
        """Probabilities of each decision's choices `[S, D, C]`, along the likeliest architecture."""
        return nets.along_the_mode(self.net, state.params)

    def _update(self, state: State, full_S: Tensor) -> State:
        """`epochs` steps on the window, for the seeds whose window is full."""
        spread_S1 = state.advantage.square().mean(-1, keepdim=True).sqrt()
        advantage_SW = state.advantage / (spread_S1 + 1e-8)
        params, adam = state.params, state.adam
        for _ in range(self.epochs):
            leaves = optim.leaves(params)
            grads = optim.grads(self._clipped(leaves, state, advantage_SW), leaves)
            params, adam = optim.adam(params, grads, adam, self.lr)
        return state._replace(
            params=optim.where(full_S, params, state.params), adam=optim.adam_where(full_S, adam, state.adam)
        )

    def _clipped(self, params: optim.Params, state: State, advantage_SW: Tensor) -> Tensor:
        log_probs_SWDC = self.net.log_probs(params, state.archs)
        log_prob_SW = nets.log_prob(log_probs_SWDC, state.archs)
        gain_SW = clipped_gain(log_prob_SW, state.log_prob, advantage_SW, self.clip)
        return -(gain_SW + self.entropy * nets.entropy(log_probs_SWDC)).mean(-1)
