"""Networks for phones: four stages of MobileNetV2's blocks (Sandler et al. 2018), each with its expansion, kernel and depth.

MnasNet (Tan et al. 2019, arXiv:1807.11626) and Once-for-All (Cai et al. 2020, arXiv:1908.09791) search these. The width of all
layers and the resolution are decided with them, as in MobileNetV2's table 4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from search_spaces._base import Task
from search_spaces._choices import Choices
from search_spaces._inverted_residual import InvertedResidual, conv_bn_relu

__all__ = ["Mobile"]

# Once-for-All's options (its section 4.1), and depth from 1: a stage of one block is what a microcontroller can afford.
_EXPANSIONS = {"3": 3, "4": 4, "6": 6}
_KERNELS = {"3": 3, "5": 5, "7": 7}
_DEPTHS = {"1": 1, "2": 2, "3": 3, "4": 4}
_WIDTHS = {"0.5": 0.5, "0.75": 0.75, "1": 1.0, "1.5": 1.5}
"""Times `channels`; MobileNetV2's multipliers, without the smallest."""
_RESOLUTIONS = {"0.5": 0.5, "0.75": 0.75, "1": 1.0}
"""Share of the image's side."""
_STAGES = (1, 2, 4, 8)
"""Width of each stage, times the multiplier and `channels`. Each but the first halves the image."""
_HEAD = 16
"""Width of the last 1x1 convolution, twice the last stage's or more, as MobileNetV2's is four times."""
_DIVISOR = 8
"""All widths are multiples of it, which devices compute in whole blocks (MobileNetV2's `make_divisible`)."""
_SMALLEST = 8
"""Side below which images are not scaled: three stages halve it."""


@dataclass(frozen=True)
class Mobile(Choices):
    """Width and resolution of the network; expansion, kernel and depth of each of four stages: 20,155,392 networks, all valid.

    The network scales its images itself, so that what is exported takes images as they are.
    """

    channels: int = 16
    """Width of the first stage, before it is multiplied; MobileNetV2's own is 16."""

    options: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "width": _WIDTHS,
        "resolution": _RESOLUTIONS,
        **{
            f"stage {stage} {what}": values
            for stage in range(1, len(_STAGES) + 1)
            for what, values in (("expansion", _EXPANSIONS), ("kernel", _KERNELS), ("depth", _DEPTHS))
        },
    }

    @property
    def name(self) -> str:
        return "mobile"

    @property
    def first_archs(self) -> Tensor:
        """MobileNetV2's own: expansion 6, 3x3 kernels, depths 1 to 4, of the full size and of half the width."""
        rows = []
        for width in ("1", "0.5"):
            depths = ("1", "2", "3", "4")
            stages = [
                f"stage {s} expansion=6, stage {s} kernel=3, stage {s} depth={d}" for s, d in enumerate(depths, 1)
            ]
            rows.append(self.parse(", ".join([f"width={width}", "resolution=1", *stages])))
        return torch.stack(rows)

    def network(self, picked: dict[str, Any], task: Task) -> nn.Module:
        def width(times: float) -> int:
            return max(_DIVISOR, _DIVISOR * round(times * self.channels * picked["width"] / _DIVISOR))

        channels = width(1)
        layers: list[nn.Module] = [
            _Scaled(task.input_shape[1:], picked["resolution"]), conv_bn_relu(task.input_shape[0], channels, 3),
        ]  # fmt: skip
        for stage, times in enumerate(_STAGES, 1):
            expansion, kernel, depth = (picked[f"stage {stage} {what}"] for what in ("expansion", "kernel", "depth"))
            for block in range(depth):
                stride = 2 if stage > 1 and block == 0 else 1
                layers.append(InvertedResidual(channels, width(times), expansion, kernel, stride))
                channels = width(times)
        head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width(_HEAD), task.num_classes)]
        return nn.Sequential(*layers, conv_bn_relu(channels, width(_HEAD), 1), *head)


class _Scaled(nn.Module):
    """Images `[N, C, H, W]` scaled to a share of their sides, between the nearest four pixels."""

    def __init__(self, sides: tuple[int, ...], share: float):
        super().__init__()
        self.sides = tuple(side if share == 1 else min(side, max(_SMALLEST, round(share * side))) for side in sides)
        self.same = self.sides == tuple(sides)

    def forward(self, x: Tensor) -> Tensor:
        if self.same:
            return x
        return nn.functional.interpolate(x, self.sides, mode="bilinear", align_corners=False)
