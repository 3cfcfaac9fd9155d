"""Matrix products and sums whose bits depend on their operands alone: not on how many are taken together, nor on the processor.

A library sums the terms of a product in an order that it picks by shape, memory layout, threads and processor. Here operands are
rounded to fixed point first, so that float64 holds every product and every partial sum exactly, and all orders give the same
number. (Demmel & Nguyen 2015, "Parallel reproducible summation", round summands so.)

Shapes: `N` rows, `K` terms of a sum, `M` columns; leading axes, if any, are the same for both operands.
"""

from __future__ import annotations

import torch
from torch import Tensor

_BITS = 22
"""Of fixed point: as many as an addition in float32 can round to."""
_TERMS = 1 << (53 - 2 * _BITS)
"""Of a sum of products of two such numbers that the 53 bits of float64 hold in every order."""
_EXPONENT = 0x7F800000
"""The bits of a float32 that are its exponent."""


def fixed(x: Tensor, dims: tuple[int, ...] = (-2, -1), bound: float | None = None) -> Tensor:
    """Float32 `x` as float64, off by at most 2^-22 of its largest element along `dims`, or of `bound` where no element is larger.

    Adding six times a power of two to float32 below twice that power leaves 22 bits of them. Float64 is left as it is.

    Args:
        bound: a power of two.
    """
    if x.dtype == torch.float64:
        return x
    if bound is not None:
        return (x + 3 * bound).sub_(3 * bound).double()
    shift = (x.abs().amax(dims, keepdim=True).view(torch.int32) & _EXPONENT).view(torch.float32) * 6
    return (x + shift).sub_(shift).double()


def exact(a: Tensor, b: Tensor) -> Tensor:
    """`a @ b` of numbers in fixed point, `[..., N, K]` and `[..., K, M]`: float64, for `K` up to 512 without error."""
    if a.shape[-1] == 1:
        return a * b
    if a.shape[-1] <= _TERMS:
        return a @ b
    parts = [x @ y for x, y in zip(a.split(_TERMS, -1), b.split(_TERMS, -2))]
    return sum(parts[1:], parts[0])  # Each part is exact; they are added in one order.


def product(a: Tensor, b: Tensor, b_fixed: Tensor | None = None, bound: float | None = None) -> Tensor:
    """`a @ b`, float32; differentiable any number of times. Other types and devices take the library's product.

    Args:
        b_fixed: `fixed(b)`, for those who take several products with it.
        bound: of `a`, see `fixed`.
    """
    if a.dtype != torch.float32 or a.device.type != "cpu":
        return a @ b
    return _Product.apply(a, b, fixed(b.detach()) if b_fixed is None else b_fixed, bound)


def spread(x: Tensor, dim: int, count: int) -> Tensor:
    """`x` with its axis `dim` of size one expanded to `count`; the gradient is summed by `total`."""
    return _Spread.apply(x, dim, count)


def total(x: Tensor, dim: int) -> Tensor:
    """The sum over an axis, which is kept: halves are added elementwise, in an order that the axis' length decides."""
    while (size := x.shape[dim]) > 1:
        half = size // 2
        added = x.narrow(dim, 0, half) + x.narrow(dim, half, half)
        x = torch.cat([added, x.narrow(dim, size - 1, 1)], dim) if size % 2 else added
    return x


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx, a, b, b_fixed, bound):  # pyright: ignore[reportIncompatibleMethodOverride]
        a_fixed = fixed(a, bound=bound)
        ctx.save_for_backward(a, b, a_fixed, b_fixed)
        return exact(a_fixed, b_fixed).float()

    @staticmethod
    def backward(ctx, *grads):
        (grad,), (a, b, a_fixed, b_fixed) = grads, ctx.saved_tensors
        for_a, for_b, *_ = ctx.needs_input_grad
        if torch.is_grad_enabled():  # The gradient is to be differentiated in turn.
            return product(grad, b.mT) if for_a else None, product(a.mT, grad) if for_b else None, None, None
        grad_fixed = fixed(grad)
        return (
            exact(grad_fixed, b_fixed.mT).float() if for_a else None,
            exact(a_fixed.mT, grad_fixed).float() if for_b else None,
            None,
            None,
        )


class _Spread(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, dim, count):  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.dim = dim
        return x.expand(*(count if d == dim else -1 for d in range(x.dim())))

    @staticmethod
    def backward(ctx, *grads):
        return total(grads[0], ctx.dim), None, None
