"""New classes from a folder of a few images each: the class of other images, by an exported learner."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from nas.datasets import image_files
from nas.datasets.image_files import Broken
from nas.few_shot import class_folders
from nas.few_shot.export import Exported
from search_spaces import UserError

_MOST_REPEATED = 24
"""Images a class, repeated ones included."""


class Answer(NamedTuple):
    """For one image."""

    image: Path
    probabilities: dict[str, float]
    """By class, the likeliest first; empty where the image cannot be read."""
    failure: str = ""


class Support(NamedTuple):
    """Images to learn new classes from."""

    names: tuple[str, ...]
    images: Tensor
    """float32 `[1, W, K, C, H, W]`, normalized. A class with fewer images than another has some of them again."""


def support(exported: Exported, folder: Path) -> Support:
    """The images of a folder, one sub-folder a class. Raises `UserError` for one that the learner cannot learn from."""
    if not folder.is_dir():
        raise UserError(
            f"There is no folder '{folder}'; --support takes one with a sub-folder of images for each class."
        )
    folders = [each for each in sorted(folder.iterdir()) if each.is_dir() and not each.name.startswith(".")]
    found = {name: files for name, files in class_folders.by_class(folders).items() if files}
    way = exported.config.way
    if exported.learner.fixed_way and len(found) != way:
        raise UserError(
            f"'{folder}' has {len(found)} classes; {exported.config.learner} was trained for {way}. Give it {way}, or train it "
            f"by --way {len(found)}; prototypical and other learners of distances take any number."
        )
    if len(found) < 2:
        raise UserError(f"'{folder}' has {len(found)} sub-folders with images; --support takes two classes or more.")
    rows = []
    for files in found.values():
        read = [_pixels(exported, file) for file in files]
        image_files.refuse(str(folder), [x for x in read if isinstance(x, Broken)], len(read))
        whole = [x for x in read if not isinstance(x, Broken)]
        rows.append(torch.stack(whole))
    # Classes of fewer images repeat them, each as often as the others unless that took too many.
    even = math.lcm(*map(len, rows))
    each = even if even <= _MOST_REPEATED else max(map(len, rows))
    images = torch.stack([row[torch.arange(each) % len(row)] for row in rows])
    return Support(tuple(found), images[None])


def classify(exported: Exported, given: Support, files: list[Path]) -> Iterator[Answer]:
    """An answer for each file, in order; each is asked about alone, so that the others do not change it."""
    learner, params = exported.learner, exported.params
    with torch.no_grad():
        adapted = learner.adapt(params, given.images)
        for file in files:
            pixels = _pixels(exported, file)
            if isinstance(pixels, Broken):
                yield Answer(file, {}, pixels.reason)
                continue
            query = pixels[None, None]
            if learner.transductive:
                # Batch norm takes the statistics of what is asked: one image has too few, beside the support they are sound.
                query = torch.cat([query, given.images.flatten(1, 2)], 1)
            shares = learner.logits(params, adapted, query)[0, 0].softmax(-1).tolist()
            yield Answer(file, dict(sorted(zip(given.names, shares), key=lambda pair: -pair[1])))


def _pixels(exported: Exported, file: Path) -> Tensor | Broken:
    with image_files.quiet():
        channels, *size = exported.learner.problem.backbone.input_shape
        found = image_files.picture(file, channels, [(size[0], size[1])], exported.deep)
    if isinstance(found, Broken):
        return found
    pixels = (255 - found if exported.inverted else found).float() / 255
    return (pixels - exported.mean.view(-1, 1, 1)) / exported.std.view(-1, 1, 1)
