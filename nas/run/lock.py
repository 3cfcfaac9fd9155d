"""One process at a time works on a run: the others are refused before they have written anything."""

from __future__ import annotations

from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from search_spaces import UserError

FILE = "run.lock"
"""In a run's folder. The operating system frees the lock when the process ends, however it ends; the file stays."""


def lock(folder: Path) -> BaseFileLock:
    """The lock of a run's folder, taken. Raises `UserError` where another process has it, and in a folder of others."""
    taken = FileLock(folder / FILE, timeout=0)
    try:
        taken.acquire()
    except Timeout:
        raise UserError(
            f"Another process works on run '{folder}'; wait until it has ended, or stop it. `nas show` shows the run meanwhile."
        ) from None
    except OSError as error:
        raise UserError(f"Cannot write to run '{folder}': {error.strerror or error}.") from None
    return taken
