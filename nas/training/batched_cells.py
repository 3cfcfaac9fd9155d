"""The cells of `GroupedNetworks`: on each edge only the networks that have an operation there pay for it.

Shapes: `P` networks, `C` channels, `R` = N x H x W rows; activations are rows `[R, P x C]`, nodes of a cell `[R, P, C]`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.training.batched_layers import Conv, ConvNorm, Grid, images_of, rows_of
from search_spaces import _cells


class _FanOut(torch.autograd.Function):
    """A node's output to its edges: its ReLU for some networks, itself for others; None stands for all networks.

    One function instead of autograd's index operations: the backward pass then fills a single gradient `[R, P, C]`,
    where autograd would allocate one for each edge and operation and add them up.
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
        # The order matters: the mask of the ReLU applies to the convolutions' gradients and not to the raw ones added below.
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
    """One edge of all networks: for each operation, the networks that have it there."""

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
            # Not persistent: which networks have the operation follows from the architectures. None: all, which needs no index.
            self.register_buffer(f"cells_{name}", cells, persistent=False)

    def users(self, *, rectified: bool) -> dict[str, Tensor | None]:
        """Of which networks each operation takes the node (None: all), after the ReLU or before it."""
        return {name: getattr(self, f"cells_{name}") for name in self.cells if (name in self.convs) == rectified}

    def apply_to(self, name: str, nodes: Tensor, grid: Grid) -> Tensor:
        """The operation's output for the nodes of its networks, `[R, networks that have it, C]`."""
        rows = nodes.flatten(1)
        if name in self.convs:
            rows, _ = self.convs[name](rows, grid)
        # Sums over the pixels that are there, as NAS-Bench-201 does: padding is not counted.
        elif name == "avg_pool_3x3":
            rows, _ = rows_of(F.avg_pool2d(images_of(rows, grid), 3, 1, 1, count_include_pad=False))
        return rows.view(nodes.shape)


class Cell(nn.Module):
    """The cells of `P` networks side by side; each as `_cells.Cell`."""

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
            rectified = [(j, edge, n, c) for j, edge in leaving for n, c in edge.users(rectified=True).items()]
            raw = [(j, edge, n, c) for j, edge in leaving for n, c in edge.users(rectified=False).items()]
            # One ReLU a node, shared by all convolutions on it: each edge with its own would compute it up to three times.
            sent = _FanOut.apply(nodes[i], [c for *_, c in rectified], [c for *_, c in raw])
            for (j, edge, name, cells), values in zip(rectified + raw, sent):  # pyright: ignore[reportArgumentType]
                _add(nodes[j], cells, edge.apply_to(name, values, grid))
        return nodes[-1].flatten(1), grid


class ResidualBlock(nn.Module):
    """As `_cells.ResidualBlock`, `P` side by side."""

    def __init__(self, networks: int, inputs: int, outputs: int):
        super().__init__()
        self.conv_a = ConvNorm(networks, inputs, outputs, 3, stride=2)
        self.conv_b = ConvNorm(networks, outputs, outputs, 3)
        self.downsample = Conv(networks, inputs, outputs, 1)

    def forward(self, x: Tensor, grid: Grid) -> tuple[Tensor, Grid]:
        y, small = self.conv_a(F.relu(x), grid)
        y, _ = self.conv_b(F.relu(y), small)
        # `ceil_mode`: an odd height would otherwise be one row shorter than the strided convolution beside it.
        pooled, _ = rows_of(F.avg_pool2d(images_of(x, grid), 2, 2, ceil_mode=True))
        return y + self.downsample(pooled, small)[0], small
