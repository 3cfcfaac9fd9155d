"""Code of others that a run names: it runs when its user has run it before, or says so now.

A run's folder that somebody sent names files by their path, or modules. What this user has searched with is remembered, path
and content, in the user's state folder; anything else takes an explicit yes.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from importlib.machinery import PathFinder
from pathlib import Path
from typing import NamedTuple

from nas import plugins
from nas.paths import user_folder
from nas.run.config import RunConfig
from search_spaces import UserError

_COMMAND = "latency command"


class Named(NamedTuple):
    """A component from outside that a run names, found without importing it."""

    kind: str
    name: str
    path: str
    """Of its source; empty where it is not there. A command stands for itself."""
    sha256: str
    """Of its source's bytes."""


def outside(config: RunConfig) -> list[Named]:
    """The components of a configuration that are neither ours nor an installed package's entry point."""
    named = {
        "evaluator": config.evaluator,
        "space": config.training_options.get("space"),
        "controller": config.controller,
        "objective": config.training_options.get("objective"),
    }
    found = [locate(kind, name) for kind, name in named.items() if name is not None and plugins.is_outside(name)]
    teacher = config.training_options.get("teacher", "")
    if plugins.is_outside(teacher):
        found.append(locate("teacher", teacher))
    elif teacher:  # An export's, or that in the folder of a run.
        files = (Path(teacher) / "network.py", Path(teacher) / "export" / "network.py")
        found += [locate("teacher", f"{file}:load") for file in files if file.is_file()]
    if config.latency_command:
        text = config.latency_command
        found.append(Named(_COMMAND, text, text, hashlib.sha256(text.encode()).hexdigest()))
    return found


def locate(kind: str, name: str) -> Named:
    """Where a component's source is, by its name `FILE.py:Class` or `package.module:Class` alone."""
    where = name if name.endswith(".py") else name.rpartition(":")[0]
    path = Path(where).resolve() if where.endswith(".py") else _source_of_module(where)
    if path is None or not path.is_file():
        return Named(kind, name, "", "")
    return Named(kind, name, str(path), hashlib.sha256(path.read_bytes()).hexdigest())


def _source_of_module(name: str) -> Path | None:
    """As importing finds it, but without running the packages above it."""
    folders, spec = None, None
    for depth in range(name.count(".") + 1):
        spec = PathFinder.find_spec(".".join(name.split(".")[: depth + 1]), folders)
        if spec is None:
            return None
        folders = list(spec.submodule_search_locations or [])
    return None if spec is None or spec.origin is None else Path(spec.origin)


def refuse_unknown(run: str, named: Iterable[Named]) -> None:
    """Raises `UserError` for a component that this user has not run before as it is now."""
    known = _known()
    for one in named:
        if one.path and (one.path, one.sha256) not in known:
            if one.kind == _COMMAND:
                raise UserError(
                    f"Run '{run}' names the {one.kind} '{one.name}', which you have not run before; --trust runs it."
                )
            raise UserError(
                f"Run '{run}' names the {one.kind} '{one.name}': Python code that you have not run before as it is now. "
                f"Read {one.path}; --trust runs it."
            )


def remember(named: Iterable[Named]) -> None:
    """From now on this user knows these components. Where the note cannot be kept, the next resume asks."""
    new = [one for one in named if one.path and (one.path, one.sha256) not in _known()]
    if not new:
        return
    try:
        _file().parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with open(os.open(_file(), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a") as file:
            file.write("".join(json.dumps([one.path, one.sha256]) + "\n" for one in new))
    except OSError:
        pass


def _file() -> Path:
    """Raises `OSError` where the user has no home."""
    home = user_folder("XDG_STATE_HOME", ".local/state")
    if home is None:
        raise FileNotFoundError("This user has no home folder")
    return home / "metacell" / "components.jsonl"


def _known() -> set[tuple[str, str]]:
    try:
        lines = _file().read_text().splitlines()
    except OSError:
        return set()
    found = set()
    for line in lines:
        try:  # A line that a full disk cut short is a component that is asked about again.
            path, sha256 = json.loads(line)
        except ValueError:
            continue
        found.add((path, sha256))
    return found
