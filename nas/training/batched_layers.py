"""The layers of `GroupedNetworks`: every tensor has the networks' axis beside its channels, every convolution a group for each.

A network trained in a batch is bitwise the network trained alone: groups, batch norms and heads do not mix networks.
Shapes: `P` networks, `N` images, `C` channels, `R` = N x H x W rows, `K` inputs of a convolution's sum.
Activations are rows `[R, P x C]`, which is an image batch in channels-last order.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.training.running_statistics import MOMENTUM
from search_spaces import _products

# PyTorch's defaults, so that a network trained here is the one that `Space.build` would train.
_EPS = 1e-5
_LANES = 8
"""Channels that batch norm's kernel takes at once: float32 numbers of an AVX2 vector."""


class Grid(NamedTuple):
    """The images that rows `[N x H x W, ...]` are the pixels of."""

    images: int
    height: int
    width: int


class Norm(nn.Module):
    """Batch norm of `P` x `C` channels."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, networks: int, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(networks, channels))
        self.bias = nn.Parameter(torch.zeros(networks, channels))
        self.register_buffer("running_mean", torch.zeros(networks, channels))
        self.register_buffer("running_var", torch.ones(networks, channels))

    def forward(self, x: Tensor) -> Tensor:
        mean, variance = self.running_mean.flatten(), self.running_var.flatten()
        # In evaluation each channel is scaled by itself, so that only training needs whole vectors.
        over = -x.shape[1] % _LANES if self.training else 0
        if not over:
            return F.batch_norm(
                x, mean, variance, self.weight.flatten(), self.bias.flatten(), self.training, MOMENTUM, _EPS
            )
        # The kernel rounds the channels that do not fill a vector differently: without padding, a network's bits would depend
        # on how many networks are trained beside it.
        weight, bias, wide_mean, wide_variance = (
            F.pad(t, (0, over)) for t in (self.weight.flatten(), self.bias.flatten(), mean, variance)
        )
        y = F.batch_norm(F.pad(x, (0, over)), wide_mean, wide_variance, weight, bias, True, MOMENTUM, _EPS)
        # Padding copied the running statistics, so that the kernel updated the copies.
        mean.copy_(wide_mean[:-over])
        variance.copy_(wide_variance[:-over])
        return y[:, :-over].contiguous()


class Conv(nn.Module):
    """A convolution without bias for each of `P` networks; batch norm brings the bias."""

    def __init__(self, networks: int, inputs: int, outputs: int, kernel: int, stride: int = 1):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(networks, outputs, inputs, kernel, kernel))
        self.stride, self.padding = stride, kernel // 2

    def forward(self, x: Tensor, grid: Grid) -> tuple[Tensor, Grid]:
        # One group takes another kernel than many, which sums in another order; and where groups do not go round evenly among
        # threads, images are shared out to them instead and their gradients summed. Either way the other networks would show.
        weight, P, threads = self.weight, len(self.weight), torch.get_num_threads() if x.device.type == "cpu" else 1
        spare = max(2 - P, -P % threads)
        if spare:
            x = F.pad(x, (0, spare * weight.shape[2]))
            # Zeros by `expand` cost no memory, and no gradient reaches them.
            weight = torch.cat([weight, torch.zeros_like(weight[:1]).expand(spare, -1, -1, -1, -1)])
        y = F.conv2d(images_of(x, grid), weight.flatten(0, 1), None, self.stride, self.padding, groups=len(weight))
        rows, small = rows_of(y)
        return (rows[:, : P * weight.shape[1]].contiguous() if spare else rows), small


class Stem(nn.Module):
    """Convolution and batch norm of images that all networks share: one matrix product.

    Its columns are all networks' channels, and a library sums a product of few columns in another order than one of many: on the
    CPU the product is an exact one (`_products`).
    """

    def __init__(self, networks: int, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.conv = Conv(networks, inputs, outputs, 3, stride)
        self.norm = Norm(networks, outputs)

    def forward(self, images: Tensor) -> tuple[Tensor, Grid]:
        N, _, H, W = images.shape
        stride = self.conv.stride
        patches_NKL = F.unfold(images, 3, padding=1, stride=stride)
        patches_RK, weight_PCK = patches_NKL.transpose(1, 2).flatten(0, 1), self.conv.weight.flatten(2)
        # float64 is for tests against PyTorch, and a GPU has no exact product: both take the plain one.
        exact = images.dtype == torch.float32 and images.device.type == "cpu"
        rows = _SharedProduct.apply(patches_RK, weight_PCK) if exact else patches_RK @ weight_PCK.flatten(0, 1).T
        return self.norm(rows), Grid(N, -(-H // stride), -(-W // stride))


class _SharedProduct(torch.autograd.Function):
    """What each network's weights `[P, C, K]` make of rows `[R, K]` that all share, `[R, P x C]`, in exact products.

    The rows are data: they get no gradient.
    """

    @staticmethod
    def forward(ctx, rows, weight):  # pyright: ignore[reportIncompatibleMethodOverride]
        rows_fixed = _products.fixed(rows)
        ctx.save_for_backward(rows_fixed)
        ctx.shape = weight.shape
        return _products.exact(rows_fixed, _products.fixed(weight).flatten(0, 1).T).float()

    @staticmethod
    def backward(ctx, *grads):
        (rows_fixed,) = ctx.saved_tensors
        P, C, _ = ctx.shape
        grad_fixed = _products.fixed(grads[0].unflatten(1, (P, C)), (0, 2)).flatten(1)
        # Fixed-point gradients: the sum over R rows then rounds the same however many columns stand beside it.
        return None, _products.exact(grad_fixed.T, rows_fixed).float().view(ctx.shape)


class ConvNorm(nn.Module):
    """Convolution and batch norm; the ReLU before them is the caller's, who may share it."""

    def __init__(self, networks: int, inputs: int, outputs: int, kernel: int, stride: int = 1):
        super().__init__()
        self.conv = Conv(networks, inputs, outputs, kernel, stride)
        self.norm = Norm(networks, outputs)

    def forward(self, x: Tensor, grid: Grid) -> tuple[Tensor, Grid]:
        y, grid = self.conv(x, grid)
        return self.norm(y), grid


def images_of(rows: Tensor, grid: Grid) -> Tensor:
    """Rows as a batch of images `[N, P x C, H, W]`, without a copy."""
    return rows.view(grid.images, grid.height, grid.width, -1).permute(0, 3, 1, 2)


def rows_of(images: Tensor) -> tuple[Tensor, Grid]:
    """The inverse, without a copy where the images lie channels last."""
    N, _, H, W = images.shape
    return images.permute(0, 2, 3, 1).reshape(N * H * W, -1), Grid(N, H, W)
