"""NAS-Bench-Macro's space (Su et al. 2021, arXiv:2103.11922, appendix A): eight layers of three kinds, 6,561 networks."""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from search_spaces import _cell_costs, _ops
from search_spaces._base import OperationFeatures, Task, UserError
from search_spaces._inverted_residual import InvertedResidual, conv_bn_relu

__all__ = ["NasBenchMacro"]

_FEATURES = {
    "identity": OperationFeatures(identity=1.0),
    "mb3_3x3": OperationFeatures(convolution=1.0, kernel=1.0, number=float(torch.tensor(4.0).log() / 4.174)),
    "mb6_5x5": OperationFeatures(convolution=1.0, kernel=25 / 9, number=float(torch.tensor(7.0).log() / 4.174)),
}
"""The number is the expansion; 4.174 = log(65)."""
_OPERATIONS = tuple(_FEATURES)
_STAGES = (2, 3, 3)
"""Layers; the first of each stage halves the image and doubles the width."""
_LAYERS = sum(_STAGES)


@dataclass(frozen=True)
class NasBenchMacro:
    """Each layer nothing, or MobileNetV2's block of expansion 3 and kernel 3, or of 6 and 5."""

    channels: int = 32
    """Of the stem; the stages have twice, four and eight times that."""
    head: int = 1280
    """Channels of the last 1x1 convolution."""

    name = "nasbench-macro"
    choices = (len(_OPERATIONS),) * _LAYERS
    decisions = tuple(f"layer {layer}" for layer in range(1, _LAYERS + 1))
    operations = (_OPERATIONS,) * _LAYERS
    operation_features = (tuple(_FEATURES.values()),) * _LAYERS

    def valid(self, archs: Tensor) -> Tensor:
        return _ops.in_range(archs, self.choices)

    def canonical(self, archs: Tensor) -> Tensor:
        """Layers that are nothing come last in their stage: the others do the same in the same order.

        Not the first of a stage, which halves the image.
        """
        parts, first = [], 0
        for layers in _STAGES:
            rest = archs[..., first + 1 : first + layers]
            order = (rest == 0).to(torch.int8).argsort(dim=-1, stable=True)
            parts += [archs[..., first : first + 1], rest.gather(-1, order)]
            first += layers
        return torch.cat(parts, -1)

    def build(self, arch: Tensor, task: Task) -> nn.Module:
        channels, rest = self.channels, iter(arch.tolist())
        layers: list[nn.Module] = [conv_bn_relu(task.input_shape[0], channels, 3)]
        for stage in _STAGES:
            for layer in range(stage):
                outputs, stride = (2 * channels, 2) if layer == 0 else (channels, 1)
                layers.append(_layer(_OPERATIONS[next(rest)], channels, outputs, stride))
                channels = outputs
        head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(self.head, task.num_classes)]
        return nn.Sequential(*layers, conv_bn_relu(channels, self.head, 1), *head)

    def describe(self, arch: Tensor) -> str:
        """The benchmark's digits, as `01201120`."""
        return "".join(str(c) for c in arch.tolist())

    def parse(self, text: str) -> Tensor:
        if not re.fullmatch(rf"[0-2]{{{_LAYERS}}}", text.strip()):
            meanings = ", ".join(f"{i} ({name})" for i, name in enumerate(_OPERATIONS))
            raise UserError(f"Architecture '{text}' takes {_LAYERS} digits, as '01201120': {meanings}.")
        return torch.tensor([int(digit) for digit in text.strip()])

    def cost(self, archs: Tensor, task: Task) -> tuple[Tensor, Tensor]:
        """Parameters and FLOPs (multiply-accumulates of one image) of `archs` `[..., D]`, int64 `[...]` each."""
        return _cell_costs.additive_cost(self, archs, task)


def _layer(name: str, inputs: int, outputs: int, stride: int) -> nn.Module:
    if name == "identity":
        if stride == 1 and inputs == outputs:
            return nn.Identity()
        return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
    return InvertedResidual(inputs, outputs, int(name[2]), int(name[-1]), stride)
