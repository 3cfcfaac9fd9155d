"""What is said of a dataset before a search and in its report: images by class and split, what is left out, what overlaps."""

from __future__ import annotations

import hashlib

from torch import Tensor

from nas.datasets.images import DataSet
from search_spaces import UserError

_LISTED = 10
"""Classes that are listed one by one; of more only the smallest and the largest counts are given."""
_FEW = 50
"""Validation images below which the score is called coarse: one is then 2 points, more than good cells differ by."""


def describe(data: DataSet) -> tuple[str, ...]:
    """Lines about a dataset: the counts first."""
    return (_counts(data), *data.notes, *overlaps(data), *_coarse(data))


def check(data: DataSet) -> None:
    """Raise `UserError` for data on which no network can be better than another."""
    if bool((data.x_train == data.x_train[:1]).all()):
        raise UserError(
            f"Dataset '{data.name}' has {len(data.x_train)} training images that are all alike; nothing tells its classes apart."
        )


def overlaps(data: DataSet) -> list[str]:
    """A line for each split that has images of another, by their pixels as they are trained on."""
    train, valid, test = (_digests(x) for x in (data.x_train, data.x_valid, data.x_test))
    seen = set(train)
    in_valid = sum(digest in seen for digest in valid)
    known = seen | set(valid)
    in_test = sum(digest in known for digest in test)
    lines = []
    if in_test:
        lines.append(
            f"{in_test} of {len(test)} test images are among those of training too: the test accuracy is optimistic"
        )
    if in_valid:
        lines.append(
            f"{in_valid} of {len(valid)} validation images are among those of training too: the score is optimistic"
        )
    return lines


def _coarse(data: DataSet) -> list[str]:
    count = len(data.y_valid)
    return [f"{count} validation images: one is {100 / count:.1f} points of the score"] if count < _FEW else []


def _digests(x: Tensor) -> list[bytes]:
    return [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in x.contiguous().numpy()]


def _counts(data: DataSet) -> str:
    K = len(data.class_names)
    counts = [y.bincount(minlength=K).tolist() for y in (data.y_train, data.y_valid, data.y_test)]
    head = f"{K} classes, images to train / validate / test: {' / '.join(str(sum(part)) for part in counts)}"
    if K <= _LISTED:
        rows = zip(data.class_names, *counts)
        return head + "; " + ", ".join(f"{name} {' / '.join(map(str, row))}" for name, *row in rows)
    spans = [f"{min(part)}" if min(part) == max(part) else f"{min(part)} to {max(part)}" for part in counts]
    return f"{head}; in a class {' / '.join(spans)}"
