"""Augmentation of a whole batch on its device, as the recipe says.

Counter-based noise: a training that was paused draws the same as one that was not.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.training import rand_augment
from nas.training.recipe import Images, Recipe
from search_spaces import _noise

_SAFE = 0.9
"""Share of the hits of the images themselves that mirrored images must keep; not ablated."""


_ASPECT = 4 / 3
"""Random crops are at most so much longer than wide, or the other way round: Szegedy et al. 2015, section 6."""
_MAP_STREAM = 4
"""Of random numbers, apart from those of `batch`."""


def prepared(images: Images, index: Tensor, recipe: Recipe, step: int) -> Tensor:
    """The images of a step `[N, C, H, W]`, augmented and normalised; a function of them, the recipe's seed and the step."""
    if not (recipe.scale or recipe.rotate or recipe.randaugment):
        return batch(images.normalised(index), recipe, step)
    pixels = images.pixels(index)
    N, _, H, W = pixels.shape
    seed = torch.tensor([recipe.seed])
    draw = _noise.uniform(seed, step, 5 + rand_augment.DRAWS, N, stream=_MAP_STREAM)[0].to(pixels.device)
    turned = rand_augment.rotation((2 * draw[4] - 1) * math.radians(recipe.rotate), H / W)
    maps = (_crops(recipe.scale, *draw[:4]) if recipe.scale else torch.eye(3, device=pixels.device)) @ turned
    if recipe.randaugment:
        operations, sides = rand_augment.drawn(draw[5:])
        pixels = rand_augment.recolored(pixels, operations, sides, recipe.randaugment)
        maps = maps @ rand_augment.moved(operations, sides, recipe.randaugment, H / W)
    # After normalization, so that what comes from beyond the border is the mean, as in crops.
    x = images.standardised(pixels)
    grid = F.affine_grid(maps[:, :2], list(x.shape), align_corners=False)
    return batch(F.grid_sample(x, grid, align_corners=False), recipe, step)


def _crops(scale: float, area: Tensor, aspect: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """The maps `[N, 3, 3]` from coordinates -1 to 1 to those of random parts of the image."""
    area, aspect = scale + (1 - scale) * area, _ASPECT ** (2 * aspect - 1)
    # A part that would be wider or higher than the image is as wide or high as it.
    width, height = ((area * ratio).sqrt().clamp(max=1) for ratio in (aspect, 1 / aspect))
    maps = torch.diag_embed(torch.stack([width, height, torch.ones_like(width)], 1))
    maps[:, 0, 2], maps[:, 1, 2] = (1 - width) * (2 * right - 1), (1 - height) * (2 * down - 1)
    return maps


def batch(x: Tensor, recipe: Recipe, step: int) -> Tensor:
    """The batch `[N, C, H, W]` of a step, mirrored, cropped and cut out; a function of the recipe's seed and the step."""
    if not (recipe.crop or recipe.flip or recipe.cutout):
        return x
    N, _, H, W = x.shape
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
    # From all of them: a folder is read class after class.
    count = min(2000, len(images.y))
    some = torch.arange(count, device=images.y.device) * len(images.y) // count
    x, y = images.normalised(some).flatten(1), images.y[some]
    # A class that these images lack gets a mean far from all of them, so that it is nobody's nearest.
    means = torch.stack([x[y == k].mean(0) if (y == k).any() else x.new_full(x.shape[1:], 1e3) for k in range(classes)])
    mirrored = images.normalised(some).flip(-1).flatten(1)
    hits = [(torch.cdist(part, means).argmin(1) == y).float().mean() for part in (x, mirrored)]
    return bool(hits[1] >= _SAFE * hits[0])
