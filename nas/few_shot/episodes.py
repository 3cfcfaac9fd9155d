"""Episodes (Vinyals et al. 2016, section 2.2): `way` classes, `shot` images of each to learn from and some to ask about.

An episode is a pure function of (seed, step): training goes on after a stop as if it had never stopped, and two learners see the
same ones. Shapes: `T` tasks, `W` classes (way), `K` shots, `Q` queries a class, `C, H, W` of an image.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from nas.few_shot.classes import SPLITS, ClassImages
from search_spaces import _noise


class Episodes(NamedTuple):
    """Tasks of one size; the class of an image within its task is its second index."""

    support: Tensor
    """float32 `[T, W, K, C, H, W]` pixels / 255, normalized."""
    query: Tensor
    """float32 `[T, W, Q, C, H, W]` the same."""
    classes: Tensor
    """int64 `[T, W]` which of all classes each is."""


class Size(NamedTuple):
    """Of the episodes of a step."""

    tasks: int
    way: int
    shot: int
    queries: int


class Source(NamedTuple):
    """What episodes are drawn from, and how pixels are normalized."""

    data: ClassImages
    mean: Tensor
    """float32 `[C]` of pixels / 255, as the next."""
    std: Tensor

    def draw(self, split: str, size: Size, seed: int, step: int) -> Episodes:
        """The episodes of a step: classes and images without replacement, each combination equally likely.

        Args:
            seed: in [0, 2^32).
            step: in [0, 2^24).
        """
        classes, picked = self.indices(split, size, seed, step)
        rotation = classes // len(self.data.names)
        images = self.data.images[picked]
        if self.data.rotations:
            for turns in range(1, 4):
                turned = rotation == turns
                images[turned] = torch.rot90(images[turned], turns, (-2, -1))
        pixels = (images.float() / 255 - self.mean.view(-1, 1, 1)) / self.std.view(-1, 1, 1)
        return Episodes(pixels[:, :, : size.shot], pixels[:, :, size.shot :], classes)

    def indices(self, split: str, size: Size, seed: int, step: int) -> tuple[Tensor, Tensor]:
        """The classes `[T, W]` and images `[T, W, K + Q]` of a step, int64."""
        key, stream = torch.tensor([seed]), 2 * SPLITS.index(split)
        known = self.data.classes(split)
        bits_TK = _noise.bits(key, step, size.tasks, len(known), stream=stream)[0]
        # The classes with the smallest bits, of equal ones the first, without sorting thousands of others.
        least = (bits_TK * len(known) + torch.arange(len(known))).topk(size.way, largest=False, sorted=True)
        classes_TW = known[least.indices]
        base_TW = classes_TW % len(self.data.names)
        count_TW = self.data.count[base_TW]
        most = int(self.data.count.max())  # Of all classes: an episode does not depend on those drawn beside it.
        bits = _noise.bits(key, step, size.tasks, size.way, most, stream=stream + 1)[0]
        # Beyond a class's own images nothing is drawn: 2^32 is above all 32 random bits.
        bits = torch.where(torch.arange(most) < count_TW[..., None], bits, 1 << 32)
        chosen = bits.argsort(dim=-1, stable=True)[..., : size.shot + size.queries]
        return classes_TW, self.data.first[base_TW][..., None] + chosen
