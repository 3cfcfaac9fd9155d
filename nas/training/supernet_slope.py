"""The slope of second order: how a mixture changes the loss of the weights that it would itself train (DARTS, section 2.3).

Liu et al. 2019, arXiv:1806.09055. Equation 6: after one step of SGD, w' = w - xi grad_w L_train(w, m), the derivative of
L_valid(w', m) by the mixture m is that at w' less xi times the mixed second derivatives of L_train along grad_w' L_valid.
Equation 7 estimates that product by a central difference, so that no second derivative is computed.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from nas.training.supernet import Supernet
from nas.training.supernet_program import Weights

LENGTH = 0.01
"""Of the difference in the space of weights, as in the paper: epsilon = 0.01 / |grad_w' L_valid|."""


class Batches(NamedTuple):
    """Images `[T, N, C, H, W]` and their classes, int64 `[T, N]`."""

    images: Tensor
    labels: Tensor


def second_order(
    net: Supernet, params: Tensor, mixture: Tensor, train: Batches, valid: Batches, rate: float, length: float = LENGTH
) -> Tensor:
    """The derivative of the validation loss after one step of size `rate`, by the mixture's weights: float64 `[D, C]`.

    Args:
        params: `[P]`, before the step.
        train: one batch, as `valid` is.
        length: of the difference. The shorter, the closer to the exact derivative, up to the digits of the weights.
    """
    stepped = params - rate * net.gradients(params, mixture, *train)[0]
    along, first = net.gradients(stepped, mixture, *valid)
    step = length / float(along.double().norm().clamp_min(torch.finfo(torch.float64).tiny))
    high, low = (
        net.score(_resting(params + sign * step * along), mixture, *train, slope=True).slope for sign in (1, -1)
    )
    assert high is not None
    assert low is not None
    return first - rate * (high - low) / (2 * step)


def _resting(params: Tensor) -> Weights:
    return Weights(params, torch.zeros_like(params))
