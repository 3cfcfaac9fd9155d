"""From a learner's name to the learner; listing never imports."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from nas import settings
from nas.few_shot.learner import Learner, Problem
from search_spaces import unknown

_FOLDER = Path(__file__).parent / "learners"


def names() -> list[str]:
    """The learners, by listing their folder."""
    return sorted(f.stem for f in _FOLDER.glob("*.py") if not f.name.startswith("_"))


def component(name: str) -> Any:
    """The class of a learner. A dash may stand for an underscore. Raises `UserError` for a name that leads nowhere."""
    stem = name.replace("-", "_")
    if stem not in names():
        raise unknown("learner", name, names())
    module = importlib.import_module(f"nas.few_shot.learners.{stem}")
    return getattr(module, module.__all__[0])


def make(name: str, problem: Problem, options: dict[str, str]) -> Learner:
    """A learner with its settings from text. Raises `UserError` for one that it has not."""
    found = component(name)
    return found(problem, **settings.typed(name, found, options))


def recorded(name: str) -> dict[str, str]:
    """Settings that a run keeps even at their default, as runs without them mean `former`."""
    found = component(name)
    return {setting: _text(getattr(found, setting)) for setting in former(name)}


def _text(value: Any) -> str:
    """A setting as `settings.typed` reads it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def former(name: str) -> dict[str, str]:
    """What settings are in runs and exports that do not name them: those that came later."""
    return getattr(component(name), "former", {})


def default_arch(name: str) -> str:
    """The architecture of `conv4` that a learner takes where none is named: its paper's, or a faster one."""
    found = component(name)
    return _conv4(found, getattr(found, "halving", _halving(found)))


def former_default_arch(name: str) -> str:
    """That of runs and exports that name none: they were written before learners had a `halving`."""
    found = component(name)
    return _conv4(found, _halving(found))


def _halving(found: Any) -> str:
    # Maml's strided convolutions halve the time of a step: `stride` is what Finn et al. 2017 took for Omniglot.
    return "stride" if found.transductive else "max_pool"


def _conv4(found: Any, halving: str) -> str:
    return ":".join([str(getattr(found, "filters", 64))] * 4 + [halving])
