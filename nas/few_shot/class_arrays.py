"""`.npz` files by class: images of each class in a row, or with labels, and perhaps which classes train, validate and test.

The forms: `images` `[K, n, H, W]` or `[K, n, H, W, C]`; or `images` `[N, H, W(, C)]` with `labels` `[N]`. `split` `[K]` has 0, 1
and 2 for classes that train, validate and test; `vinyals`, of Omniglot, means the same. Every other file is read as `nas search`
reads it, and its classes are split by a seed.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nas.datasets import RawData, arrays, resize
from nas.datasets.labels import label_values, readable
from nas.few_shot import classes
from nas.few_shot.classes import ClassImages
from search_spaces import UserError

_SPLITS = ("split", "vinyals")


def read(path: Path, image_size: int | None, split_seed: int) -> ClassImages:
    """The classes of a file. Raises `UserError` for one that holds something else."""
    where = str(path)
    held = arrays.read(path, where)
    images = held.get("images")
    if images is None or "x_train" in held:
        return of_labels(where, arrays.npz(where, image_size), split_seed)
    if images.dtype != np.uint8:
        raise UserError(f"'{where}' has images of type {images.dtype}; few-shot arrays by class are uint8.")
    if "labels" not in held and (images.ndim < 4 or (images.ndim == 4 and images.shape[-1] == 3)):
        raise UserError(
            f"'{where}' has images of shape {images.shape} and no labels; it takes `labels`, one for each image, or images by "
            "class, K x n x H x W or K x n x H x W x C."
        )
    if "labels" in held:
        values, labels = np.unique(label_values(f"'{where}': labels", held["labels"]), return_inverse=True)
        if len(labels) != len(images):
            raise UserError(f"'{where}' has {len(images)} images and {len(labels)} labels; it takes as many.")
        found, count = [str(v) for v in values.tolist()], len(values)
    else:
        count, each = images.shape[:2]
        labels, found = np.repeat(np.arange(count), each), [str(k) for k in range(count)]
        images = images.reshape(count * each, *images.shape[2:])
    names = _names(held, found, count)
    split, note = _split(where, held, count, split_seed)
    x = resize(_channels_first(where, images), image_size)
    return classes.by_class(where, x, torch.from_numpy(labels.astype(np.int64)), names, split, (note,))


def of_labels(where: str, raw: RawData, split_seed: int) -> ClassImages:
    """All training and test images of a dataset: few-shot splits classes, and not images."""
    x, y = (torch.cat([part[i] for part in raw.splits.values()]) for i in range(2))
    present, y = torch.unique(y, return_inverse=True)
    split = classes.split_by_seed(len(present), split_seed)
    notes = (by_seed(split, split_seed), *raw.notes)
    found = classes.by_class(where, x, y, _names_of(raw, present.tolist()), split, notes)
    return found._replace(deep=raw.deep and (raw.deep.black, raw.deep.white))


def _names_of(raw: RawData, labels: list[int]) -> tuple[str, ...]:
    """Of the labels of all splits; names may be given for those of the training images alone, in order."""
    trained = torch.unique(raw.splits["train"][1]).tolist()
    known = raw.class_names or ()
    named = dict(zip(trained, known)) if len(known) == len(trained) else dict(enumerate(known))
    return tuple(named.get(label, str(label)) for label in labels)


def by_seed(split: Tensor, seed: int) -> str:
    """What is said of classes that are split by a seed."""
    train, valid, test = split.bincount(minlength=3).tolist()
    return f"{train} classes train, {valid} validate, {test} test, drawn by --split-seed {seed}"


def _names(held: dict[str, np.ndarray], found: list[str], count: int) -> tuple[str, ...]:
    given = held.get("class_names")
    if given is not None and given.ndim == 1 and given.dtype.kind in "US" and len(given) == count:
        return tuple(map(readable, given.tolist()))
    if all(key in held for key in ("alphabets", "alphabet", "character")) and len(held["alphabet"]) == count:
        alphabets = held["alphabets"][held["alphabet"]].tolist()
        return tuple(f"{readable(a)}/{c:02d}" for a, c in zip(alphabets, held["character"].tolist()))
    return tuple(found)


def _split(where: str, held: dict[str, np.ndarray], count: int, seed: int) -> tuple[Tensor, str]:
    for key in _SPLITS:
        if key not in held:
            continue
        given = held[key]
        if given.shape != (count,) or not np.isin(given, (0, 1, 2)).all():
            raise UserError(
                f"'{where}' has {key} of shape {given.shape}; it takes 0, 1 or 2 for each of {count} classes."
            )
        split = torch.from_numpy(given.astype(np.int64))
        train, valid, test = split.bincount(minlength=3).tolist()
        return split, f"{train} classes train, {valid} validate, {test} test: '{key}' of the file"
    split = classes.split_by_seed(count, seed)
    return split, by_seed(split, seed)


def _channels_first(where: str, x: np.ndarray) -> Tensor:
    x = x[..., None] if x.ndim == 3 else x
    if x.ndim != 4 or x.shape[-1] not in (1, 3) or not min(x.shape):
        raise UserError(f"'{where}' has images of shape {x.shape}; it takes H x W or H x W x 1 or 3 of each.")
    return torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))
