"""Tables that hold a row for each architecture: their rows, and ridge regression on those.

Shapes: `S` seeds, `n` evaluations, `N` architectures, `F` features, `L` targets.
"""

from __future__ import annotations

import torch
from torch import Tensor

TOGETHER = 4
"""Searches that are computed at a time: what they need then stays in the processor's cache."""


def rows(table: Tensor, index: Tensor) -> Tensor:
    """The rows `[..., F]` of a table `[N, F]` or `[N]` at an index `[...]`."""
    return table.index_select(0, index.flatten()).view(*index.shape, *table.shape[1:])


def ridge(table: Tensor, index: Tensor, target: Tensor, noise: float) -> Tensor:
    """Weights `[S, F, L]` of features `[N, F]` for targets `[S, n, L]` of rows `[S, n]`, given the variance of their noise."""
    weight = []
    for some, wanted in zip(index.split(TOGETHER), target.split(TOGETHER)):
        seen = rows(table, some)
        gram = seen.mT @ seen
        gram.diagonal(dim1=-2, dim2=-1).add_(noise)
        weight.append(torch.linalg.solve(gram, seen.mT @ wanted))
    return torch.cat(weight)
