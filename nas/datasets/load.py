"""A dataset by its name, ready to train on: uint8 images, stratified splits, normalisation worked out from training data.

`digits` is scikit-learn's; `npz:FILE`, `folder:DIR` and `hf:NAME` are the user's own.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nas.datasets import arrays, folders, hub
from nas.datasets.images import DataSet, RawData, resize
from nas.datasets.labels import summarize
from nas.datasets.splits import HELD_OUT, held_out
from search_spaces import UserError, unknown

# Of their own and not the search's: every search on a dataset has the same splits, so that its results compare.
_SPLIT_SEEDS = {"test": 1, "valid": 2}
_SMALLEST = 4
"""Side of an image: two stages of the usual networks halve it."""

_FORMS = ("npz:FILE", "folder:DIR", "hf:NAME")

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
    by_kind: dict[str, Reader] = {"npz": arrays.npz, "folder": folders.folder, "hf": hub.hugging_face}
    if image_size is not None and image_size < _SMALLEST:
        raise UserError(f"image_size is {image_size}; it takes at least {_SMALLEST}.")
    if colon and kind in by_kind and not where.strip():
        form = next(form for form in _FORMS if form.startswith(kind))
        raise UserError(f"Task '{name}' names nothing behind its colon; say {form}.")
    if colon and kind in by_kind:
        return _complete(name, by_kind[kind](where, image_size))
    if name == "digits":
        return _complete(name, _digits(image_size))
    refuse_path(name)
    raise unknown("task", name, [*names(), *_FORMS, "TABLE/TASK"])


def refuse_path(name: str) -> None:
    """Raises `UserError` where a task is named by the path of its images alone."""
    path = Path(name).expanduser()
    if path.is_dir() or (path.suffix == ".npz" and path.is_file()):
        form = f"{'folder' if path.is_dir() else 'npz'}:{name}"
        raise UserError(f"Task '{name}' is a path, and a task says first what is there: {form}.")


def _digits(image_size: int | None) -> RawData:
    from sklearn.datasets import load_digits

    values_N64, labels_N = load_digits(return_X_y=True)
    # scikit-learn's digits have 17 levels of gray.
    pixels = np.round(values_N64 * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8)
    return RawData({"train": (resize(torch.from_numpy(pixels), image_size), torch.from_numpy(labels_N))}, None)


def _complete(name: str, raw: RawData) -> DataSet:
    """Labels from 0, the splits that are missing, the normalization."""
    labels = torch.unique(raw.splits["train"][1])
    class_names = raw.class_names or tuple(str(label) for label in labels.tolist())
    splits = {}
    for split, (x, y) in raw.splits.items():
        foreign = y[~torch.isin(y, labels)]
        if len(foreign):
            raise UserError(f"Dataset '{name}' has class {foreign[0]} in its {split} split and not in training.")
        splits[split] = (x, torch.searchsorted(labels, y))
    present = [class_names[label] for label in labels.tolist()] if len(class_names) > len(labels) else [*class_names]
    _refuse_too_few(name, splits, tuple(present))
    # The test split first: it must not depend on whether a validation split had to be taken as well.
    for split in ("test", "valid"):
        if split not in splits:
            x, y = splits["train"]
            rest, part = held_out(y, len(present), HELD_OUT, _SPLIT_SEEDS[split])
            splits["train"], splits[split] = (x[rest], y[rest]), (x[part], y[part])
    (x_train, y_train), (x_valid, y_valid), (x_test, y_test) = splits["train"], splits["valid"], splits["test"]
    # float64: the sums run over millions of pixels.
    pixels = x_train.double().transpose(0, 1).flatten(1) / 255
    mean, std = pixels.mean(1).float(), pixels.std(1).float()
    # A channel that never changes would be divided by zero.
    std = torch.where(std > 1e-4, std, torch.ones(()))
    notes = (_origins(raw), *raw.notes)
    ours = "valid" not in raw.splits
    splits_of_all = (x_train, y_train, x_valid, y_valid, x_test, y_test)
    return DataSet(name, *splits_of_all, tuple(present), mean, std, notes, raw.deep, valid_held_out=ours)


def _refuse_too_few(name: str, splits: dict[str, tuple[Tensor, Tensor]], class_names: tuple[str, ...]) -> None:
    """Raise `UserError` for classes and images that cannot be split and trained on."""
    x, y = splits["train"]
    if len(class_names) < 2:
        raise UserError(f"Dataset '{name}' has {len(class_names)} class; it takes two or more.")
    if min(x.shape[2:]) < _SMALLEST:
        raise UserError(
            f"Dataset '{name}' has images of {x.shape[3]} x {x.shape[2]} pixels; it takes {_SMALLEST} x {_SMALLEST}."
        )
    needed = 1 + ("test" not in splits) + ("valid" not in splits)
    counts = y.bincount(minlength=len(class_names)).tolist()
    few = [f"'{class_name}' ({count})" for class_name, count in zip(class_names, counts) if count < needed]
    if few:
        parts = [*(["validate"] if "valid" not in splits else []), *(["test"] if "test" not in splits else [])]
        raise UserError(
            f"{'Class' if len(few) == 1 else f'{len(few)} classes:'} {summarize(few)} of dataset '{name}' "
            f"{'has' if len(few) == 1 else 'have'} too few images to {' and '.join(['train', *parts])} on; "
            f"a class takes {needed}."
        )


def _origins(raw: RawData) -> str:
    """Where validation and test images come from."""
    names = {"valid": "validation", "test": "test"}
    held_out = " and ".join(word for split, word in names.items() if split not in raw.splits)
    said = [f"{word} images: '{raw.origins.get(split, split)}'" for split, word in names.items() if split in raw.splits]
    said += [f"{held_out} images: {HELD_OUT:.0%} of each class, held out of training"] if held_out else []
    return "; ".join(said)
