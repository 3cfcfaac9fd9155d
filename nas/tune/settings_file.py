"""The file of tuned settings: what `nas tune` writes, and `nas few-shot` and `nas meta-train` take."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from search_spaces import UserError
from search_spaces._files import atomic_write

FORMAT = "nas-settings/1"


class Tuned(NamedTuple):
    """Settings and where they come from."""

    command: str
    """Whose learner it is: `few-shot` or `meta-train`."""
    learner: str
    settings: dict[str, Any]
    about: dict[str, Any]
    """What was measured, on what, by how many trials."""


def write(path: Path, tuned: Tuned) -> None:
    """Write a file whole or not at all."""
    with atomic_write(path) as partial:
        partial.write_text(json.dumps({"format": FORMAT} | tuned._asdict(), indent=2) + "\n", encoding="utf-8")


def read(path: Path, command: str) -> Tuned:
    """The settings of a file. Raises `UserError` for one that is damaged, and for another command's."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["format"] != FORMAT:
            raise ValueError(f"format {found['format']!r}")
        tuned = Tuned(str(found["command"]), str(found["learner"]), dict(found["settings"]), dict(found["about"]))
    except OSError as error:
        raise UserError(f"Cannot read '{path}': {error.strerror or error}.") from None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"'{path}' is no file of settings by `nas tune` ({error}).") from None
    if tuned.command != command:
        raise UserError(f"'{path}' has settings for nas {tuned.command} --learner {tuned.learner}.")
    return tuned
