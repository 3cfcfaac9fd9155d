"""The kernels that covariances are sums of, what they are computed from, and ridge regression on the same features.

Shapes: `N`, `n`, `M` architectures, `G`, `P`, `Q`, `F` features, `U` mean functions, `A` components, `S` seeds, `L` targets.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

_TASK_WIDTH = 0.2
"""Squared distance along the components, along which tasks have unit variance, at which the task kernel falls to 1/e. Chosen by
how well held-out tasks were predicted and by searches with random first evaluations on twelve tasks of `runs/transfer.sh`."""
_ONE_HOT_WIDTH = 6.0
"""The same for one-hot positions, where an edge that differs adds 2: three edges. Not ablated."""

_COLUMNS = 512
"""Columns that `products_of_rows` takes at a time: with a hundred features 400 kB."""


class KernelInputs(NamedTuple):
    """Architectures as the Gaussian processes see them. Leading axes are free."""

    one_hot: Tensor
    """float64 `[..., N, P]`."""
    path_stats: Tensor
    """float64 `[..., N, G]`."""
    op_pairs: Tensor
    """float64 `[..., N, Q]`."""
    mean: Tensor
    """float64 `[..., N, U]` the prior's mean functions, in standard deviations over the space; `U` = 0 without a prior."""
    components: Tensor
    """float64 `[..., N, A]` principal components of tasks' scores; `A` = 0 without a prior."""

    def rows(self, index: Tensor) -> KernelInputs:
        """The rows of an index `[...]` of architectures."""
        return KernelInputs(*(rows(x, index) for x in self))


def by_search(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Copies of each search's part `[1, ...]` of tensors `[S, ...]`.

    A library picks the order of a sum by shapes and by where in memory operands lie, so that in one product the bits of a search
    depend on those beside it. What law 1 rests on is computed one search at a time; it also stays in the processor's cache.
    """
    for parts in zip(*(x.split(1) for x in tensors)):
        yield tuple(part.clone() for part in parts)


def kernel_matrices(a: KernelInputs, b: KernelInputs) -> Tensor:
    """`[S, 6, n, M]`: radial on path statistics, one-hot, operation pairs, linear, task radial, linear in components."""
    G = max(a.path_stats.shape[-1], 1)  # None tells architectures apart where a space says nothing of its operations.
    found = a.path_stats.new_empty(len(a.path_stats), 6, a.path_stats.shape[1], b.path_stats.shape[1])
    rbf, one_hot, pairs, linear, task_rbf, components = found.unbind(1)
    torch.matmul(a.path_stats, b.path_stats.mT, out=linear)
    torch.div(squared_distances_from_gram(a.path_stats, b.path_stats, linear), -G, out=rbf)
    if a.components.shape[-1]:
        torch.matmul(a.components, b.components.mT, out=components)
        apart = squared_distances_from_gram(a.components, b.components, components)
        torch.exp(apart.div_(-_TASK_WIDTH).add_(rbf), out=task_rbf)
        rbf.exp_()
    else:  # The same without the work: all distances along the components are zero.
        components.zero_()
        task_rbf.copy_(rbf.exp_())
    linear.div_(G)
    torch.exp(squared_distances(a.one_hot, b.one_hot).div_(-_ONE_HOT_WIDTH), out=one_hot)
    torch.exp(squared_distances(a.op_pairs, b.op_pairs).neg_(), out=pairs)
    return found


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """Squared distances `[..., n, M]` of rows of `a` `[..., n, F]` and `b` `[..., M, F]`."""
    return squared_distances_from_gram(a, b, a @ b.mT)


def squared_distances_from_gram(a: Tensor, b: Tensor, gram: Tensor) -> Tensor:
    """The same, where `gram` = `a @ b.mT` is known."""
    sizes = a.square().sum(-1)[..., :, None] + b.square().sum(-1)[..., None, :]
    return sizes.add_(gram, alpha=-2).clamp_min_(0)


def rows(table: Tensor, index: Tensor) -> Tensor:
    """The rows `[..., F]` of a table `[N, F]` or `[N]` at an index `[...]`."""
    return table.index_select(0, index.flatten()).view(*index.shape, *table.shape[1:])


def products_of_rows(a: Tensor, b: Tensor) -> Tensor:
    """`a @ b` of a row `[S, F]` for each search and a common `[F, N]`.

    Some columns of `b` at a time for all searches, so that they are read from memory once and then from the processor's cache.
    """
    own, found = [row for (row,) in by_search(a)], a.new_empty(len(a), b.shape[1])
    for columns, into in zip(b.split(_COLUMNS, 1), found.split(_COLUMNS, 1)):
        for row, product in zip(own, into.split(1)):
            torch.mm(row, columns, out=product)
    return found


def ridge(table: Tensor, index: Tensor, target: Tensor, noise: float) -> Tensor:
    """Weights `[S, F, L]` of features `[N, F]` for targets `[S, n, L]` of rows `[S, n]`, given the variance of their noise.

    The posterior mean of a linear Gaussian process in weight space (Rasmussen & Williams 2006, equation 2.8): cheap for all `N`.
    """
    weight = []
    for subset, wanted in by_search(index, target):
        seen = rows(table, subset)
        gram = seen.mT @ seen
        gram.diagonal(dim1=-2, dim2=-1).add_(noise)
        weight.append(torch.linalg.solve(gram, seen.mT @ wanted))
    return torch.cat(weight)
