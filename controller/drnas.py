"""DrNAS: mixtures drawn from a Dirichlet distribution, whose concentration is learned (Chen et al. 2021, arXiv:2006.10355)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from controller._base import Prior, Proposal, Results
from controller._settings_types import Amount, Count, NotNegative, Positive
from controller.policies import dirichlet, optim, relaxed
from search_spaces import Space, Task, _noise, _products, _sampling

__all__ = ["Drnas"]

_STREAM = 2
"""Of random numbers, apart from those that draw architectures."""
_TINY = 1e-30
"""Under a root, so that its derivative is finite at 0."""
_LEAST = -80.0
"""Of alpha: the exponential of less underflows in float32, and 0 is no concentration."""


@dataclass(frozen=True)
class Drnas:
    """Draws mixtures from Dirichlet distributions and follows the pathwise gradient of their concentrations."""

    space: Space
    lr: Positive = 0.05
    """Of Adam. Searches here have hundreds of steps where the paper has thousands, and 3e-4."""
    steps: Count = 200
    """After so many, one architecture is selected."""
    warmup: NotNegative = 0
    """Steps that train shared weights alone."""
    beta_decay: Amount = 0.0
    """Weight of the smooth maximum of alpha at the last step; it rises linearly. The paper of beta-DARTS has 50."""
    anchor: Amount = 1e-3
    """Weight of the distance from the uniform distribution, as in the paper's code."""
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
        return self._concentration(params).log()

    def mix(self, params: optim.Params, state: relaxed.State, batch: int) -> Tensor:
        """theta ~ Dir(beta) with beta = elu(alpha) + 1; the gradient goes through the draw."""
        beta_SBDC = self._concentration(params)[:, None].expand(-1, batch, -1, -1)
        uniform = _noise.uniform(state.seeds, state.step, *beta_SBDC.shape[1:], stream=_STREAM)
        own = ~_sampling.padding_mask(self.space.choices)
        return dirichlet.draw(beta_SBDC, uniform, own)

    def final(self, params: optim.Params) -> relaxed.Final:
        return relaxed.unscaled(self.logits(params))

    def penalty(self, params: optim.Params) -> Tensor:
        """lambda |beta - 1|: the distance from 1, where every mixture is equally likely."""
        off_SDC = (self._concentration(params) - 1).masked_fill(_sampling.padding_mask(self.space.choices), 0.0)
        return self.anchor * (_products.total((off_SDC**2).flatten(1), 1).squeeze(1) + _TINY).sqrt()

    def _concentration(self, params: optim.Params) -> Tensor:
        """elu(alpha) + 1; PyTorch's own rounds by the place in the tensor, so by the other seeds."""
        alpha = params["alpha"]
        return torch.where(alpha > 0, alpha + 1, alpha.clamp(_LEAST, 0).exp())
