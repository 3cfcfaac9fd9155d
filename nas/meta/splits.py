"""What a prior may not see, as `data/splits.json` declares it.

A task whose name matches one of a split's `held_out` patterns is in no batch of its training, in no mixture.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any, NamedTuple

from nas.paths import DATA
from search_spaces import unknown


class Split(NamedTuple):
    """What is left out of a prior's training, and what the prior is then tried on."""

    held_out: tuple[str, ...]
    """Patterns of names of tasks and of columns."""
    test: tuple[str, ...]
    """Tasks, families or patterns."""


@lru_cache
def _declared() -> dict[str, Any]:
    return json.loads((DATA / "splits.json").read_text(encoding="utf-8"))


def splits() -> dict[str, Split]:
    """The declared splits by name."""
    return {n: Split(tuple(s["held_out"]), tuple(s["test"])) for n, s in _declared()["splits"].items()}


def split(name: str) -> Split:
    """The split of a name. Raises `UserError` with those there are."""
    if name not in splits():
        raise unknown("split", name, sorted(splits()))
    return splits()[name]


def family_weights() -> dict[str, float]:
    """How likely a new task is of each family."""
    return _declared()["family_weights"]


def unseen_spaces() -> tuple[str, ...]:
    """Spaces that no prior is trained in. A trained prior stays the same to the bit, and they show what it is worth elsewhere."""
    return tuple(_declared()["unseen_spaces"])
