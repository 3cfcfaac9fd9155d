"""A dataset by its name, ready to train on: uint8 images, stratified splits, normalisation worked out from training data.

`digits` is scikit-learn's; `npz:FILE`, `folder:DIR` and `hf:NAME` are the user's own.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from nas.datasets import readers
from nas.datasets.images import DataSet, RawData, resize
from search_spaces import UserError, _noise, unknown

_HELD_OUT = 0.2
"""The share of each class that goes to a split which the dataset does not bring; not ablated."""
# Of their own and not the search's: every search on a dataset has the same splits, so that its results compare.
_SPLIT_SEEDS = {"test": 1, "valid": 2}


Reader = Callable[[str, int | None], RawData]
"""From the text after the colon, and the side of the images (None: the data's own), to the data."""


def names() -> list[str]:
    """The datasets that need no file of the user's."""
    return ["digits"]


def load(name: str, image_size: int | None = None) -> DataSet:
    """The dataset called `name`, images `image_size` wide and high (None: their own, at most 32).

    Raises `UserError` for what cannot be trained on: one line that names the file or the class.
    """
    kind, colon, where = name.partition(":")
    by_kind: dict[str, Reader] = {"npz": readers.npz, "folder": readers.folder, "hf": readers.hugging_face}
    if image_size is not None and image_size < 4:
        raise UserError(f"image_size is {image_size}; it takes at least 4.")
    if colon and kind in by_kind:
        return _complete(name, by_kind[kind](where, image_size))
    if name == "digits":
        return _complete(name, _digits(image_size))
    raise unknown("task", name, [*names(), "npz:FILE", "folder:DIR", "hf:NAME", "TABLE/TASK"])


def _digits(image_size: int | None) -> RawData:
    from sklearn.datasets import load_digits

    values_N64, labels_N = load_digits(return_X_y=True)
    # scikit-learn's digits have 17 levels of gray.
    pixels = np.round(values_N64 * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8)
    return RawData({"train": (resize(torch.from_numpy(pixels), image_size), torch.from_numpy(labels_N))}, None)


def _complete(name: str, raw: RawData) -> DataSet:
    """Labels from 0, the splits that are missing, the normalisation."""
    labels = torch.unique(raw.splits["train"][1])
    class_names = raw.class_names or tuple(str(label) for label in labels.tolist())
    if len(labels) < 2:
        raise UserError(f"Dataset '{name}' has {len(labels)} class; it takes two or more.")
    splits = {}
    for split, (x, y) in raw.splits.items():
        unknown = y[~torch.isin(y, labels)]
        if len(unknown):
            raise UserError(f"Dataset '{name}' has class {unknown[0]} in its {split} split and not in training.")
        splits[split] = (x, torch.searchsorted(labels, y))
    # The test split first: it must not depend on whether a validation split had to be taken as well.
    for split in ("test", "valid"):
        if split not in splits:
            splits["train"], splits[split] = _stratified(name, splits["train"], class_names, _SPLIT_SEEDS[split])
    (x_train, y_train), (x_valid, y_valid), (x_test, y_test) = splits["train"], splits["valid"], splits["test"]
    # float64: the sums run over millions of pixels.
    pixels = x_train.double().transpose(0, 1).flatten(1) / 255
    mean, std = pixels.mean(1).float(), pixels.std(1).float()
    # A channel that never changes would be divided by zero.
    std = torch.where(std > 1e-4, std, torch.ones(()))
    return DataSet(name, x_train, y_train, x_valid, y_valid, x_test, y_test, class_names, mean, std)


def _stratified(
    name: str, split: tuple[Tensor, Tensor], class_names: tuple[str, ...], seed: int
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """The rest and the part held out: of each class at least one image, never all."""
    x, y = split
    order = _noise.bits(torch.tensor([seed]), 0, len(y))[0].argsort(stable=True)
    held_out = torch.zeros(len(y), dtype=torch.bool)
    for label, class_name in enumerate(class_names):
        members = order[y[order] == label]
        if len(members) < 2:
            raise UserError(
                f"Class '{class_name}' of dataset '{name}' has too few images to train, validate and test on; "
                "it takes three, or two where the dataset brings a test split."
            )
        held_out[members[: max(1, round(_HELD_OUT * len(members)))]] = True
    return (x[~held_out], y[~held_out]), (x[held_out], y[held_out])
