"""What version 0.1 called things, and what they are called now: the one place where old names are translated.

Runs, priors and command lines of 0.1 hold controllers' names, their settings, the keys of a run's configuration and the leaves of
a controller's state. A name that is not listed has not changed. A setting that maps to None is gone and is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

Value = TypeVar("Value")

CONTROLLERS = {"in_context": "transfer_bo"}
"""Old to new."""

SETTINGS: dict[str, dict[str, str | None]] = {}
"""By the controller's new name: old setting to new."""

STATE_LEAVES: dict[str, dict[str, str | None]] = {}
"""By the controller's new name: the path of a leaf, as `/credit`, to its new one; None for a leaf that is kept no longer."""

RUN_CONFIG = {
    "settings": "controller_options",
    "data": "training_options",
    "seconds": "simulated_seconds",
    "minutes": "wall_minutes",
}
"""The keys of what 0.1 stored as `asked`."""

ONE_SEED = {"~drawn": "~one-seed"}
"""The end of a task's name."""


def controller(name: str) -> str:
    """The name of today of a controller."""
    plain = name.replace("-", "_")
    return CONTROLLERS.get(plain, plain)


def settings(controller_name: str, given: Mapping[str, Value]) -> dict[str, Value]:
    """A controller's settings under their names of today."""
    return _renamed(given, SETTINGS.get(controller(controller_name), {}))


def state_leaves(controller_name: str, leaves: Mapping[str, Value]) -> dict[str, Value]:
    """The leaves of a stored state under their paths of today."""
    return _renamed(leaves, STATE_LEAVES.get(controller(controller_name), {}))


def run_config(asked: Mapping[str, Any]) -> dict[str, Any]:
    """A run's configuration under its keys of today."""
    config = _renamed(asked, RUN_CONFIG)
    config["controller"] = controller(config["controller"])
    config["controller_options"] = settings(config["controller"], config["controller_options"])
    return config


def _renamed(given: Mapping[str, Value], names: Mapping[str, str | None]) -> dict[str, Value]:
    """What has a new name loses its old one, unless both were given: then the new one counts."""
    found = {new: value for key, value in given.items() if key in names and (new := names[key]) is not None}
    return found | {key: value for key, value in given.items() if key not in names}
