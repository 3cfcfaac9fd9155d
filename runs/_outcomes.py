"""What a long recipe has found so far, one line of JSON each: killed, it goes on where it stood."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any


class Outcomes:
    """Outcomes by key, in a file that only grows. To begin anew, remove it."""

    def __init__(self, path: Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        self._found: dict[str, Any] = {}
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
            with contextlib.suppress(ValueError):  # A line that a kill cut short, or an empty one.
                self._found |= json.loads(line)
        self._file = path.open("a", encoding="utf-8")

    def get(self, key: str) -> Any:
        """What was found; None where nothing was yet."""
        return self._found.get(key)

    def keep(self, key: str, value: Any) -> Any:
        """Add an outcome; the same again for the caller."""
        self._found[key] = value
        # The line break in front ends a line that a kill cut short.
        self._file.write(f"\n{json.dumps({key: value})}")
        self._file.flush()
        return value
