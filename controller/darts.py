"""DARTS: the softmax of the options as a mixture, its gradient of first order (Liu et al. 2019, arXiv:1806.09055)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from controller._base import Prior, Proposal, Results
from controller._settings_types import Amount, Count, NotNegative, Positive
from controller.policies import optim, relaxed
from search_spaces import Space, Task

__all__ = ["Darts"]


@dataclass(frozen=True)
class Darts:
    """Mixes all options by their softmax (equation 2) and follows the slope of the mixture's score (section 2.3, xi = 0)."""

    space: Space
    lr: Positive = 0.05
    """Of Adam. Searches here have hundreds of steps where the paper has thousands, and 3e-4."""
    steps: Count = 200
    """After so many, one architecture is selected."""
    warmup: NotNegative = 0
    """Steps that train shared weights alone."""
    beta_decay: Amount = 0.0
    """Weight of the smooth maximum of alpha at the last step; it rises linearly. The paper of beta-DARTS has 50."""
    temperature: Positive = 1.0
    """Of the softmax at the last step, from 1 along a line. Below 1 the mixture hardens before the architecture is selected: the
    soft pruning of MetaNAS (Elsken et al. 2020, arXiv:1911.11090)."""
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
        """Equation 2: every option by its softmax."""
        alpha = params["alpha"]
        if self.temperature != 1:
            alpha = alpha / relaxed.annealed(self, state, 1.0, self.temperature)[..., 0]
        return relaxed.softmax(self, alpha)[:, None].expand(-1, batch, -1, -1)

    def final(self, params: optim.Params) -> relaxed.Final:
        return relaxed.unscaled(params["alpha"] / self.temperature)

    def penalty(self, params: optim.Params) -> Tensor:
        return torch.zeros(len(params["alpha"]))
