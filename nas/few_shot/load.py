"""Few-shot data by a name: `digits`, a folder, a `.npz` file, or a dataset of the Hugging Face hub."""

from __future__ import annotations

from torch import cat

from nas import datasets
from nas.datasets import hub
from nas.few_shot import class_arrays, class_folders, classes
from nas.few_shot.classes import ClassImages
from nas.paths import expanded
from search_spaces import UserError

_SMALLEST = 4
"""Side of an image in pixels: the first two blocks of a backbone halve it."""


def load(name: str, image_size: int | None = None, rotations: bool | None = None, split_seed: int = 0) -> ClassImages:
    """The images called `name` by class.

    Args:
        name: `digits`, a folder or a file, before which `folder:` and `npz:` may stand; or `hf:NAME`.
        image_size: side of the images in pixels; None: their own, at most 32.
        rotations: whether each rotation by 90 degrees of a class is a class too; None: for digits, which are few classes.
        split_seed: draws which classes validate and test, where the data do not say.

    Raises `UserError` for data that cannot be used.
    """
    if image_size is not None and image_size < _SMALLEST:
        raise UserError(f"--image-size is {image_size}; it takes {_SMALLEST} or more.")
    if not 0 <= split_seed < 2**32:
        raise UserError(f"--split-seed is {split_seed}; it takes 0 to 4294967295.")
    found = _digits(image_size, split_seed) if name == "digits" else _read(name, image_size, split_seed)
    if min(found.images.shape[2:]) < _SMALLEST:
        side = min(found.images.shape[2:])
        raise UserError(f"'{name}' has images with a side of {side}; few-shot takes {_SMALLEST} or more.")
    return found._replace(rotations=name == "digits" if rotations is None else rotations)


def _read(name: str, image_size: int | None, split_seed: int) -> ClassImages:
    kind, colon, rest = name.partition(":")
    if kind == "hf" and colon:
        if not rest.strip():
            raise UserError(f"--data is '{name}'; it takes a name behind its colon, as hf:mnist.")
        return class_arrays.of_labels(name, hub.hugging_face(rest, image_size), split_seed)
    path = expanded(rest if colon and kind in ("folder", "npz") else name)
    if path.is_dir():
        return class_folders.read(path, image_size, split_seed)
    if path.is_file() and path.suffix == ".npz":
        return class_arrays.read(path, image_size, split_seed)
    if path.is_file():
        raise UserError(
            f"'{path}' is a file, and no .npz; --data takes digits, a folder of class folders, a .npz file or hf:NAME."
        )
    raise UserError(
        f"There is no folder or file '{path}'; --data takes digits, a folder of class folders, a .npz file or hf:NAME."
    )


def _digits(image_size: int | None, split_seed: int) -> ClassImages:
    data = datasets.load("digits", image_size)
    images, labels = cat([data.x_train, data.x_valid, data.x_test]), cat([data.y_train, data.y_valid, data.y_test])
    split = classes.split_by_seed(10, split_seed)
    return classes.by_class(
        "digits", images, labels, data.class_names, split, (class_arrays.by_seed(split, split_seed),)
    )
