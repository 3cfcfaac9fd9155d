"""Images by class, and which classes train, validate and test: what episodes are drawn from."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import torch
from torch import Tensor

from search_spaces import UserError, _noise

SPLITS = ("train", "valid", "test")
SHARES = (0.64, 0.16, 0.20)
"""Of the classes, by split, where the data bring no lists: those of mini-ImageNet (Ravi & Larochelle 2017)."""
ROTATIONS = 4
"""By 0, 90, 180 and 270 degrees (Santoro et al. 2016, section 4.1)."""


class ClassImages(NamedTuple):
    """Images of `K` classes; a rotation of a class may count as a class of its own."""

    name: str
    images: Tensor
    """uint8 `[N, C, H, W]`, class after class."""
    first: Tensor
    """int64 `[K]` the index of each class's first image."""
    count: Tensor
    """int64 `[K]` images of each class."""
    names: tuple[str, ...]
    split: Tensor
    """int64 `[K]` 0: trains, 1: validates, 2: tests."""
    rotations: bool = False
    """Whether each rotation by 90 degrees of a class is a class too, of the same split."""
    notes: tuple[str, ...] = ()
    """What a user should know: where the splits come from, what was left out."""
    inverted: bool = False
    """Whether pixels are 255 minus those of the image files."""
    deep: tuple[int, int] | None = None
    """Black and white of image files with more than 8 bits a channel; None: there were none."""

    def classes(self, split: str) -> Tensor:
        """The numbers of a split's classes, int64; class `k` rotated `r` times is `k + K r`."""
        base = torch.nonzero(self.split == SPLITS.index(split)).flatten()
        if not self.rotations:
            return base
        return torch.cat([base + r * len(self.names) for r in range(ROTATIONS)])

    @property
    def num_classes(self) -> int:
        """Of all splits, rotations included."""
        return len(self.names) * (ROTATIONS if self.rotations else 1)


def by_class(
    name: str, images: Tensor, labels: Tensor, names: tuple[str, ...], split: Tensor, notes: tuple[str, ...] = ()
) -> ClassImages:
    """From images uint8 `[N, C, H, W]` in any order and their labels int64 `[N]`, 0 to K - 1."""
    order = labels.argsort(stable=True)
    count = labels.bincount(minlength=len(names))
    return ClassImages(name, images[order], count.cumsum(0) - count, count, names, split, notes=notes)


def split_by_seed(classes: int, seed: int) -> Tensor:
    """The split of each class, int64 `[classes]`, as `SHARES` and a seed have it; one class at least validates and tests."""
    order = _noise.bits(torch.tensor([seed]), 0, classes)[0].argsort(stable=True)
    valid, test = (max(1, round(share * classes)) for share in SHARES[1:])
    split = torch.zeros(classes, dtype=torch.long)
    split[order[classes - valid - test :]] = 1
    split[order[classes - test :]] = 2
    return split


def check(data: ClassImages, way: int, images: int, splits: tuple[str, ...] = SPLITS) -> None:
    """Raise `UserError` where one of `splits` has fewer classes than `way`, or a class fewer images than an episode takes."""
    split = min(splits, key=lambda each: len(data.classes(each)))
    there = len(data.classes(split))
    if there < way:
        # What cannot help is not advised: an episode takes two classes, and no class has no rotations.
        hints = [f"say --way {there} at most"] if there > 1 else []
        hints += ["--rotations counts each rotation of a class as a class"] if there and not data.rotations else []
        counted = " with the rotations of each" if there and data.rotations else ""
        raise UserError(
            f"'{data.name}' has {there} {split} class{'es' * (there != 1)}{counted}, and --way is {way}; "
            f"{'; '.join(hints) or 'the data need more classes'}."
        )
    asked = torch.tensor([SPLITS[number] in splits for number in data.split.tolist()])
    least = int(data.count.where(asked, data.count.max() + 1).argmin())
    if int(data.count[least]) < images:
        raise UserError(
            f"Class '{data.names[least]}' of '{data.name}' has {int(data.count[least])} images; an episode takes {images} of a "
            "class. Say a smaller --shot or --queries, or leave the class out."
        )


def normalization(data: ClassImages) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation, float32 `[C]`, of the training classes' pixels / 255."""
    train = (data.split == 0).repeat_interleave(data.count)
    # float64: the sums run over millions of pixels.
    pixels = data.images[train].transpose(0, 1).flatten(1).double() / 255
    std = pixels.std(1)
    # A channel that never changes would be divided by zero.
    return pixels.mean(1).float(), torch.where(std > 1e-4, std, torch.ones(())).float()


def digest(data: ClassImages) -> str:
    """SHA-256 over the images, their classes and splits, the first 16 digits: the same wherever the files lie."""
    found = hashlib.sha256("\0".join(data.names).encode("utf-8", "surrogateescape"))
    for part in (data.images, data.count, data.split, torch.tensor(data.rotations)):
        found.update(f"{part.dtype} {list(part.shape)}\n".encode())
        found.update(part.contiguous().numpy().data)
    return found.hexdigest()[:16]
