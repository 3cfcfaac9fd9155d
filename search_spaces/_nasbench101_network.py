"""The network of NAS-Bench-101 (Ying et al. 2019, section 2.2 and their `model_builder.py`), of any cell."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from search_spaces._base import Task

_STACKS = 3

Matrix = Sequence[Sequence[int]]
"""Adjacency of the vertices that lie on a way from the input, the first, to the output, the last."""


class Network(nn.Module):
    """Images `[N, *task.input_shape]` to logits `[N, num_classes]`."""

    def __init__(self, matrix: Matrix, operations: Sequence[str], task: Task, channels: int, cells: int):
        super().__init__()
        self.stem = _conv(task.input_shape[0], channels, 3)
        body: list[nn.Module] = []
        width = channels
        for stack in range(_STACKS):
            if stack:
                # Half the size, rounded up: the benchmark's images are even, and others keep at least a pixel.
                body.append(nn.MaxPool2d(2, 2, ceil_mode=True))
            outputs = channels << stack
            for _ in range(cells):
                body.append(_Cell(matrix, operations, width, outputs))
                width = outputs
        self.body = nn.Sequential(*body)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, task.num_classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(self.stem(x)))


class _Cell(nn.Module):
    """The vertices that lead to the output share its channels among them, and are put side by side.

    What comes from the input passes through a 1x1 convolution, and is added where it goes to the output itself.
    """

    def __init__(self, matrix: Matrix, operations: Sequence[str], inputs: int, outputs: int):
        super().__init__()
        last = len(matrix) - 1
        widths = vertex_channels(matrix, outputs)
        self.sources = [[v for v in range(1, last + 1) if matrix[v][at]] for at in range(last + 1)]
        """Of each vertex the inner ones that lead to it."""
        self.widths = widths
        from_input = [at for at in range(1, last + 1) if matrix[0][at]]
        self.projections = nn.ModuleDict({str(at): _conv(inputs, widths[at], 1) for at in from_input})
        self.operations = nn.ModuleList(_operation(name, widths[v]) for v, name in enumerate(operations, 1))

    def forward(self, x: Tensor) -> Tensor:
        states: list[Tensor] = [x]
        last = len(self.sources) - 1
        for at, operation in enumerate(self.operations, 1):
            terms = [states[v][:, : self.widths[at]] for v in self.sources[at]]
            states.append(operation(self._with_input(terms, at, x)))
        side_by_side = [torch.cat([states[v] for v in self.sources[last]], 1)] if self.sources[last] else []
        return self._with_input(side_by_side, last, x)

    def _with_input(self, terms: list[Tensor], at: int, x: Tensor) -> Tensor:
        if str(at) in self.projections:
            terms = [*terms, self.projections[str(at)](x)]
        return torch.stack(terms).sum(0)


def vertex_channels(matrix: Matrix, outputs: int) -> list[int]:
    """Channels of each vertex, of the output `outputs`; that of the input is nobody's business here.

    Those that lead to the output have equal shares, the first ones one more where it does not come out even; any other has as
    many as the widest that it leads to.
    """
    last = len(matrix) - 1
    widths = [0] * last + [outputs]
    sharing = [v for v in range(1, last) if matrix[v][last]]
    for place, v in enumerate(sharing):
        widths[v] = outputs // len(sharing) + (place < outputs % len(sharing))
    for v in range(last - 1, 0, -1):
        if not matrix[v][last]:
            widths[v] = max(widths[to] for to in range(v + 1, last) if matrix[v][to])
    return widths


def _operation(name: str, channels: int) -> nn.Module:
    if name == "maxpool3x3":
        return nn.MaxPool2d(3, 1, padding=1)
    return _conv(channels, channels, 3 if "3x3" in name else 1)


def _conv(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    """Convolution, batch norm, ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )
