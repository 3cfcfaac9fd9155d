"""Augmentation of a whole batch on its device: random crops, mirrors and cut-outs, as the recipe says."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.training.recipe import Images, Recipe
from search_spaces import _noise

_SAFE = 0.9
"""Share of the hits of the images themselves that mirrored images must keep; not ablated."""


def batch(x: Tensor, recipe: Recipe, step: int) -> Tensor:
    """The batch `[N, C, H, W]` of a step, augmented; a function of the recipe's seed and the step."""
    if not (recipe.crop or recipe.flip or recipe.cutout):
        return x
    N, _, H, W = x.shape
    # Counter-based noise: a training that was paused draws the same crops as one that was not.
    draw = _noise.uniform(torch.tensor([recipe.seed]), step, 5, N, stream=2)[0].to(x.device)
    if recipe.flip:
        x = torch.where((draw[0] < 0.5).view(-1, 1, 1, 1), x.flip(-1), x)
    if recipe.crop:
        x = _crop(x, recipe.crop, draw[1], draw[2])
    if recipe.cutout:
        rows = (torch.arange(H, device=x.device) - (draw[3] * H)[:, None]).abs() < recipe.cutout / 2
        columns = (torch.arange(W, device=x.device) - (draw[4] * W)[:, None]).abs() < recipe.cutout / 2
        x = x.masked_fill((rows[:, :, None] & columns[:, None, :])[:, None], 0.0)
    return x


def _crop(x: Tensor, pad: int, down: Tensor, right: Tensor) -> Tensor:
    N, C, H, W = x.shape
    padded = F.pad(x, (pad,) * 4)
    rows = (down * (2 * pad + 1)).long()[:, None] + torch.arange(H, device=x.device)
    columns = (right * (2 * pad + 1)).long()[:, None] + torch.arange(W, device=x.device)
    # Two gathers, rows then columns: one crop for each image without a loop over images.
    padded = padded.gather(2, rows[:, None, :, None].expand(N, C, H, W + 2 * pad))
    return padded.gather(3, columns[:, None, None, :].expand(N, C, H, W))


def flip_is_label_preserving(images: Images, classes: int) -> bool:
    """Whether mirrored training images are as near to their own class's mean image as the images are.

    Letters, digits and traffic signs fail this; photographs pass.
    """
    # 2,000 images: class means need no more, and the distances stay small in memory. The number is not ablated.
    x = images.normalised(slice(0, 2000)).flatten(1)
    y = images.y[:2000]
    # A class that these images lack gets a mean far from all of them, so that it is nobody's nearest.
    means = torch.stack([x[y == k].mean(0) if (y == k).any() else x.new_full(x.shape[1:], 1e3) for k in range(classes)])
    mirrored = images.normalised(slice(0, 2000)).flip(-1).flatten(1)
    hits = [(torch.cdist(part, means).argmin(1) == y).float().mean() for part in (x, mirrored)]
    return bool(hits[1] >= _SAFE * hits[0])
