"""The six-edge cell of NAS-Bench-201 (Dong & Yang 2020, section 2.1) and the network that repeats it.

A cell has four nodes. Node 0 is its input, node 3 its output; a node is the sum of its incoming edges, each one operation on
an earlier node. A network is a stem, three stages of cells with residual blocks of stride 2 between them, and a head.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from search_spaces._base import OperationFeatures, Task

NODES = 4
EDGES = tuple((i, j) for j in range(1, NODES) for i in range(j))
"""(from, to) of each decision: 0-1, 0-2, 1-2, 0-3, 1-3, 2-3."""
EDGE_NAMES = tuple(f"{i}-{j}" for i, j in EDGES)
FEATURES = {
    "none": OperationFeatures(none=1.0),
    "skip_connect": OperationFeatures(identity=1.0),
    "nor_conv_1x1": OperationFeatures(convolution=1.0, kernel=1 / 9),
    "nor_conv_3x3": OperationFeatures(convolution=1.0, kernel=1.0),
    "avg_pool_3x3": OperationFeatures(pooling=1.0),
}
"""What the benchmarks' operations do, by their names."""
_RESNET = ("nor_conv_3x3", "none", "nor_conv_3x3", "skip_connect", "none", "skip_connect")
"""Edge by edge, a ResNet's basic block: two 3x3 convolutions in a row (0-1, 1-2) beside a skip (0-3)."""


class ReluConvBn(nn.Sequential):
    """ReLU, convolution without bias, batch norm: the benchmark's order."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1):
        super().__init__(
            nn.ReLU(),
            nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False),
            nn.BatchNorm2d(outputs),
        )


class Zero(nn.Module):
    """No edge: zeros of the input's shape."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x)


class FactorizedReduce(nn.Module):
    """ReLU, two 1x1 convolutions that see even and odd pixels, batch norm."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.even = nn.Conv2d(inputs, outputs // 2, 1, stride, bias=False)
        self.odd = nn.Conv2d(inputs, outputs - outputs // 2, 1, stride, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(x)
        shifted = nn.functional.pad(x, (0, 1, 0, 1))[:, :, 1:, 1:]
        return self.norm(torch.cat([self.even(x), self.odd(shifted)], 1))


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a pooled 1x1 one; halves the image (rounding up)."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv_a = ReluConvBn(inputs, outputs, 3, stride=2)
        self.conv_b = ReluConvBn(outputs, outputs, 3)
        self.downsample = nn.Sequential(nn.AvgPool2d(2, 2, ceil_mode=True), nn.Conv2d(inputs, outputs, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        return self.downsample(x) + self.conv_b(self.conv_a(x))


def operation(name: str, inputs: int, outputs: int) -> nn.Module:
    """The module of one edge. Where the width changes, skip and pooling gain a 1x1 convolution, as in the benchmark."""
    if name == "none":
        return Zero()
    if name == "nor_conv_1x1":
        return ReluConvBn(inputs, outputs, 1)
    if name == "nor_conv_3x3":
        return ReluConvBn(inputs, outputs, 3)
    if name == "skip_connect":
        if inputs == outputs:
            return nn.Identity()
        return nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))
    pool = nn.AvgPool2d(3, 1, padding=1, count_include_pad=False)
    return pool if inputs == outputs else nn.Sequential(ReluConvBn(inputs, outputs, 1), pool)


class Cell(nn.Module):
    """Six operations between four nodes; `[N, inputs, H, W]` to `[N, outputs, H, W]`."""

    def __init__(self, operations: Sequence[str], inputs: int, outputs: int):
        super().__init__()
        self.operations = tuple(operations)
        self.widths = (inputs, outputs)
        self.edges = nn.ModuleList(
            operation(name, inputs if i == 0 else outputs, outputs) for name, (i, _) in zip(operations, EDGES)
        )

    def forward(self, x: Tensor) -> Tensor:
        nodes = [x]
        edges = iter(self.edges)
        for j in range(1, NODES):
            node = next(edges)(nodes[0])
            for i in range(1, j):
                node = node + next(edges)(nodes[i])
            nodes.append(node)
        return nodes[-1]


class CellNetwork(nn.Module):
    """Stem, body, head; images `[N, *task.input_shape]` to logits `[N, num_classes]`."""

    def __init__(self, task: Task, stem_width: int, body: Sequence[nn.Module], out_width: int, stem_stride: int = 1):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(task.input_shape[0], stem_width, 3, stem_stride, padding=1, bias=False),
            nn.BatchNorm2d(stem_width),
        )
        self.body = nn.Sequential(*body)
        self.head = nn.Sequential(
            nn.BatchNorm2d(out_width), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
            nn.Linear(out_width, task.num_classes),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(self.stem(x)))


def cells_of(stage: int, cells: int) -> int:
    """How many cells a stage has in a network of `cells` cells a stage; of 0 the first stage has one, the others none."""
    return cells or int(stage == 0)


def three_stages(operations: Sequence[str], task: Task, channels: int, cells: int, stem_stride: int = 1) -> CellNetwork:
    """NAS-Bench-201's skeleton (its figure 1): widths `channels`, twice and four times that, `cells` cells a stage.

    With `cells` 0 and the ResNet cell it is ResNet-8 (He et al. 2016): one block a stage.
    """
    body: list[nn.Module] = []
    for stage in range(3):
        width = channels << stage
        if stage:
            body.append(ResidualBlock(width // 2, width))
        body.extend(Cell(operations, width, width) for _ in range(cells_of(stage, cells)))
    return CellNetwork(task, channels, body, channels << 2, stem_stride)


def reference_arch(operations: Sequence[str]) -> Tensor:
    """The ResNet-like cell `[6]`."""
    return torch.tensor([operations.index(name) for name in _RESNET])
