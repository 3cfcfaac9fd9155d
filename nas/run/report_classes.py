"""What the page of a run says of classes: how many of each are right, and which are taken for which.

Shapes: `K` classes.
"""

from __future__ import annotations

from typing import NamedTuple

from markupsafe import Markup

from nas.terminal import printable

NUMBERED = 20
"""Classes up to which the confusion matrix has numbers: more do not fit a screen, and are squares of color."""
_PAIRS = 12
"""Confusions that are named, the most frequent first."""
_SIDE = 5
"""Of a square, in the units of the drawing."""


class ClassRow(NamedTuple):
    """One class, as the test images show it."""

    name: str
    images: int
    correct: int
    percent: float | None
    """None: no test image is of it."""
    mistaken: str
    """The class that most of its other images are taken for, with their number; empty if there is none."""


class Confusion(NamedTuple):
    """A class that is taken for another."""

    truth: str
    answer: str
    images: int
    percent: float
    """Of the images of the true class."""


class Cell(NamedTuple):
    """An entry of the confusion matrix."""

    count: int
    share: float
    """Of the images of its row, 0 to 1."""
    right: bool


def rows(names: tuple[str, ...], confusion: list[list[int]]) -> list[ClassRow]:
    """The classes, those with the lowest accuracy first, those without images last."""
    found = []
    for k, (name, counts) in enumerate(zip(names, confusion)):
        others = [0 if j == k else count for j, count in enumerate(counts)]
        most = max(others, default=0)
        mistaken = f"{names[others.index(most)]} ({most})" if most else ""
        percent = 100 * counts[k] / sum(counts) if sum(counts) else None
        found.append(ClassRow(name, sum(counts), counts[k], percent, mistaken))
    return sorted(found, key=lambda row: 101.0 if row.percent is None else row.percent)


def confusions(names: tuple[str, ...], confusion: list[list[int]]) -> list[Confusion]:
    """The most frequent mistakes."""
    found = [
        Confusion(names[i], names[j], count, 100 * count / sum(counts))
        for i, counts in enumerate(confusion)
        for j, count in enumerate(counts)
        if count and i != j
    ]
    return sorted(found, key=lambda one: (-one.images, -one.percent))[:_PAIRS]


def matrix(confusion: list[list[int]]) -> list[list[Cell]]:
    """The confusion matrix `[K, K]` with the share of each entry in its row."""
    return [
        [Cell(count, count / max(1, sum(counts)), i == j) for j, count in enumerate(counts)]
        for i, counts in enumerate(confusion)
    ]


def squares(names: tuple[str, ...], confusion: list[list[int]]) -> Markup:
    """The confusion matrix of many classes as squares of color; what each stands for shows where a pointer rests."""
    K, parts = len(confusion), []
    for i, row in enumerate(matrix(confusion)):
        for j, cell in enumerate(row):
            if cell.count:
                parts.append(Markup(
                    '<rect class="{}" x="{}" y="{}" width="{}" height="{}" style="--share:{:.3f}"><title>{}: {} of {} '
                    "taken for {}</title></rect>"
                ).format(
                    "right" if cell.right else "wrong", _SIDE * j, _SIDE * i, _SIDE, _SIDE, cell.share,
                    printable(names[i]), cell.count, sum(confusion[i]), printable(names[j]),
                ))  # fmt: skip
    return Markup('<svg class="squares" viewBox="0 0 {0} {0}" role="img" aria-label="{1}">{2}</svg>').format(
        _SIDE * K, f"Confusion matrix of {K} classes", Markup("").join(parts)
    )
