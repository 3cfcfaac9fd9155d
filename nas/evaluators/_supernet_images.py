"""Which images the shared weights of a supernet learn from and are scored by: a function of the seed and the step.

Shapes: `T` batches, `N` images, `K` channels.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import torch
from torch import Tensor

from nas import datasets
from nas.datasets import DataSet
from nas.training import Images
from search_spaces import _noise

_ORDER, _VALID = 250, 251
"""Streams of random numbers: the order of training images, and of validation images, which may lie by class."""


@dataclass(frozen=True)
class SupernetImages:
    """The images of one dataset in batches."""

    data: DataSet = field(repr=False)
    examples: int
    """Training images at most."""
    batch: int
    seed: int
    """Of the order of the validation images."""

    @cached_property
    def learned(self) -> tuple[Tensor, Tensor]:
        """The images that weights learn from, normalised, and their classes."""
        picked = datasets.pick(len(self.data.y_train), self.examples)
        images = Images(self.data.x_train[picked], self.data.y_train[picked], self.data.mean, self.data.std)
        return images.normalised(slice(None)), images.y

    def training(self, seed: int, steps: range) -> tuple[Tensor, Tensor]:
        """The batches of these steps of a search: `[T, N, K, H, W]` and their classes `[T, N]`."""
        x, y = self.learned
        batch = min(self.batch, len(y))
        whole = len(y) // batch
        index = torch.stack([_order(seed, s // whole, len(y))[s % whole * batch :][:batch] for s in steps])
        return x[index], y[index]

    @cached_property
    def _batches(self) -> tuple[Tensor, Tensor, Tensor]:
        """All validation images in batches of one size: `[T, N, ...]`, their classes, and which have not stood before."""
        images = Images(self.data.x_valid, self.data.y_valid, self.data.mean, self.data.std)
        count, size = len(images.y), min(self.batch, len(images.y))
        order = _noise.bits(torch.tensor([self.seed]), 0, count, stream=_VALID)[0].argsort()
        # The last batch is filled up with images before it: statistics of a few images are noise.
        starts = [min(start, count - size) for start in range(0, count, size)]
        index = torch.stack([order[start : start + size] for start in starts])
        new = torch.ones(index.shape, dtype=torch.bool)
        new[-1] = torch.arange(size) >= len(starts) * size - count
        return images.normalised(slice(None))[index], images.y[index], new

    def validation(self, number: int | None) -> tuple[Tensor, Tensor, Tensor]:
        """The validation images of evaluation `number`: a batch in turn while weights are trained, or (None) all of them.

        `[T, N, K, H, W]`, their classes `[T, N]`, and which of them have not stood before, bool `[T, N]`.
        """
        x, y, new = self._batches
        if number is None:
            return x, y, new
        at = slice(number % len(y), number % len(y) + 1)
        return x[at], y[at], torch.ones_like(new[at])


@lru_cache(maxsize=32)  # An epoch has many steps. Searches side by side take turns, each with an order of its own.
def _order(seed: int, epoch: int, count: int) -> Tensor:
    return _noise.bits(torch.tensor([seed]), epoch, count, stream=_ORDER)[0].argsort()
