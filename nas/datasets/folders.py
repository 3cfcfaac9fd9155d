"""A folder of image files: its images as one array, by one size, one number of channels and one scale."""

from __future__ import annotations

from pathlib import Path

import torch

from nas.datasets import image_files
from nas.datasets.image_files import Broken, Header
from nas.datasets.image_folder import Layout, read_layout
from nas.datasets.images import RawData
from nas.datasets.pixel_scale import PixelScale
from nas.paths import expanded
from search_spaces import UserError


def folder(where: str, image_size: int | None) -> RawData:
    """A folder of image files, one sub-folder a class, perhaps under folders of splits (`image_folder`)."""
    root = expanded(where)
    if not root.is_dir():
        raise UserError(f"There is no folder '{where}'; folder: takes one with a sub-folder of images for each class.")
    with image_files.quiet():
        return _decode(where, read_layout(root), image_size)


def _decode(where: str, layout: Layout, image_size: int | None) -> RawData:
    files = {split: [path for paths in classes.values() for path in paths] for split, classes in layout.splits.items()}
    total = sum(map(len, files.values()))
    headers = {path: image_files.header(path) for paths in files.values() for path in paths}
    broken = [found for found in headers.values() if isinstance(found, Broken)]
    whole = {path: found for path, found in headers.items() if isinstance(found, Header)}
    usable = {path: found for path, found in whole.items() if found.is_usable}
    notes = [*layout.notes, *image_files.odd_sizes(whole)]
    train = [usable[path] for path in files["train"] if path in usable]
    if not train:
        image_files.refuse(where, broken, total)
        raise UserError(f"'{where}' has no images to train on; {'; '.join(notes)}.")
    side = image_size or image_files.common_side(train)
    # One image of training in color makes all RGB: networks take one number of channels.
    channels = 1 if all(found.is_grey for found in train) else 3
    scale, unread = _scale_of_files(
        where, {split: [p for p in paths if p in usable] for split, paths in files.items()}, usable
    )
    broken += unread
    class_names = tuple(layout.splits["train"])
    splits = {}
    for split, classes in layout.splits.items():
        images, labels = [], []
        for label, name in enumerate(class_names):
            for path in classes.get(name, []):
                found = image_files.pixels(path, channels, [(side, side)], scale) if path in usable else None
                if isinstance(found, Broken):
                    broken.append(found)
                elif found is not None:
                    images.append(found)
                    labels.append(label)
        if images:
            splits[split] = (torch.stack(images), torch.tensor(labels))
    image_files.refuse(where, list({found.path: found for found in broken}.values()), total)
    return RawData(splits, class_names, tuple(notes), layout.origins, scale)


def _scale_of_files(
    where: str, files: dict[str, list[Path]], headers: dict[Path, Header]
) -> tuple[PixelScale | None, list[Broken]]:
    """The scale of the images of more than 8 bits, and those that cannot be read."""
    deep = {split: [path for path in paths if headers[path].is_deep] for split, paths in files.items()}
    found = {split: [image_files.deep_range(path) for path in paths] for split, paths in deep.items()}
    broken = [one for ranges in found.values() for one in ranges if isinstance(one, Broken)]
    ranges = {split: [one for one in each if not isinstance(one, Broken)] for split, each in found.items()}
    return image_files.scale_of_deep(where, ranges), broken
