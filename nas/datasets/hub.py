"""A dataset of the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import compress
from typing import Any

import torch

from nas.datasets import image_files
from nas.datasets.image_files import Header
from nas.datasets.images import RawData
from nas.datasets.labels import readable
from nas.datasets.split_names import by_split
from search_spaces import UserError

_WITHOUT = "A copy without such rows can be read as folder:DIR."


def hugging_face(where: str, image_size: int | None) -> RawData:
    """A dataset of the Hugging Face hub with an image column and a class label; takes the extra `hf`."""
    try:
        import datasets  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise UserError("hf: takes the package 'datasets'; pip install 'metacell[hf]' brings it.") from None
    # Before 4.0 the package ran the Python that a dataset on the hub brings.
    version = datasets.__version__  # pyright: ignore[reportAttributeAccessIssue]
    if int(version.partition(".")[0]) < 4:
        raise UserError(
            f"hf: takes the package 'datasets' from 4.0 on, which runs no code of a dataset; this is {version}. "
            "pip install 'metacell[hf]' brings it."
        )
    # As broad as it gets: the package and the hub raise whatever they like, and all of it means the same to the user.
    try:
        loaded = datasets.load_dataset(where)  # pyright: ignore[reportAttributeAccessIssue]
    except Exception as error:
        raise UserError(f"Hugging Face dataset '{where}' cannot be loaded: {error}") from None
    origins = by_split(loaded)
    if "train" not in origins:
        raise UserError(f"Hugging Face dataset '{where}' has splits {', '.join(loaded)}; it takes one called 'train'.")
    parts = {split: loaded[name] for split, name in origins.items()}
    features = parts["train"].features
    # By the class's name: the package is optional, so that its types cannot be imported here.
    image = next((k for k, f in features.items() if type(f).__name__ == "Image"), None)
    label = next((k for k, f in features.items() if type(f).__name__ == "ClassLabel"), None)
    if image is None or label is None:
        raise UserError(
            f"Hugging Face dataset '{where}' has columns {', '.join(features)}; it takes an Image and a ClassLabel."
        )
    labels = {split: list(part[label]) for split, part in parts.items()}
    notes = [f"split '{name}' is not used" for name in loaded if name not in origins.values()]
    for split in ("valid", "test"):  # Competitions keep the labels of the test images: all are -1.
        if split in parts and set(labels[split]) == {-1}:
            notes.append(f"split '{origins[split]}' is unlabeled and not used")
            del parts[split]
    for split in parts:
        _check_labels(
            f"split '{origins[split]}' of Hugging Face dataset '{where}'", labels[split], features[label].names
        )

    def rows(split: str) -> Iterator[Any]:
        return _decoded(f"split '{origins[split]}' of Hugging Face dataset '{where}'", parts[split][image])

    headers = {split: [Header(row.size[0], row.size[1], row.mode) for row in rows(split)] for split in parts}
    named = {f"row {n} of {origins[split]}": found for split in parts for n, found in enumerate(headers[split])}
    notes += image_files.odd_sizes(named)
    train = [found for found in headers["train"] if found.is_usable]
    if not train:
        raise UserError(f"Hugging Face dataset '{where}' has no images to train on; {'; '.join(notes)}.")
    deep = {
        split: [
            image_files.range_of_image(row)
            for row, found in zip(rows(split), headers[split])
            if found.is_usable and found.is_deep
        ]
        for split in parts
    }
    scale = image_files.scale_of_deep(where, deep)
    channels = 1 if all(found.is_grey for found in train) else 3
    side = image_size or image_files.common_side(train)
    splits = {}
    for split in parts:
        kept = [found.is_usable for found in headers[split]]
        images = [
            image_files.to_pixels(row, channels, [(side, side)], scale)
            for row, usable in zip(rows(split), kept)
            if usable
        ]
        if images:
            splits[split] = (torch.stack(images), torch.tensor([*compress(labels[split], kept)]))
    # Only the classes with images: a hub's list of names may have more than its training split.
    present = torch.unique(splits["train"][1]).tolist()
    names = tuple(readable(features[label].names[i]) for i in present)
    return RawData(splits, names, tuple(notes), {split: origins[split] for split in splits}, scale)


def _check_labels(of: str, labels: list[Any], names: list[str]) -> None:
    """Raise `UserError` that names the first row whose label is no class, as -1 and None are."""
    for row, label in enumerate(labels):
        if not isinstance(label, int) or not 0 <= label < len(names):
            raise UserError(f"Row {row} of {of} has the label {label}; it takes 0 to {len(names) - 1}. {_WITHOUT}")


def _decoded(of: str, column: Iterable[Any]) -> Iterator[Any]:
    """The images of a split in their order. Raises `UserError` that names the row, from 0, of one that cannot be decoded."""
    images, row = iter(column), 0
    while True:
        try:
            image = next(images)  # Here the package decodes it.
            image.load()
        except StopIteration:
            return
        except Exception as error:  # At damaged bytes Pillow raises what it likes, and None has no `load`.
            raise UserError(
                f"Row {row} of {of} has no image that can be read ({image_files.reason(error)}). {_WITHOUT}"
            ) from None
        yield image
        row += 1
