"""Labels as people have them: whole numbers of any type, strings, true and false, one-hot rows, columns `[N, 1]`."""

from __future__ import annotations

import unicodedata

import numpy as np
import torch
from torch import Tensor

from search_spaces import UserError

_UNLABELED = -1
"""What hubs and competitions put in place of labels that they keep."""
_SHOWN = 3


def readable(name: str | bytes) -> str:
    """A name from a file or a file system as text that can be printed and stored, in one Unicode form (NFC)."""
    # Bytes that are no UTF-8, line ends and terminal escapes are written out; a Mac takes names apart into letters and accents.
    text = name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else name
    text = unicodedata.normalize("NFC", text).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def label_values(what: str, y: np.ndarray) -> np.ndarray:
    """One value for each image, int64 or strings `[N]`; of one-hot rows the position of the one.

    Raises `UserError` for what is no label.
    """
    flat = y.reshape(len(y), -1) if y.ndim and y.size else y.reshape(-1, 1)
    kind = y.dtype.kind
    if kind in "US" and flat.shape[1] == 1:
        return np.array([readable(value) for value in flat[:, 0].tolist()])
    if kind == "b" and flat.shape[1] == 1:
        return np.array([str(value) for value in flat[:, 0].tolist()])
    if kind in "biuf" and y.ndim == 2 and flat.shape[1] > 1 and _is_one_hot(flat):
        return flat.argmax(1).astype(np.int64)
    # 2^53: above it a float64 holds no odd number, so that labels would merge.
    if kind in "iuf" and flat.shape[1] == 1 and np.abs(flat.astype(np.float64)).max(initial=0) <= 2**53:
        whole = flat[:, 0].astype(np.int64)
        if (whole == flat[:, 0]).all():
            return whole
    raise UserError(
        f"{what} of shape {y.shape}, {y.dtype}, is no label for each image; it takes one whole number or one string for "
        "each, or one-hot rows."
    )


def ranked(where: str, values: dict[str, np.ndarray]) -> tuple[dict[str, Tensor], tuple[str, ...], list[str]]:
    """Labels by split as ranks int64 `[N]` among those of training, the classes' names, and the splits without labels.

    Raises `UserError` for a class that training lacks.
    """
    classes = np.unique(values["train"])
    ranks, unlabeled = {}, []
    for split, y in values.items():
        if y.dtype.kind != classes.dtype.kind:
            raise UserError(
                f"Dataset '{where}' has labels as {y.dtype} in its {split} split and as {classes.dtype} in training; "
                "save both alike."
            )
        foreign = y[~np.isin(y, classes)]
        if len(foreign) == len(y) and y.dtype.kind == "i" and (y == _UNLABELED).all():
            unlabeled.append(split)
            continue
        if len(foreign):
            raise UserError(
                f"Dataset '{where}' has class {foreign[0]} in its {split} split and not in training, which has "
                f"{summarize([str(name) for name in classes.tolist()])}."
            )
        ranks[split] = torch.from_numpy(np.searchsorted(classes, y))
    return ranks, tuple(map(str, classes.tolist())), unlabeled


def named(labels: tuple[str, ...], names: np.ndarray | None) -> tuple[tuple[str, ...], str]:
    """The classes' names by a list that came with the data, where it fits; and what is wrong with it, else empty."""
    if names is None:
        return labels, ""
    if names.ndim != 1 or names.dtype.kind not in "US":
        return (
            labels,
            f"class_names of shape {names.shape}, {names.dtype}, is not used: it takes a string for each class",
        )
    given = tuple(readable(name) for name in names.tolist())
    numbers = [int(label) if label.isdecimal() else -1 for label in labels]
    if set(labels) == set(given):
        return labels, ""
    if all(0 <= number < len(given) for number in numbers):
        return tuple(given[number] for number in numbers), ""
    if len(given) == len(labels):
        return given, ""
    return labels, f"class_names is not used: {len(given)} names for {len(labels)} classes"


def summarize(names: list[str], shown: int = _SHOWN) -> str:
    """`cat, dog, fox and 7 more`."""
    return ", ".join(names[:shown]) + (f" and {len(names) - shown} more" if len(names) > shown else "")


def _is_one_hot(rows: np.ndarray) -> bool:
    return bool(np.isin(rows, (0, 1)).all() and (rows.astype(np.int64).sum(1) == 1).all())
