"""From a name on the command line to the class in the file of that name; listing never imports."""

from __future__ import annotations

import difflib
import importlib
from pathlib import Path
from typing import Any

from search_spaces import UserError

_ROOMS = {
    "space": ("search_spaces", "spaces"),
    "controller": ("controller", "controllers"),
    "meta-learner": ("controller.meta", "meta-learners"),
    "evaluator": ("nas.evaluators", "evaluators"),
}


def unknown(kind: str, name: str, there_are: list[str]) -> UserError:
    """The one line for a name that does not exist: the nearest, then all."""
    near = difflib.get_close_matches(name, there_are, n=1, cutoff=0.5)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    listed = f"There are: {', '.join(there_are)}." if there_are else "There is none."
    return UserError(f"No {kind} is called '{name}'.{hint} {listed}")


def names(kind: str) -> list[str]:
    """The components of a kind (`space`, `controller`, `meta-learner`, `evaluator`), by listing their folder."""
    package, _ = _ROOMS[kind]
    folder = Path(__file__).parent.parent.joinpath(*package.split("."))
    return sorted(f.stem for f in folder.glob("*.py") if not f.name.startswith("_"))


def load(kind: str, name: str) -> Any:
    """The class of one component. A dash may stand for an underscore. Raises `UserError` for a name that is not there."""
    from controller.models import legacy  # Here, as `controller` loads torch and `nas --help` must not.

    module_name = legacy.controller(name.replace("-", "_")) if kind == "controller" else name.replace("-", "_")
    if module_name not in names(kind):
        raise unknown(kind, name, names(kind))
    module = importlib.import_module(f"{_ROOMS[kind][0]}.{module_name}")
    return getattr(module, module.__all__[0])


def read(text: str, type_: type) -> Any:
    """A setting of a type from text; None for a text that is no such value."""
    try:
        return {"true": True, "false": False}[text] if type_ is bool else type_(text)
    except (ValueError, KeyError):
        return None


def kind(type_: type) -> str:
    """What a setting of a type takes, in words."""
    return {int: "a whole number", float: "a number", bool: "true or false"}.get(type_, "a text")
