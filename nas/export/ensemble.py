"""Several networks as one: its logits are the mean of theirs.

Members have their own cells and weights; all take the same images. Their weights are in one state dict, under `members.0.`
and on.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from search_spaces import Space

_PREFIX = "members."


class Ensemble(nn.Module):
    """The mean of the logits of `members` (Krizhevsky et al. 2012, section 6, average the predictions of several networks)."""

    def __init__(self, members: Sequence[nn.Module]):
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([member(x) for member in self.members]).mean(0)


def joined(state_dicts: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The weights of an ensemble of networks with these."""
    return {f"{_PREFIX}{n}.{name}": tensor for n, state in enumerate(state_dicts) for name, tensor in state.items()}


def describe(space: Space, arch: Tensor) -> str:
    """One architecture `[D]` as its space describes it, or those of an ensemble `[M, D]` with a plus between them."""
    return space.describe(arch) if arch.dim() == 1 else " + ".join(map(space.describe, arch))
