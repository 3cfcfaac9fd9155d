"""NATS-Bench's size space (Dong et al. 2021, arXiv:2009.00437): five widths around one fixed cell, 8^5 architectures."""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from search_spaces import _cells, _ops
from search_spaces._base import OperationFeatures, Task, UserError

__all__ = ["NatsBenchSize"]

_WIDTHS = tuple(range(8, 65, 8))
_CELL = ("nor_conv_3x3", "nor_conv_3x3", "nor_conv_3x3", "skip_connect", "nor_conv_3x3", "nor_conv_3x3")
"""The best cell of the topology space on CIFAR-100, which the benchmark fixes here."""


def _width_features(width: int) -> OperationFeatures:
    """A 3x3 convolution of so many channels; in float32, as the networks of the shipped prior were trained with."""
    log_width = float(torch.tensor(1.0 + width).log() / 4.174)  # 4.174 = log(65), so that 64 channels have about 1.
    return OperationFeatures(convolution=1.0, kernel=1.0, number=log_width)


@dataclass(frozen=True)
class NatsBenchSize:
    """Widths of cell, residual block, cell, residual block, cell; choice `i` is 8(i + 1) channels."""

    name = "natsbench-size"
    choices = (len(_WIDTHS),) * 5
    decisions = tuple(f"stage {stage}" for stage in range(5))
    operations = (tuple(f"width_{w}" for w in _WIDTHS),) * 5
    operation_features = (tuple(map(_width_features, _WIDTHS)),) * 5

    def valid(self, archs: Tensor) -> Tensor:
        return _ops.in_range(archs, self.choices)

    def canonical(self, archs: Tensor) -> Tensor:
        return archs

    def build(self, arch: Tensor, task: Task) -> nn.Module:
        widths = [_WIDTHS[c] for c in arch.tolist()]
        body: list[nn.Module] = []
        for layer, (inputs, outputs) in enumerate(zip([widths[0], *widths], widths)):
            halves = layer in (1, 3)
            body.append(_cells.ResidualBlock(inputs, outputs) if halves else _cells.Cell(_CELL, inputs, outputs))
        return _cells.CellNetwork(task, widths[0], body, widths[-1])

    def describe(self, arch: Tensor) -> str:
        """The benchmark's string, as `64:48:8:32:64`."""
        return ":".join(str(_WIDTHS[c]) for c in arch.tolist())

    def parse(self, text: str) -> Tensor:
        widths = text.strip().split(":")
        if len(widths) != len(self.choices):
            raise UserError(f"Architecture '{text}' has {len(widths)} widths; it takes 5, as in '64:48:8:32:64'.")
        for stage, width in enumerate(widths):
            if not re.fullmatch(r"\d+", width) or int(width) not in _WIDTHS:
                raise UserError(
                    f"Stage {stage} of architecture '{text}' has width '{width}'; there are: {', '.join(map(str, _WIDTHS))}."
                )
        return torch.tensor([_WIDTHS.index(int(width)) for width in widths])

    def cost(self, archs: Tensor, task: Task) -> tuple[Tensor, Tensor]:
        """Parameters and FLOPs in closed form, as `NasBench201.cost` counts them."""
        channels, height, width = task.input_shape
        widths = torch.tensor(_WIDTHS)[archs].unbind(-1)
        params = (9 * channels + 2) * widths[0]
        flops = 9 * channels * height * width * widths[0]
        for layer, (inputs, outputs) in enumerate(zip([widths[0], *widths], widths)):
            changes = (inputs != outputs).long()
            if layer in (1, 3):  # A residual block: two 3x3 convolutions beside a 1x1 one, at half the size.
                height, width = -(-height // 2), -(-width // 2)
                weights, norms = (10 * inputs + 9 * outputs) * outputs, 2 * 2 * outputs
            else:  # The cell: two 3x3 convolutions of the input and three of what they give; a skip where the width changes.
                weights = (2 * 9 * inputs + 3 * 9 * outputs + changes * inputs) * outputs
                norms = (5 + changes) * 2 * outputs
            params, flops = params + weights + norms, flops + weights * height * width
        classes = task.num_classes
        return params + (2 + classes) * widths[-1] + classes, flops + classes * widths[-1]
