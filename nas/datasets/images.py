"""Pictures in splits, and how they are brought to one size."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from search_spaces import _noise

LARGEST = 32
"""Pictures are cut down to this side unless another is asked for."""


class DataSet(NamedTuple):
    """Pictures uint8 `[N, C, H, W]`, labels int64 `[N]` from 0, in three splits."""

    name: str
    x_train: Tensor
    y_train: Tensor
    x_valid: Tensor
    y_valid: Tensor
    x_test: Tensor
    y_test: Tensor
    class_names: tuple[str, ...]
    mean: Tensor
    """float32 `[C]` of x / 255 over the training split, as the next."""
    std: Tensor


class RawData(NamedTuple):
    """What a reader brings: for each split it has, pictures uint8 `[N, C, H, W]` and labels, any whole numbers."""

    splits: dict[str, tuple[Tensor, Tensor]]
    """`train`, and perhaps `valid` and `test`."""
    class_names: tuple[str, ...] | None
    """By rank of label; None: the labels themselves."""


def resize(x: Tensor, side: int | None) -> Tensor:
    """Pictures uint8 `[N, C, H, W]` with a shorter side of `side`, cut to the middle square; None: their own, at most 32."""
    height, width = x.shape[2:]
    side = min(height, width, LARGEST) if side is None else side
    if (height, width) == (side, side):
        return x
    scale = side / min(height, width)
    size = (max(side, round(height * scale)), max(side, round(width * scale)))
    parts = [
        torch.nn.functional.interpolate(part.float(), size, mode="bilinear", antialias=True, align_corners=False)
        for part in x.split(1024)
    ]
    top, left = (size[0] - side) // 2, (size[1] - side) // 2
    return torch.cat(parts)[..., top : top + side, left : left + side].round().clamp(0, 255).byte()


def pick(count: int, kept: int | None) -> Tensor:
    """Which `kept` of `count` examples stand for all, int64 `[kept]`: the same ones always; None keeps all."""
    return _noise.bits(torch.tensor([7]), 0, count)[0].argsort()[:kept]
