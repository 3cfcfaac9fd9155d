"""Draws of Dirichlet distributions with a gradient by their concentrations, from uniform numbers and not from a generator.

A draw is normalized draws of Gamma distributions. Each of these is the quantile of its uniform number, so its derivative by the
concentration a is the implicit one (Figurnov et al. 2018, arXiv:1805.08498, equation 5): dz/da = -(dP/da) / p, with P the
distribution function and p the density. In float64 and by logarithms: draws of small concentrations underflow otherwise.
"""

from __future__ import annotations

import torch
from torch import Tensor

_NEWTON = 40
"""Steps to a quantile. log P is concave in log z, so that Newton's method comes from below and never overshoots; the last part of
the upper tail, which uniform numbers of 24 bits reach, takes 30."""
_DIFFERENCE = 1e-5
"""Of the concentration, for dP/da: the error of a central difference is least near the cube root of float64's precision."""
_EXACT = -40.0
"""Of log z, from where down P is z^a / Gamma(a + 1) to all digits of float64: the next term is less by z, 4e-18. For
concentrations below 0.02 z may underflow there, and Newton's step would be infinity times 0."""
_HALF_A_BIT = 2.0**-25
"""Makes uniform numbers of 24 bits larger than 0."""


def draw(concentration: Tensor, uniform: Tensor, own: Tensor) -> Tensor:
    """Mixtures over the last axis, float32 of the shape of `concentration`; 0 where `own`, which broadcasts, is false.

    Args:
        concentration: above 0.
        uniform: in [0, 1), multiples of 2^-24.
    """
    log_gamma = _LogGamma.apply(concentration.double(), uniform.double() + _HALF_A_BIT)
    return log_gamma.masked_fill(~own, -torch.inf).log_softmax(-1).exp().float()


class _LogGamma(torch.autograd.Function):
    """The logarithms of quantiles of Gamma distributions of scale 1."""

    @staticmethod
    def forward(ctx, a, u):  # pyright: ignore[reportIncompatibleMethodOverride]
        # P <= z^a / Gamma(a + 1), so the quantile of that bound lies below.
        log_z = (u.log() + torch.lgamma(a + 1)) / a
        for _ in range(_NEWTON):
            below = torch.special.gammainc(a, log_z.exp())
            step = (u.log() - below.log()) * below / _density(a, log_z)
            log_z = log_z + torch.where(log_z > _EXACT, step, 0.0)
        ctx.save_for_backward(a, log_z)
        return log_z

    @staticmethod
    def backward(ctx, *grads):
        a, log_z = ctx.saved_tensors
        h = (a / 2).clamp_max(_DIFFERENCE)
        high, low = (torch.special.gammainc(a + sign * h, log_z.exp()) for sign in (1, -1))
        implicit = -(high - low) / (2 * h) / _density(a, log_z)
        return grads[0] * torch.where(log_z > _EXACT, implicit, (torch.digamma(a + 1) - log_z) / a), None


def _density(a: Tensor, log_z: Tensor) -> Tensor:
    """Of log z."""
    return (a * log_z - log_z.exp() - torch.lgamma(a)).exp()
