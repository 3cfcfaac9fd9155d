"""One process at a time works on a run: the others are refused before they have written anything."""

from __future__ import annotations

import tempfile
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from search_spaces import UserError

FILE = "run.lock"
"""In a run's folder. The operating system frees the lock when the process ends, however it ends; the file stays."""
_PATIENCE = 0.2
"""Seconds that a lock is waited for: one that `is_taken` holds while it looks is free at once."""


def lock(folder: Path, what: str = "run") -> BaseFileLock:
    """The lock of a run's folder, taken. Raises `UserError` where another process has it, and in a folder of others.

    Args:
        what: what is worked on there, in a word.
    """
    taken = FileLock(folder / FILE, timeout=_PATIENCE)
    try:
        taken.acquire()
        # A file that is there may be locked where none can be made; TensorBoard's thread would end with a traceback.
        with tempfile.TemporaryFile(dir=folder):
            pass
    except Timeout:
        shows = " `nas show` shows the run meanwhile." if what == "run" else ""
        raise UserError(
            f"Another process works on {what} '{folder}'; wait until it has ended, or stop it.{shows}"
        ) from None
    except OSError as error:
        taken.release()
        raise UserError(f"Cannot write to {what} '{folder}': {error.strerror or error}.") from None
    return taken


def is_taken(folder: Path) -> bool:
    """Whether a process works on a run now, as far as can be seen: False where its folder cannot be written to."""
    if not (folder / FILE).exists():
        return False
    try:
        with FileLock(folder / FILE, timeout=0):
            return False
    except Timeout:
        return True
    except OSError:
        return False
