"""The network of DARTS (Liu et al. 2019, appendix A.1 and their `model.py`), of any two cells."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from search_spaces._base import Task
from search_spaces._cells import FactorizedReduce, ReluConvBn

_STEM = 3
"""Width of the stem in channels of a node, the paper's `stem_multiplier`."""

Cell = Sequence[Sequence[tuple[str, int]]]
"""Of each node its operations, each with the vertex that it comes from: 0 and 1 are the inputs, the nodes follow."""


class Network(nn.Module):
    """Images `[N, *task.input_shape]` to logits `[N, num_classes]`."""

    def __init__(self, normal: Cell, reduce: Cell, task: Task, channels: int, cells: int):
        super().__init__()
        width = _STEM * channels
        self.stem = nn.Sequential(
            nn.Conv2d(task.input_shape[0], width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        )
        before, last, halved, made = width, width, False, []
        for number in range(cells):
            halves = number in (cells // 3, 2 * cells // 3)
            channels *= 2 if halves else 1
            made.append(_Cell(reduce if halves else normal, (before, last), channels, halves, halved))
            before, last, halved = last, channels * len(normal), halves
        self.cells = nn.ModuleList(made)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(last, task.num_classes))

    def forward(self, x: Tensor) -> Tensor:
        before = last = self.stem(x)
        for cell in self.cells:
            before, last = last, cell(before, last)
        return self.head(last)


class _Cell(nn.Module):
    """Both inputs brought to one width and size; operations of a reduction cell on an input have stride 2."""

    def __init__(self, nodes: Cell, inputs: tuple[int, int], channels: int, halves: bool, halved: bool):
        super().__init__()
        before = FactorizedReduce(inputs[0], channels, 2) if halved else ReluConvBn(inputs[0], channels, 1)
        self.inputs = nn.ModuleList([before, ReluConvBn(inputs[1], channels, 1)])
        self.sources = tuple(tuple(i for _, i in node) for node in nodes)
        self.nodes = nn.ModuleList(
            nn.ModuleList(_operation(name, channels, 2 if halves and i < 2 else 1) for name, i in node)
            for node in nodes
        )

    def forward(self, before: Tensor, last: Tensor) -> Tensor:
        states = [layer(x) for layer, x in zip(self.inputs, (before, last))]
        for operations, sources in zip(self.nodes, self.sources):
            states.append(torch.stack([layer(states[i]) for layer, i in zip(operations, sources)]).sum(0))  # pyright: ignore
        return torch.cat(states[2:], 1)


def _operation(name: str, channels: int, stride: int) -> nn.Module:
    if name == "skip_connect":
        return nn.Identity() if stride == 1 else FactorizedReduce(channels, channels, stride)
    if name == "max_pool_3x3":
        return nn.MaxPool2d(3, stride, padding=1)
    if name == "avg_pool_3x3":
        return nn.AvgPool2d(3, stride, padding=1, count_include_pad=False)
    kernel = int(name[-1])
    if name.startswith("dil"):
        return _separable(channels, kernel, stride, dilation=2)
    # The paper's separable convolutions are applied twice; the second keeps the size.
    return nn.Sequential(_separable(channels, kernel, stride), _separable(channels, kernel, 1))


def _separable(channels: int, kernel: int, stride: int, dilation: int = 1) -> nn.Sequential:
    """ReLU, a convolution channel by channel, a 1x1 convolution, batch norm."""
    padding = dilation * (kernel // 2)
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(channels, channels, kernel, stride, padding, dilation, groups=channels, bias=False),
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels),
    )
