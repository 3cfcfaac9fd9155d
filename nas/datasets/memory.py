"""How much memory there is for a dataset, before it is loaded."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

from search_spaces import UserError

_MEMINFO = Path("/proc/meminfo")
_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""What a container may use, in bytes; `max` where nothing limits it."""


def available() -> int | None:
    """Bytes that can still be taken, by what Linux and a container's limit say; None on other systems."""
    found = []
    with suppress(OSError, UnicodeDecodeError):
        free = re.findall(r"^(?:MemAvailable|SwapFree): *(\d+) kB$", _MEMINFO.read_text(), re.MULTILINE)
        found += [1024 * sum(map(int, free))] if free else []
    for limit in _LIMITS:
        with suppress(OSError, ValueError):
            found.append(int(limit.read_text()))
    return min(found, default=None)


def check(what: str, size: int, instead: str) -> None:
    """Raise `UserError` where `size` bytes do not fit: Linux would kill the process without a word."""
    free = available()
    if free is not None and size > free:
        raise UserError(f"{what} takes {_gib(size)} of memory, and {_gib(free)} are free. {instead}")


def _gib(size: int) -> str:
    return f"{size / 2**30:,.1f} GiB"
