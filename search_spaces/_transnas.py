"""What the networks of TransNAS-Bench-101's two spaces share (Duan et al. 2021): the stem, the initial weights."""

from __future__ import annotations

from torch import nn

from search_spaces import _cells
from search_spaces._base import Task


def stem(task: Task, channels: int, stride: int) -> nn.Sequential:
    """Images to `channels`; `stride` 1, 2 or 4 says how often its two convolutions halve the image."""
    half = channels // 2
    strides = 2 if stride > 1 else 1, 2 if stride > 2 else 1
    return nn.Sequential(
        nn.Conv2d(task.input_shape[0], half, 3, strides[0], padding=1, bias=False),
        nn.BatchNorm2d(half),
        _cells.ReluConvBn(half, channels, 3, stride=strides[1]),
    )


def initialize(network: nn.Module) -> None:
    """Draw the convolutions' weights as the benchmark does."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
