"""RandAugment (Cubuk et al. 2020, arXiv:1909.13719) of a whole batch on its device, by counter-based noise.

Each image has two operations drawn from the paper's 14, all of one magnitude. The two geometric ones become one affine map,
sampled once and after the changes of color: one interpolation blurs less than two. Magnitudes and ranges are those of
torchvision's `RandAugment`, colors change as in PIL. `kornia` has it too, but draws from PyTorch's global generator, which
trainings side by side share, and draws the same operations for a whole batch.

Shapes: `N` images, `C` channels, `R` operations of an image.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

_MOVES = ("shear_x", "shear_y", "translate_x", "translate_y", "rotate")
_COLORS = ("brightness", "color", "contrast", "sharpness", "posterize", "solarize", "autocontrast", "equalize")
OPERATIONS = ("identity", *_MOVES, *_COLORS)
ROUNDS = 2
"""Operations of an image: N = 2 of the paper's table 4 for most networks there, and torchvision's default."""
MOST = 30
"""The largest magnitude."""
DRAWS = 2 * ROUNDS
"""Uniform numbers that an image needs: which operation, and to which side, in each round."""
_SHEAR, _TRANSLATE, _ROTATE, _BLEND = 0.3, 150 / 331, 30.0, 0.9
"""What magnitude 30 stands for: a slope, a share of the side, degrees, and the change of a factor of 1."""
_LEVELS = 256


def drawn(draw_DN: Tensor) -> tuple[Tensor, Tensor]:
    """Operations int64 `[R, N]` and sides -1 or 1 `[R, N]`, of uniform numbers `[DRAWS, N]`."""
    return (draw_DN[:ROUNDS] * len(OPERATIONS)).long(), 2 * (draw_DN[ROUNDS:] < 0.5).float() - 1


def recolored(x: Tensor, operations_RN: Tensor, sides_RN: Tensor, magnitude: int) -> Tensor:
    """Pixels `[N, C, H, W]` of [0, 1] after the operations that change colors."""
    x = x.clone()
    for operations_N, sides_N in zip(operations_RN, sides_RN):
        for name, change in _CHANGES.items():
            at = (operations_N == OPERATIONS.index(name)).nonzero()[:, 0]
            if len(at):
                x[at] = change(x[at], magnitude / MOST * sides_N[at].view(-1, 1, 1, 1)).clamp(0, 1)
    return x


def moved(operations_RN: Tensor, sides_RN: Tensor, magnitude: int, aspect: float) -> Tensor:
    """The affine map `[N, 3, 3]` of the operations that move pixels: of coordinates -1 to 1 in the image made, to those in `x`.

    `aspect` is the height by the width.
    """
    maps = torch.eye(3, device=operations_RN.device).expand(operations_RN.shape[1], 3, 3)
    for operations_N, sides_N in zip(operations_RN, sides_RN):
        part = magnitude / MOST * sides_N

        def of(name: str, most: float, operations_N=operations_N, part=part) -> Tensor:
            return torch.where(operations_N == OPERATIONS.index(name), most * part, 0.0)

        # Of -1 to 1 the side is 2.
        across, down = of("translate_x", 2 * _TRANSLATE), of("translate_y", 2 * _TRANSLATE)
        angle, one, zero = of("rotate", torch.pi * _ROTATE / 180), torch.ones_like(part), torch.zeros_like(part)
        rows = [one, of("shear_x", _SHEAR), across, of("shear_y", _SHEAR), one, down, zero, zero, one]
        # An image has one operation a round, so that of these two at most one is not the identity.
        maps = maps @ torch.stack(rows, 1).view(-1, 3, 3) @ rotation(angle, aspect)
    return maps


def rotation(angle: Tensor, aspect: float) -> Tensor:
    """The maps `[N, 3, 3]` that turn by `angle` `[N]`, in radians, images of the aspect height by width."""
    cos, sin, zero, one = angle.cos(), angle.sin(), torch.zeros_like(angle), torch.ones_like(angle)
    # Both sides run from -1 to 1 whatever their lengths, so that lengths enter here.
    return torch.stack([cos, -aspect * sin, zero, sin / aspect, cos, zero, zero, zero, one], 1).view(-1, 3, 3)


def _gray(x: Tensor) -> Tensor:
    """Luma, ITU-R 601, as PIL has it; the image itself where it has another number of channels than three."""
    if x.shape[1] != 3:
        return x.mean(1, keepdim=True)
    return (x * x.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)


def _blend(toward: Tensor, x: Tensor, part: Tensor) -> Tensor:
    """PIL's `ImageEnhance`: away from a degenerate image, or toward it."""
    return toward + (1 + _BLEND * part) * (x - toward)


def _smooth(x: Tensor) -> Tensor:
    """PIL's `SMOOTH` filter; the border stays."""
    kernel = x.new_tensor([[1, 1, 1], [1, 5, 1], [1, 1, 1]]).expand(x.shape[1], 1, 3, 3) / 13
    return F.pad(F.conv2d(x, kernel, groups=x.shape[1]), (1,) * 4) + x * _border(x)


def _border(x: Tensor) -> Tensor:
    return F.pad(torch.zeros_like(x[..., 2:, 2:]), (1,) * 4, value=1.0)


def _posterize(x: Tensor, part: Tensor) -> Tensor:
    # Bits that are left: from 8 at magnitude 0 to 4 at the largest.
    step = 2.0 ** (part.abs() * 4).round()
    return ((x * 255).round() / step).floor() * step / 255


def _autocontrast(x: Tensor, part: Tensor) -> Tensor:
    low, high = x.amin((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
    return torch.where(high > low, (x - low) / (high - low).clamp(min=1e-6), x)


def _equalize(x: Tensor, part: Tensor) -> Tensor:
    """Of each channel, values by the number of darker pixels, as PIL's `ImageOps.equalize` rounds them."""
    values = (x * 255).round().long().flatten(2)
    count = torch.zeros(*values.shape[:2], _LEVELS, device=x.device)
    count = count.scatter_add_(2, values, torch.ones_like(values, dtype=count.dtype))
    darker = (count.cumsum(2) - count).gather(2, values)
    brightest = count.gather(2, values.amax(2, keepdim=True))
    # Pixels for each of 255 steps of value; none where few pixels have another value than the brightest.
    step = ((values.shape[2] - brightest) / (_LEVELS - 1)).floor()
    equal = ((step / 2).floor() + darker).div(step.clamp(min=1)).floor() / (_LEVELS - 1)
    return torch.where(step > 0, equal, x.flatten(2)).view(x.shape)


_CHANGES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "brightness": lambda x, part: _blend(torch.zeros_like(x), x, part),
    "color": lambda x, part: _blend(_gray(x), x, part),
    "contrast": lambda x, part: _blend(_gray(x).mean((2, 3), keepdim=True), x, part),
    "sharpness": lambda x, part: _blend(_smooth(x), x, part),
    "posterize": _posterize,
    "solarize": lambda x, part: torch.where(x >= 1 - part.abs(), 1 - x, x),
    "autocontrast": _autocontrast,
    "equalize": _equalize,
}
