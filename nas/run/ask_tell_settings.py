"""What a person's program makes a search of: each argument of `Search`, refused in a line where it is of another kind."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nas import plugins
from search_spaces import Space, Task, UserError

_UNKNOWN = ((3, 32, 32), 10)
"""The shape and the classes of a task that nobody described: those of CIFAR-10, as for tables."""
_METHODS = ("choices", "decisions", "operations", "valid", "canonical", "build", "describe", "parse")
_SEEDS = 1 << 63
"""As many as PyTorch's generators tell apart, of either sign."""


def space(given: Any) -> Space:
    """A space, or the one that a name leads to."""
    if isinstance(given, str):
        return plugins.load("space", given)()
    if isinstance(given, type):
        raise UserError(f"space is the class {given.__name__}; it takes an object of it: {given.__name__}().")
    lacking = [name for name in _METHODS if not hasattr(given, name)]
    if lacking:
        raise UserError(
            f"space is {_shown(given)}, without {lacking[0]}; it takes a space, a name of one, or FILE.py:Class."
        )
    return given


def task(given: Any) -> Task:
    """A task, or the one that is known by its name alone."""
    if not isinstance(given, (Task, str)):
        raise UserError(f"task is {_shown(given)}; it takes a Task, or a text that names it.")
    return given if isinstance(given, Task) else Task(given, *_UNKNOWN, data_known=False)


def name(what: str, given: Any, takes: str) -> str:
    """A text or a path."""
    if not isinstance(given, (str, Path)):
        raise UserError(f"{what} is {_shown(given)}; it takes {takes}.")
    return str(given)


def texts(options: Any) -> dict[str, str]:
    """Settings of a controller, as the command line has them."""
    if not isinstance(options, Mapping | None):
        raise UserError(f"options is {_shown(options)}; it takes a dict of the controller's settings.")
    given = options or {}
    return {str(key): str(value).lower() if isinstance(value, bool) else str(value) for key, value in given.items()}


def seed(given: Any) -> int:
    number = whole("seed", given)
    if not -_SEEDS <= number < _SEEDS:
        raise UserError(f"seed is {number}; it takes one of 64 bits.")
    return number


def folder(given: Any) -> Path:
    """Where a run may be."""
    path = Path(name("folder", given, "a path"))
    if path.exists() and not path.is_dir():
        raise UserError(f"'{path}' is a file; a search is stored in a folder.")
    return path


def whole(what: str, given: Any) -> int:
    """A whole number."""
    try:
        return operator.index(given)
    except TypeError:
        raise UserError(f"{what} is {_shown(given)}; it takes a whole number.") from None


def _shown(given: Any) -> str:
    """On one line, and a short one."""
    return " ".join(repr(given).split())[:80]
