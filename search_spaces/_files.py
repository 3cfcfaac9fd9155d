"""Writing a file whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to; at the end it takes the place of `path`, unless an error came before.

    Whoever reads `path` meanwhile sees the old file or the new one, never a part. A kill leaves at most the file beside it.
    The folder must exist. The process's number is in the name, so that two processes that write the same file do not mix.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield beside
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
