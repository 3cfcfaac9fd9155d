"""Corrupted images: noise, blur, contrast and occlusion, two strengths each; the same images always give the same.

The kinds are those of Hendrycks & Dietterich 2019 ("Benchmarking neural network robustness to common corruptions and
perturbations") that make sense at 16x16 pixels, and the occlusion of DeVries & Taylor 2017. Images are uint8 `[N, C, H, W]`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from search_spaces import _noise

# Of random numbers, apart from those that training draws.
_NOISE_STREAM = 11
_OCCLUSION_STREAM = 12
_DEVIATION = {1: 15.0, 2: 40.0}
"""Of the noise, in the 255 of a byte. All strengths below are chosen so that the first costs a trained network a few points of
accuracy and the second about a third of what it has above chance (digits and cifar10, `runs/many_tasks.sh`)."""
_PASSES = {1: 1, 2: 3}
"""Of the blur's filter."""
_CONTRAST = {1: 0.7, 2: 0.4}
"""What is left of it."""
_SIDE = {1: 0.375, 2: 0.625}
"""Of the square that hides pixels, as a share of the image's shorter side."""


def noise(x: Tensor, strength: int) -> Tensor:
    """Gaussian noise on every value."""
    normal = _noise.normal(torch.tensor([strength]), 0, *x.shape, stream=_NOISE_STREAM)[0]
    return _byte(x.float() + _DEVIATION[strength] * normal)


def blur(x: Tensor, strength: int) -> Tensor:
    """The binomial filter (1, 2, 1) / 4 along both axes, once or three times; edges are repeated."""
    weight = torch.tensor([0.25, 0.5, 0.25])
    kernel = (weight[:, None] * weight).expand(x.shape[1], 1, 3, 3)
    y = x.float()
    for _ in range(_PASSES[strength]):
        y = F.conv2d(F.pad(y, (1, 1, 1, 1), mode="replicate"), kernel, groups=x.shape[1])
    return _byte(y)


def contrast(x: Tensor, strength: int) -> Tensor:
    """Every value drawn towards the mean of its image's channel."""
    mean = x.float().mean((2, 3), keepdim=True)
    return _byte(mean + _CONTRAST[strength] * (x.float() - mean))


def occlusion(x: Tensor, strength: int) -> Tensor:
    """A square at a random place, filled with the mean of its image's channel."""
    N, _, H, W = x.shape
    side = max(1, round(_SIDE[strength] * min(H, W)))
    draw = _noise.uniform(torch.tensor([strength]), 0, 2, N, stream=_OCCLUSION_STREAM)[0]
    top, left = ((draw[i] * (n - side + 1)).long()[:, None] for i, n in enumerate((H, W)))
    rows, columns = torch.arange(H) - top, torch.arange(W) - left
    hidden = ((rows >= 0) & (rows < side))[:, :, None] & ((columns >= 0) & (columns < side))[:, None, :]
    mean = x.float().mean((2, 3), keepdim=True)
    return _byte(torch.where(hidden[:, None], mean, x.float()))


KINDS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "noise": noise, "blur": blur, "contrast": contrast, "occlusion": occlusion,
}  # fmt: skip
STRENGTHS = (1, 2)


def corrupt_all(x: Tensor) -> dict[str, Tensor]:
    """The images under every kind and strength, by names as `noise_1`."""
    return {f"{kind}_{s}": worse(x, s) for kind, worse in KINDS.items() for s in STRENGTHS}


def _byte(x: Tensor) -> Tensor:
    return x.round().clamp(0, 255).byte()
