"""The backbone of few-shot learning: four blocks of convolution, batch norm, ReLU and halving; 1,000 architectures.

With 64 filters in each block it is the Conv-4 of Vinyals et al. 2016 (arXiv:1606.04080, section 4.1) and Snell et al. 2017, which
halve by max-pooling. Finn et al. 2017 (arXiv:1703.03400, section 5.2) halve by strided convolutions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from search_spaces import _ops
from search_spaces._base import OperationFeatures, Task, UserError

__all__ = ["Conv4"]

_WIDTHS = (16, 32, 48, 64)
_BLOCKS = 4
_HALVINGS = ("max_pool", "stride")
_NONE = "none"
_WIDEST = 4.174
"""log(65), so that 64 filters have about 1, as `OperationFeatures.number` asks for."""


def _width_features(width: int) -> OperationFeatures:
    return OperationFeatures(convolution=1.0, kernel=1.0, number=float(torch.tensor(1.0 + width).log() / _WIDEST))


def block(inputs: int, outputs: int, stride: int, pool: bool) -> nn.Sequential:
    """A 3x3 convolution, batch norm, ReLU, and perhaps max-pooling by 2."""
    layers = [
        nn.Conv2d(inputs, outputs, 3, stride, padding=1),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    ]
    return nn.Sequential(*layers, *([nn.MaxPool2d(2)] if pool else []))


class Conv4Network(nn.Module):
    """Blocks and a linear head; images `[N, *task.input_shape]` to logits `[N, num_classes]`."""

    def __init__(self, task: Task, widths: list[int], halving: str):
        super().__init__()
        channels, height, width = task.input_shape
        blocks = []
        for inputs, outputs in zip([channels, *widths], widths):
            strided = halving == "stride"
            # A side of 1 cannot be pooled: small images keep it.
            pool = not strided and min(height, width) > 1
            blocks.append(block(inputs, outputs, 2 if strided else 1, pool))
            if strided:
                height, width = -(-height // 2), -(-width // 2)
            elif pool:
                height, width = height // 2, width // 2
        self.body = nn.Sequential(*blocks)
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(widths[-1] * height * width, task.num_classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


@dataclass(frozen=True)
class Conv4:
    """The width of each block, or none of the last three, and how all halve the image."""

    name = "conv4"
    decisions = (*(f"block {i + 1}" for i in range(_BLOCKS)), "halving")
    operations = (
        tuple(f"width_{w}" for w in _WIDTHS),
        *((_NONE, *(f"width_{w}" for w in _WIDTHS)),) * (_BLOCKS - 1),
        _HALVINGS,
    )
    choices = tuple(map(len, operations))
    operation_features = (
        tuple(map(_width_features, _WIDTHS)),
        *((OperationFeatures(none=1.0), *map(_width_features, _WIDTHS)),) * (_BLOCKS - 1),
        (OperationFeatures(pooling=1.0), OperationFeatures(other=1.0)),
    )
    all_valid = True

    def valid(self, archs: Tensor) -> Tensor:
        return _ops.in_range(archs, self.choices)

    def canonical(self, archs: Tensor) -> Tensor:
        """Blocks that are not there come last: their place changes nothing."""
        rest = archs[..., 1:_BLOCKS]
        order = (rest == 0).long().argsort(dim=-1, stable=True)
        return torch.cat([archs[..., :1], rest.gather(-1, order), archs[..., _BLOCKS:]], -1)

    def build(self, arch: Tensor, task: Task) -> nn.Module:
        return Conv4Network(task, [w for w in self._widths(arch) if w], _HALVINGS[int(arch[-1])])

    def describe(self, arch: Tensor) -> str:
        """Widths, 0 for a block that is not there, and the halving, as `64:64:64:64:max_pool`."""
        return ":".join([*map(str, self._widths(arch)), _HALVINGS[int(arch[-1])]])

    def parse(self, text: str) -> Tensor:
        parts = text.strip().split(":")
        if len(parts) != _BLOCKS + 1:
            raise UserError(f"Architecture '{text}' has {len(parts)} parts; it takes 5, as in '64:64:64:64:max_pool'.")
        arch = []
        for place, (part, operations) in enumerate(zip(parts, self.operations)):
            # By the text and not as a number: `064` is no width.
            names = [name.removeprefix("width_").replace(_NONE, "0") for name in operations]
            if part not in names:
                raise UserError(
                    f"{self.decisions[place].capitalize()} of architecture '{text}' is '{part}'; there are: {', '.join(names)}."
                )
            arch.append(names.index(part))
        return torch.tensor(arch)

    @staticmethod
    def _widths(arch: Tensor) -> list[int]:
        first, *rest = arch[:_BLOCKS].tolist()
        return [_WIDTHS[first], *((0, *_WIDTHS)[choice] for choice in rest)]
