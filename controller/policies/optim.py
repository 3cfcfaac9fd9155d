"""Optimizers as functions of explicit state, differentiable from end to end. Every tensor leads with `S`, the seeds."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

_TINY = 1e-30
"""Under a root, so that its derivative is finite at 0."""

Params = dict[str, Tensor]
"""Named parameters, each `[S, ...]`."""


class Adam(NamedTuple):
    """The moments of Kingma & Ba 2015, arXiv:1412.6980, algorithm 1."""

    mean: Params
    square: Params
    decay_mean: Tensor
    """float32 `[S]` beta1 to the power of the steps taken; a running product, the same bits on any batch of seeds."""
    decay_square: Tensor
    """float32 `[S]` the same of beta2."""


def adam_begin(params: Params) -> Adam:
    """Moments before the first step."""
    zeros = {name: torch.zeros_like(p) for name, p in params.items()}
    one_S = torch.ones(len(next(iter(params.values()))))
    return Adam(zeros, dict(zeros), one_S, one_S)


def adam(
    params: Params, grads: Params, state: Adam, lr: float | Tensor, betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
) -> tuple[Params, Adam]:  # fmt: skip
    """Parameters and moments after one step of size `lr`, a number or `[S]`."""
    b1, b2 = betas
    decay_mean_S, decay_square_S = state.decay_mean * b1, state.decay_square * b2
    mean = {n: m.lerp(grads[n], 1 - b1) for n, m in state.mean.items()}
    square = {n: (b2 * v).addcmul(grads[n], grads[n], value=1 - b2) for n, v in state.square.items()}
    # mean / (1 - b1^t) / (sqrt(square / (1 - b2^t)) + eps), with the factors of a whole seed taken together.
    root_S = torch.sqrt(1 - decay_square_S)
    step_S = lr * root_S / (1 - decay_mean_S)
    moved = {
        n: p - _lead(step_S, p) * mean[n] / ((square[n] + _TINY).sqrt() + _lead(eps * root_S, p))
        for n, p in params.items()
    }
    return moved, Adam(mean, square, decay_mean_S, decay_square_S)


def grads(loss_S: Tensor, params: Params, *, create_graph: bool = False) -> Params:
    """The gradient of each seed's loss with respect to that seed's parameters.

    Seeds share no parameters, so the gradient of the sum holds every seed's own.
    """
    # Zero for what no decision depends on: of a space with one decision, weights that lead from one to the next.
    found = torch.autograd.grad(loss_S.sum(), list(params.values()), create_graph=create_graph, materialize_grads=True)
    return dict(zip(params, found))


def leaves(params: Params) -> Params:
    """The same numbers as new leaves, ready for `grads`."""
    return {n: p.detach().requires_grad_() for n, p in params.items()}


def where(mask_S: Tensor, ours: Params, theirs: Params) -> Params:
    """Our parameters for the seeds of the mask, theirs for the others."""
    return {name: torch.where(_lead(mask_S, value), value, theirs[name]) for name, value in ours.items()}


def adam_where(mask_S: Tensor, ours: Adam, theirs: Adam) -> Adam:
    """As `where`, of moments."""
    return Adam(
        where(mask_S, ours.mean, theirs.mean),
        where(mask_S, ours.square, theirs.square),
        torch.where(mask_S, ours.decay_mean, theirs.decay_mean),
        torch.where(mask_S, ours.decay_square, theirs.decay_square),
    )


def _lead(value_S: Tensor, like: Tensor) -> Tensor:
    return value_S.reshape(-1, *[1] * (like.dim() - 1))
