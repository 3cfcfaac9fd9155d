"""Writing a file or a folder whole or not at all.

A kill leaves at most something hidden beside the target. Its name holds the number of the process; the next that writes the same
target sweeps away what processes left that are no more.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from search_spaces._base import UserError

_EXCHANGE = 2
"""`RENAME_EXCHANGE` of Linux's `renameat2`."""
_HERE = -100
"""`AT_FDCWD`: paths are relative to the working directory."""


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to; at the end it takes the place of `path`, unless an error came before.

    Whoever reads `path` meanwhile sees the old file or the new one, never a part. The folder must exist. Two processes that write
    the same file do not mix.
    """
    _sweep(path)
    beside = _beside(path)
    try:
        yield beside
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """An empty folder beside `path` to fill; at the end it takes the place of the folder `path`, unless an error came before.

    On Linux the old and the new folder change places in one step. Elsewhere a kill between two renames leaves the old one hidden.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path)
    beside = _beside(path)
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    try:
        yield beside
        if not path.exists():
            beside.rename(path)
        elif not _exchange(beside, path):
            old = beside.with_suffix(".old")
            path.rename(old)
            beside.rename(path)
            shutil.rmtree(old)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def refuse_unreadable(path: Path | str) -> None:
    """Raises `UserError` for a file that is there and cannot be opened: readers of tensors take it for one that is damaged."""
    try:
        with Path(path).open("rb"):
            pass
    except (FileNotFoundError, IsADirectoryError):
        pass
    except OSError as error:
        raise UserError(f"'{path}' cannot be read: {error.strerror}.") from None


def _beside(path: Path) -> Path:
    # The host too: on a file system that several share, numbers of processes are no names.
    return path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.partial")


def _sweep(path: Path) -> None:
    """Remove what killed processes of this host left beside `path`."""
    start, end = f".{path.name}.{socket.gethostname()}.", ".partial"
    for left in path.parent.iterdir() if path.parent.is_dir() else []:
        number = left.name[len(start) : -len(end)]
        if left.name.startswith(start) and left.name.endswith(end) and number.isdecimal() and not _lives(int(number)):
            shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)


def _lives(process: int) -> bool:
    if os.name == "nt":  # There the call below would end the process.
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # Another user's.
        pass
    return True


def _exchange(one: Path, other: Path) -> bool:
    """Let two folders change places in one step; False where the system or the file system cannot."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    return rename(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0
