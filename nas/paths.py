"""Where the package keeps what it ships, and where users keep what is theirs."""

from __future__ import annotations

import os
from pathlib import Path

DATA = Path(__file__).parent / "data"
TABLES = DATA / "tables"
"""The benchmark tables inside the package."""


def user_folder(variable: str, default: str) -> Path | None:
    """The folder that an XDG variable names, else `default` in the user's home; None where there is neither.

    A container can run as any number: such a user has no home.
    """
    if named := os.environ.get(variable):
        return Path(named)
    try:
        return Path.home() / default
    except RuntimeError:
        return None


def expanded(text: str | Path) -> Path:
    """The path with `~` as the user's home; as it stands where that home is not known, so that it leads nowhere."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)
