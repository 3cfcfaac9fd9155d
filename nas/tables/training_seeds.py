"""How many training seeds stand behind a column: by its shape, by its header, or by what the benchmark's authors say."""

from __future__ import annotations

from fnmatch import fnmatchcase

from nas.tables.table import Table

# Headers of these tables, made before there was `Column.seeds`, do not say it. The first pattern that fits holds.
_PUBLISHED = {
    "own201/*": 1,  # `nas table build`: every function by seed 0; the `_per_seed` columns hold more for a sample.
    "nasbench201/cifar10/valid_accuracy@12": 2,  # The sources of the tables say so.
    "nasbench201/*@12": 1,
    "nasbench201/*@200": 3,  # Dong & Yang 2020, section 2.3: two seeds for some architectures, three for others.
}
_SEVERAL = 0.5
"""A column can be drawn from if at least so many of its rows hold two seeds: a sample with more seeds measures noise only."""


def count(table: Table, column: str) -> int | None:
    """Training seeds of a column, at most: those it holds apart, or those a value is the mean of. None: not stated."""
    apart = table.width(column)
    if apart > 1:
        return apart
    stated = table.columns[column].seeds
    if stated is not None:
        return stated
    name = f"{table.name}/{column}"
    return next((seeds for pattern, seeds in _PUBLISHED.items() if fnmatchcase(name, pattern)), None)


def can_be_drawn(table: Table, column: str) -> bool:
    """Whether a column holds several seeds apart of most of the architectures that were measured."""
    if table.width(column) < 2:
        return False
    held_N = (~table.column(column).isnan()).sum(1)
    return bool((held_N >= 2).sum() >= _SEVERAL * (held_N >= 1).sum())
