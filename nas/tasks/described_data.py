"""The datasets behind tables' tasks, which the tables themselves do not describe."""

from __future__ import annotations

from typing import NamedTuple

from nas.datasets import meta_features


class Shape(NamedTuple):
    input_shape: tuple[int, int, int]
    num_classes: int


SHAPES = {
    "cifar10": Shape((3, 32, 32), 10),
    "cifar100": Shape((3, 32, 32), 100),
    "ImageNet16-120": Shape((3, 16, 16), 120),
    "ninapro": Shape((1, 16, 52), 18),
    "class_object": Shape((3, 256, 256), 75),
    "class_scene": Shape((3, 256, 256), 47),
    "jigsaw": Shape((3, 255, 255), 1000),
    "room_layout": Shape((3, 256, 256), 9),
    "digits": Shape((1, 8, 8), 10),
    "rsscn7_aerial": Shape((3, 16, 16), 7),
    "brain_tumor_mri": Shape((1, 16, 16), 4),
    "fashion_mnist": Shape((1, 16, 16), 10),
    "arabic_chars28": Shape((1, 16, 16), 28),
}
"""By dataset. One that is not here is unknown."""

_VARIANT_MARKS = "-:"
"""What stands between a dataset's name and the kind of a variant: `cifar10-fgsm-0.1` (its images attacked), `gtsrb:quarter` (a
quarter of its images). No underscore: it stands within the names of datasets."""


def base_dataset(dataset: str) -> str:
    """The dataset of which a table's task has a variant: `cifar10` of `cifar10-fgsm-0.1`, whatever the attack is called.

    One that is not described is its own.
    """
    names = (dataset[:at] for at, mark in enumerate(dataset) if mark in _VARIANT_MARKS)
    return next((name for name in names if is_described(name)), dataset)


def is_described(dataset: str) -> bool:
    """Whether anything is known of a dataset of this name: its shape, or the numbers that describe its images."""
    return dataset in SHAPES or bool(meta_features.known(dataset))
