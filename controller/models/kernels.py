"""What the bank's members see of architectures, and the kernels on it that their covariances are sums of (`_bank`).

Shapes: `N`, `n`, `M` architectures, `G`, `P`, `Q` features, `F` mean landscapes, `R` directions, `S` seeds.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from controller.models import ridge

_WIDTH = 0.2
"""Squared distance along the prior's directions, along which tasks vary by one, at which cells are no longer alike."""


class Sight(NamedTuple):
    """What members see of architectures. Leading axes are free."""

    place: Tensor
    """float64 `[..., N, P]`."""
    whole: Tensor
    """float64 `[..., N, G]`."""
    pair: Tensor
    """float64 `[..., N, Q]`."""
    mean: Tensor
    """float64 `[..., N, F]` the prior's landscapes, means of families and single tasks, in deviations over the space; `F` = 0
    without one."""
    span: Tensor
    """float64 `[..., N, R]` the prior's directions of variation; `R` = 0 without a prior."""

    def at(self, index: Tensor) -> Sight:
        """The rows of an index `[...]` of architectures."""
        return Sight(*(ridge.rows(x, index) for x in self))


def kernels(a: Sight, b: Sight) -> Tensor:
    """What covariances are sums of, `[S, 6, n, M]`: near, place, pair, trend, alike and span."""
    G = max(a.whole.shape[-1], 1)  # None tells architectures apart where a space says nothing of its operations.
    found = a.whole.new_empty(len(a.whole), 6, a.whole.shape[1], b.whole.shape[1])
    near, place, pair, trend, alike, span = found.unbind(1)
    torch.matmul(a.whole, b.whole.mT, out=trend)
    torch.matmul(a.span, b.span.mT, out=span)
    near.copy_(apart(a.whole, b.whole, trend).div_(-G))
    torch.exp(apart(a.span, b.span, span).div_(-_WIDTH).add_(near), out=alike)
    near.exp_()
    trend.div_(G)
    torch.exp(squares(a.place, b.place).div_(-6), out=place)
    torch.exp(squares(a.pair, b.pair).neg_(), out=pair)
    return found


def squares(a: Tensor, b: Tensor) -> Tensor:
    """Squared distances `[..., n, M]` of rows of `a` `[..., n, F]` and `b` `[..., M, F]`."""
    return apart(a, b, a @ b.mT)


def apart(a: Tensor, b: Tensor, product: Tensor) -> Tensor:
    """The same, where `product` `a @ b.mT` is known."""
    long = a.square().sum(-1)[..., :, None] + b.square().sum(-1)[..., None, :]
    return (product * -2).add_(long).clamp_min_(0)
