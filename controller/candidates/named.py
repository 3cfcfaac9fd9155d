"""Controllers that a setting of another names: `bayesian`, or with settings `reinforce/lr=0.05`."""

from __future__ import annotations

import importlib
from functools import lru_cache
from pathlib import Path
from typing import Any

from search_spaces import Space, UserError, unknown
from search_spaces._settings import typed


@lru_cache(maxsize=64)
def controller(space: Space, text: str) -> Any:
    """The controller in a space. Raises `UserError` for one that there is not, and for settings that it does not take."""
    name, *given = text.split("/")
    folder = Path(__file__).parent.parent
    names = sorted(f.stem for f in folder.glob("*.py") if not f.name.startswith("_"))
    if name not in names:
        raise unknown("controller", name, names)
    if wrong := [pair for pair in given if "=" not in pair]:
        raise UserError(
            f"Controller '{text}' has '{wrong[0]}'; settings are NAME=VALUE after slashes, as reinforce/lr=0.05."
        )
    module = importlib.import_module(f"controller.{name}")
    component = getattr(module, module.__all__[0])
    return component(space, **typed(name, component, dict(pair.split("=", 1) for pair in given)))
