"""PC-DARTS: DARTS with normalized edges and a warm-up (Xu et al. 2020, arXiv:1907.05737).

The other half of the paper, mixing a part of the channels alone, is the evaluator's affair: `partial_channels` of `supernet`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from controller._base import Prior, Proposal, Results
from controller._settings_types import Amount, Count, NotNegative, Positive
from controller.policies import optim, relaxed
from search_spaces import Space, Task, as_cell_space

__all__ = ["PcDarts"]


@dataclass(frozen=True)
class PcDarts:
    """Mixes options by their softmax, times a softmax over the edges that lead into a node."""

    space: Space
    lr: Positive = 0.05
    """Of Adam. Searches here have hundreds of steps where the paper has thousands, and 3e-4."""
    steps: Count = 200
    """After so many, one architecture is selected."""
    warmup: NotNegative = 60
    """Steps that train shared weights alone: 15 of the paper's 50 epochs."""
    beta_decay: Amount = 0.0
    """Weight of the smooth maximum of alpha at the last step; it rises linearly. The paper of beta-DARTS has 50."""
    select: relaxed.Select = "argmax"
    """How the architecture is selected."""
    tune: NotNegative = 0
    """Steps of `perturbation` between two decisions that train shared weights on, while the evaluator trains any."""

    def begin(self, task: Task, seeds: Tensor, prior: Prior | None = None) -> relaxed.State:
        return relaxed.begin(self.space, seeds, prior, edge=torch.zeros(len(seeds), len(self.space.choices)))

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
        """Edge normalization: an edge's softmax among those into its node, times equation 2 of DARTS."""
        own = relaxed.softmax(self, params["alpha"]) * self._edges(params["edge"])[..., None]
        return own[:, None].expand(-1, batch, -1, -1)

    def final(self, params: optim.Params) -> relaxed.Final:
        return relaxed.Final(params["alpha"], self._edges(params["edge"]))

    def penalty(self, params: optim.Params) -> Tensor:
        return 0.0 * params["edge"].sum(1)  # Where scores have no slope, no edge has a gradient otherwise.

    def _edges(self, edge_SD: Tensor) -> Tensor:
        """The softmax over the edges into each node, `[S, D]`; 1 in a space without cells."""
        cells = as_cell_space(self.space)
        if cells is None:
            return torch.ones_like(edge_SD)
        node_D = torch.tensor([node for _, node in cells.edges])
        other_DD = node_D[:, None] != node_D
        return edge_SD[:, None].masked_fill(other_DD, -torch.inf).log_softmax(-1).diagonal(dim1=1, dim2=2).exp()
