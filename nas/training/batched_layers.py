"""The layers of `GroupedNetworks`: every tensor has the cells' axis beside its channels, every convolution a group for each cell.

A cell trained in company is the cell trained alone: groups, batch norms and heads do not mix cells. On each edge only the
cells that have an operation there pay for it. Shapes: `P` cells, `N` images, `C` channels, `R` = N x H x W rows, `K` classes.
Activations are rows `[R, P x C]`, which is an image batch in channels-last order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from search_spaces import _cells, _products

_EPS = 1e-5
_MOMENTUM = 0.1
_LANES = 8
"""Channels that batch norm's kernel takes at once."""


class Grid(NamedTuple):
    """What rows are rows of."""

    images: int
    height: int
    width: int


class Norm(nn.Module):
    """Batch norm of `P` x `C` channels."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, cells: int, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(cells, channels))
        self.bias = nn.Parameter(torch.zeros(cells, channels))
        self.register_buffer("running_mean", torch.zeros(cells, channels))
        self.register_buffer("running_var", torch.ones(cells, channels))

    def forward(self, x: Tensor) -> Tensor:
        mean, variance = self.running_mean.flatten(), self.running_var.flatten()
        over = -x.shape[1] % _LANES if self.training else 0
        if not over:
            return F.batch_norm(
                x, mean, variance, self.weight.flatten(), self.bias.flatten(), self.training, _MOMENTUM, _EPS
            )
        # The kernel rounds the channels that do not fill a vector otherwise: without padding, company would show.
        weight, bias, wide_mean, wide_variance = (
            F.pad(t, (0, over)) for t in (self.weight.flatten(), self.bias.flatten(), mean, variance)
        )
        y = F.batch_norm(F.pad(x, (0, over)), wide_mean, wide_variance, weight, bias, True, _MOMENTUM, _EPS)
        mean.copy_(wide_mean[:-over])
        variance.copy_(wide_variance[:-over])
        return y[:, :-over].contiguous()


class Conv(nn.Module):
    """A convolution without bias for each of `P` cells."""

    def __init__(self, cells: int, inputs: int, outputs: int, kernel: int, stride: int = 1):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(cells, outputs, inputs, kernel, kernel))
        self.stride, self.padding = stride, kernel // 2

    def forward(self, x: Tensor, grid: Grid) -> tuple[Tensor, Grid]:
        # One group takes another kernel than many, which sums in another order; and where groups do not go round evenly among
        # threads, images are shared out to them instead and their gradients summed. Either way company would show.
        weight, P, turns = self.weight, len(self.weight), torch.get_num_threads() if x.device.type == "cpu" else 1
        spare = max(2 - P, -P % turns)
        if spare:
            x = F.pad(x, (0, spare * weight.shape[2]))
            weight = torch.cat([weight, torch.zeros_like(weight[:1]).expand(spare, -1, -1, -1, -1)])
        y = F.conv2d(images_of(x, grid), weight.flatten(0, 1), None, self.stride, self.padding, groups=len(weight))
        rows, small = rows_of(y)
        return (rows[:, : P * weight.shape[1]].contiguous() if spare else rows), small


class Stem(nn.Module):
    """Convolution and batch norm of images that all cells share: one matrix product.

    Its columns are all cells' channels, and a library sums a product of few columns in another order than one of many: on the
    CPU the product is an exact one (`_products`).
    """

    def __init__(self, cells: int, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.conv = Conv(cells, inputs, outputs, 3, stride)
        self.norm = Norm(cells, outputs)

    def forward(self, images: Tensor) -> tuple[Tensor, Grid]:
        N, _, H, W = images.shape
        stride = self.conv.stride
        patches_NKL = F.unfold(images, 3, padding=1, stride=stride)
        patches_RK, weight_PCK = patches_NKL.transpose(1, 2).flatten(0, 1), self.conv.weight.flatten(2)
        exact = images.dtype == torch.float32 and images.device.type == "cpu"
        rows = _Shared.apply(patches_RK, weight_PCK) if exact else patches_RK @ weight_PCK.flatten(0, 1).T
        return self.norm(rows), Grid(N, -(-H // stride), -(-W // stride))


class _Shared(torch.autograd.Function):
    """What each cell's weights `[P, C, K]` make of rows `[R, K]` that all share, `[R, P x C]`, in exact products.

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
        return None, _products.exact(grad_fixed.T, rows_fixed).float().view(ctx.shape)


class ConvNorm(nn.Module):
    """Convolution and batch norm; the ReLU before them is the caller's, who may share it."""

    def __init__(self, cells: int, inputs: int, outputs: int, kernel: int, stride: int = 1):
        super().__init__()
        self.conv = Conv(cells, inputs, outputs, kernel, stride)
        self.norm = Norm(cells, outputs)

    def forward(self, x: Tensor, grid: Grid) -> tuple[Tensor, Grid]:
        y, grid = self.conv(x, grid)
        return self.norm(y), grid


