"""Which modules are not ours, so that an error that comes through one is said to be its, and not the program's."""

from __future__ import annotations

import traceback
from typing import NamedTuple

_OURS = ("nas", "controller", "search_spaces")
_modules: set[str] = set()


class Place(NamedTuple):
    """Where an error came through somebody else's component."""

    file: str
    line: int


def remember(module: str) -> None:
    """Know a module as somebody else's, once a component of it is loaded."""
    if module.partition(".")[0] not in _OURS:
        _modules.add(module)


def is_in_use() -> bool:
    """Whether a component of somebody else was loaded."""
    return bool(_modules)


def place_of(error: BaseException) -> Place | None:
    """The innermost place where an error came through a component that is not ours; None where it came through none."""
    frames = zip(traceback.walk_tb(error.__traceback__), traceback.extract_tb(error.__traceback__))
    found = [
        Place(summary.filename, summary.lineno or 0)
        for (frame, _), summary in frames
        if frame.f_globals.get("__name__") in _modules
    ]
    return found[-1] if found else None
