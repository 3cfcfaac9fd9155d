"""Datasets: images in splits, and how they are brought to one size."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from nas.datasets.pixel_scale import PixelScale
from search_spaces import _noise

LARGEST = 32
"""Images are scaled down to this side unless another is asked for: the size of CIFAR, which the prior's tables were trained on
and which a CPU can train."""

_STRETCHED = 8
"""Times its width that an image is scaled as a whole; a longer one is cut first, which could change the last bit of a pixel."""


class DataSet(NamedTuple):
    """Images uint8 `[N, C, H, W]`, labels int64 `[N]` from 0, in three splits."""

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
    notes: tuple[str, ...] = ()
    """What a user should know: where the splits come from, what was left out."""
    deep: PixelScale | None = None
    """Of images with more than 8 bits a channel; None: there were none."""
    valid_held_out: bool = False
    """Whether the validation split was held out of the data's own training split, as any other part of it could be."""


class RawData(NamedTuple):
    """A reader's result: for each split, images uint8 `[N, C, H, W]` and labels, any whole numbers."""

    splits: dict[str, tuple[Tensor, Tensor]]
    """`train`, and perhaps `valid` and `test`."""
    class_names: tuple[str, ...] | None
    """By rank of label; None: the labels themselves."""
    notes: tuple[str, ...] = ()
    """What is not used, and why."""
    origins: dict[str, str] = {}
    """What the data call each split that they bring, `test` as `x_test`."""
    deep: PixelScale | None = None
    """Of images with more than 8 bits a channel; None: there were none."""


def resize(x: Tensor, side: int | None) -> Tensor:
    """Images of arrays, uint8 `[N, C, H, W]`, with a shorter side of `side`, cut to the middle square; None: at most 32.

    Image files are resized one by one by Pillow (`nas.image_reading`), so that a user can repeat it. The two differ by one of 255
    levels at most; arrays keep torch's, which the shipped tables were measured with.
    """
    height, width = x.shape[2:]
    side = min(height, width, LARGEST) if side is None else side
    if (height, width) == (side, side):
        return x
    if max(height, width) > _STRETCHED * min(height, width):
        # Only the middle square is left in the end: a line of pixels must not be scaled up as a whole.
        x = _middle(x, 3 * min(height, width))
        height, width = x.shape[2:]
    scale = side / min(height, width)
    size = (max(side, round(height * scale)), max(side, round(width * scale)))
    # In parts: as float32 a whole dataset of large images would not fit in memory. Antialiasing, or thin strokes vanish.
    parts = [
        torch.nn.functional.interpolate(part.float(), size, mode="bilinear", antialias=True, align_corners=False)
        for part in x.split(1024)
    ]
    return _middle(torch.cat(parts), side).round().clamp(0, 255).byte()


def _middle(x: Tensor, side: int) -> Tensor:
    height, width = min(side, x.shape[2]), min(side, x.shape[3])
    top, left = (x.shape[2] - height) // 2, (x.shape[3] - width) // 2
    return x[..., top : top + height, left : left + width]


def pick(count: int, size: int | None) -> Tensor:
    """The indices of `size` of `count` examples that stand for all, int64 `[size]`: always the same; None: all."""
    # The first of one fixed order: a smaller sample is part of a larger. The seed 7 has no other reason than to be fixed.
    return _noise.bits(torch.tensor([7]), 0, count)[0].argsort()[:size]
