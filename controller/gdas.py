"""GDAS: one path a step, drawn with Gumbel noise, its gradient that of a soft draw (Dong & Yang 2019, arXiv:1910.04465)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from controller._base import Prior, Proposal, Results
from controller._settings_types import Amount, Count, NotNegative, Positive
from controller.policies import optim, relaxed
from search_spaces import Space, Task

__all__ = ["Gdas"]


@dataclass(frozen=True)
class Gdas:
    """Draws one option a decision, so that an evaluator computes single paths; the gradient goes through the soft draw."""

    space: Space
    lr: Positive = 0.05
    """Of Adam. Searches here have hundreds of steps where the paper has thousands, and 3e-4."""
    steps: Count = 200
    """After so many, one architecture is selected."""
    warmup: NotNegative = 0
    """Steps that train shared weights alone."""
    beta_decay: Amount = 0.0
    """Weight of the smooth maximum of alpha at the last step; it rises linearly. The paper of beta-DARTS has 50."""
    tau_first: Positive = 10.0
    """Temperature of the soft draw at the first step."""
    tau_last: Positive = 0.1
    """At the last step; both as in the paper, section 4.2."""
    select: relaxed.Select = "argmax"
    """How the architecture is selected."""
    tune: NotNegative = 0
    """Steps of `perturbation` between two decisions that train shared weights on, while the evaluator trains any."""

    def begin(self, task: Task, seeds: Tensor, prior: Prior | None = None) -> relaxed.State:
        return relaxed.begin(self.space, seeds, prior)

    def propose(self, state: relaxed.State, batch: int) -> Proposal:
        return relaxed.propose(self, state, batch)

    def learn(self, state: relaxed.State, proposal: Proposal, results: Results) -> relaxed.State:
        return relaxed.learn(self, state, proposal, results)

    def selects_after(self, batch: int) -> int:
        return relaxed.selects_after(self, batch)

    def policy(self, state: relaxed.State) -> Tensor:
        """Probabilities of each decision's choices `[S, D, C]`."""
        return relaxed.probabilities(self, state)

    def logits(self, params: optim.Params) -> Tensor:
        return params["alpha"]

    def mix(self, params: optim.Params, state: relaxed.State, batch: int) -> Tensor:
        """Section 3.2: one-hot in value; in gradient h = softmax((log softmax alpha + o) / tau), with o Gumbel noise."""
        noisy = relaxed.log_softmax(self, params["alpha"])[:, None] + relaxed.gumbel(self.space, state, batch)
        soft = relaxed.softmax(self, noisy / relaxed.annealed(self, state, self.tau_first, self.tau_last))
        hard = relaxed.one_hot(noisy.detach().argmax(-1), self.space)
        # (soft - soft) first: what is left of it is exactly 0, and hard stays exactly one-hot.
        return hard + (soft - soft.detach())

    def final(self, params: optim.Params) -> relaxed.Final:
        return relaxed.unscaled(self.logits(params))

    def penalty(self, params: optim.Params) -> Tensor:
        return torch.zeros(len(params["alpha"]))
