"""TransNAS-Bench-101's macro space (Duan et al. 2021, arXiv:2105.11871): four to six modules of four kinds, 3,256 skeletons."""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from search_spaces import _cells, _ops, _transnas
from search_spaces._base import OperationFeatures, Task, UserError

__all__ = ["TransNasMacro"]

_FEATURES = {
    "absent": OperationFeatures(none=1.0),
    "normal": OperationFeatures(convolution=1.0, kernel=1.0),
    # The number is how often the width is doubled, and pooling stands for half the size.
    "wider": OperationFeatures(convolution=1.0, kernel=1.0, number=float(torch.tensor(2.0).log() / 4.174)),
    "smaller": OperationFeatures(convolution=1.0, kernel=1.0, pooling=1.0),
    "wider, smaller": OperationFeatures(
        convolution=1.0, kernel=1.0, pooling=1.0, number=float(torch.tensor(2.0).log() / 4.174)
    ),
}
"""In the order of the benchmark's digits; 0 for a module that is not there. 4.174 = log(65)."""
_KINDS = tuple(_FEATURES)
_MODULES = (4, 6)
_WIDER, _SMALLER = (2, 4), (3, 4)
_MOST_WIDER, _MOST_SMALLER = 3, 4
"""Width is doubled once or more and at most so often, and so is the size halved (the paper, section 3.1)."""


@dataclass(frozen=True)
class TransNasMacro:
    """Of each module what it does to width and size; modules that are absent come last.

    A module is two residual blocks of 3x3 convolutions, of which the first changes width and size.
    """

    channels: int = 64
    """Width of the stem, the benchmark's."""
    stem_stride: int = 4
    """1, 2 or 4: how often the stem's two convolutions halve the image; the benchmark's images are large."""

    name = "transnas-macro"
    choices = (len(_KINDS),) * _MODULES[1]
    decisions = tuple(f"module {module}" for module in range(1, _MODULES[1] + 1))
    operations = (_KINDS,) * _MODULES[1]
    operation_features = (tuple(_FEATURES.values()),) * _MODULES[1]

    def valid(self, archs: Tensor) -> Tensor:
        there = archs > 0
        in_front = (there[..., :-1] | ~there[..., 1:]).all(-1) & (there.sum(-1) >= _MODULES[0])
        wider, smaller = (sum((archs == kind).sum(-1) for kind in kinds) for kinds in (_WIDER, _SMALLER))
        found = _ops.in_range(archs, self.choices) & in_front
        return found & (wider >= 1) & (wider <= _MOST_WIDER) & (smaller >= 1) & (smaller <= _MOST_SMALLER)

    def canonical(self, archs: Tensor) -> Tensor:
        """Itself: no two skeletons are one network."""
        return archs

    def build(self, arch: Tensor, task: Task) -> nn.Module:
        return _Network(arch.tolist(), task, self)

    def describe(self, arch: Tensor) -> str:
        """The benchmark's string, as `64-1234-basic`."""
        digits = "".join(str(c) for c in arch.tolist() if c)
        return f"{self.channels}-{digits}-basic"

    def parse(self, text: str) -> Tensor:
        match = re.fullmatch(r"(?:\d+-)?([1-4]{4,6})(?:-basic)?", text.strip())
        found = torch.tensor([int(digit) for digit in match[1].ljust(_MODULES[1], "0")] if match else [0] * _MODULES[1])
        if not self.valid(found):
            raise UserError(
                f"Architecture '{text}' takes 4 to 6 digits, as in '64-1234-basic': 1 normal, 2 wider, 3 smaller, 4 both; 1 to "
                f"{_MOST_WIDER} of them wider and 1 to {_MOST_SMALLER} smaller."
            )
        return found


class _Network(nn.Module):
    """Images `[N, *task.input_shape]` to logits `[N, num_classes]`."""

    def __init__(self, kinds: list[int], task: Task, space: TransNasMacro):
        super().__init__()
        self.stem = _transnas.stem(task, space.channels, space.stem_stride)
        blocks, width = [], space.channels
        for kind in filter(None, kinds):
            inputs, width = width, width * (2 if kind in _WIDER else 1)
            blocks += [_Block(inputs, width, 2 if kind in _SMALLER else 1), _Block(width, width, 1)]
        self.body = nn.Sequential(*blocks)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, task.num_classes))
        _transnas.initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(self.stem(x)))


class _Block(nn.Module):
    """Two 3x3 convolutions beside a skip, which is a 1x1 convolution where width or size change."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.conv_a = _cells.ReluConvBn(inputs, outputs, 3, stride)
        self.conv_b = _cells.ReluConvBn(outputs, outputs, 3)
        same = stride == 1 and inputs == outputs
        changed = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        self.skip = nn.Identity() if same else changed

    def forward(self, x: Tensor) -> Tensor:
        return self.skip(x) + self.conv_b(self.conv_a(x))