class _FanOut(torch.autograd.Function):
    """What a node sends on: its ReLU for some cells, itself for some cells. The backward pass fills one gradient.

    Nodes are `[R, P, C]` here; `None` for the cells stands for all of them.
    """

    @staticmethod
    def forward(ctx, x, rectified_cells, raw_cells):  # pyright: ignore[reportIncompatibleMethodOverride]
        rectified = F.relu(x)
        ctx.save_for_backward(rectified)
        ctx.cells = rectified_cells, raw_cells
        sent = [(rectified, cells) for cells in rectified_cells] + [(x, cells) for cells in raw_cells]
        return tuple(node.clone() if cells is None else node.index_select(1, cells) for node, cells in sent)

    @staticmethod
    def backward(ctx, *grads):
        (rectified,) = ctx.saved_tensors
        rectified_cells, raw_cells = ctx.cells
        gradient = torch.zeros_like(rectified)
        for cells, grad in zip(rectified_cells, grads):
            _add(gradient, cells, grad)
        gradient.mul_(rectified > 0)
        for cells, grad in zip(raw_cells, grads[len(rectified_cells) :]):
            _add(gradient, cells, grad)
        return gradient, None, None


def _add(node: Tensor, cells: Tensor | None, values: Tensor) -> None:
    if cells is None:
        node.add_(values)
    else:
        node.index_add_(1, cells, values)


class Edge(nn.Module):
    """One edge of all cells: for each operation, the cells that have it there."""

    def __init__(self, names: Sequence[str], channels: int):
        super().__init__()
        self.names = names
        self.cells = {name: [p for p, own in enumerate(names) if own == name] for name in sorted(set(names) - {"none"})}
        self.convs = nn.ModuleDict(
            {
                n: ConvNorm(len(at), channels, channels, int(n[-1]))
                for n, at in self.cells.items()
                if n.startswith("nor")
            }
        )
        for name, at in self.cells.items():
            cells = None if len(at) == len(names) else torch.tensor(at)
            self.register_buffer(f"cells_{name}", cells, persistent=False)

    def taken(self, *, rectified: bool) -> dict[str, Tensor | None]:
        """Which cells' node each operation takes (None: all), after the ReLU or before it."""
        return {name: getattr(self, f"cells_{name}") for name in self.cells if (name in self.convs) == rectified}

    def apply_to(self, name: str, taken: Tensor, grid: Grid) -> Tensor:
        """What one of its operations makes of what it took, `[R, cells, C]`."""
        rows = taken.flatten(1)
        if name in self.convs:
            rows, _ = self.convs[name](rows, grid)
        elif name == "avg_pool_3x3":
            rows, _ = rows_of(F.avg_pool2d(images_of(rows, grid), 3, 1, 1, count_include_pad=False))
        return rows.view(taken.shape)


class Cell(nn.Module):
    """`P` cells side by side; as `_cells.Cell`."""

    def __init__(self, operations: Sequence[Sequence[str]], channels: int):
        super().__init__()
        self.edges = nn.ModuleList(Edge(names, channels) for names in zip(*operations))

    def forward(self, x: Tensor, grid: Grid) -> tuple[Tensor, Grid]:
        first = x.view(len(x), len(self.edges[0].names), -1)  # pyright: ignore[reportArgumentType]
        nodes = [first, *[torch.zeros_like(first) for _ in range(1, _cells.NODES)]]
        for i in range(_cells.NODES - 1):
            leaving: list[tuple[int, Edge]] = [
                (j, edge)  # pyright: ignore[reportAssignmentType]
                for (start, j), edge in zip(_cells.EDGES, self.edges)
                if start == i
            ]
            ways = [(j, edge, n, c) for j, edge in leaving for n, c in edge.taken(rectified=True).items()]
            raw = [(j, edge, n, c) for j, edge in leaving for n, c in edge.taken(rectified=False).items()]
            sent = _FanOut.apply(nodes[i], [c for *_, c in ways], [c for *_, c in raw])
            for (j, edge, name, cells), taken in zip(ways + raw, sent):  # pyright: ignore[reportArgumentType]
                _add(nodes[j], cells, edge.apply_to(name, taken, grid))
        return nodes[-1].flatten(1), grid


class ResidualBlock(nn.Module):
    """As `_cells.ResidualBlock`, `P` side by side."""

    def __init__(self, cells: int, inputs: int, outputs: int):
        super().__init__()
        self.conv_a = ConvNorm(cells, inputs, outputs, 3, stride=2)
        self.conv_b = ConvNorm(cells, outputs, outputs, 3)
        self.downsample = Conv(cells, inputs, outputs, 1)

    def forward(self, x: Tensor, grid: Grid) -> tuple[Tensor, Grid]:
        y, small = self.conv_a(F.relu(x), grid)
        y, _ = self.conv_b(F.relu(y), small)
        pooled, _ = rows_of(F.avg_pool2d(images_of(x, grid), 2, 2, ceil_mode=True))
        return y + self.downsample(pooled, small)[0], small


def images_of(rows: Tensor, grid: Grid) -> Tensor:
    """Rows as a batch of images `[N, P x C, H, W]`, without a copy."""
    return rows.view(grid.images, grid.height, grid.width, -1).permute(0, 3, 1, 2)


def rows_of(images: Tensor) -> tuple[Tensor, Grid]:
    """The inverse, without a copy where the images lie channels last."""
    N, _, H, W = images.shape
    return images.permute(0, 2, 3, 1).reshape(N * H * W, -1), Grid(N, H, W)
