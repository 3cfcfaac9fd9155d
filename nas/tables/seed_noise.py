"""How noisy a table's metrics are: how far its training seeds agree with each other."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Noise(NamedTuple):
    """Of the architectures measured with several seeds."""

    archs: int
    deviation: float
    """Root mean square over architectures of the standard deviation over seeds, in the column's unit."""
    ceiling: float
    """Mean Spearman correlation between two seeds: no predictor can be expected to exceed it on another seed."""


def noise(values: Tensor) -> Noise | None:
    """The noise of a column `[N, seeds]`; None where no two seeds were measured together."""
    if values.dim() == 1 or values.shape[1] < 2:
        return None
    # Complete rows only: the same architectures for every pair of seeds.
    several = values[(~values.isnan()).all(1)].double()
    # A rank correlation of two architectures is 1 or -1 and says nothing.
    if len(several) < 3:
        return None
    ranks = torch.stack([_ranks(column) for column in several.T])
    correlation = torch.corrcoef(ranks)
    pairs = torch.triu_indices(len(ranks), len(ranks), 1)
    return Noise(len(several), several.var(1).mean().sqrt().item(), correlation[pairs[0], pairs[1]].mean().item())


def _ranks(values: Tensor) -> Tensor:
    """Ranks with ties at their mean."""
    _, place, count = values.unique(return_inverse=True, return_counts=True)
    last = count.cumsum(0).double()
    return (last - (count - 1) / 2)[place]
