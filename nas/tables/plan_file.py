"""`plan.json`, in a folder of shards: what is measured there, so that shards of two plans never meet in one table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from search_spaces import UserError
from search_spaces._files import atomic_write

FILE = "plan.json"


def keep(folder: Path, plan: dict[str, Any]) -> None:
    """Make `folder` the place of `plan`'s shards. Raises `UserError` where it was begun as another, or its file is no plan."""
    folder.mkdir(parents=True, exist_ok=True)
    asked = json.loads(json.dumps(plan))  # As it is read back: tuples are lists there.
    if not (folder / FILE).exists():
        # Whole or not at all: several processes begin at once, and each reads what another wrote.
        with atomic_write(folder / FILE) as beside:
            beside.write_text(json.dumps(asked))
    stored = read(folder)
    if stored != asked:
        raise UserError(
            f"'{folder}' was begun as {json.dumps(stored)}; it cannot go on as {json.dumps(asked)}. Take another --out."
        )


def read(folder: Path) -> dict[str, Any]:
    """The plan of a folder of shards."""
    try:
        stored = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        stored = None
    if not isinstance(stored, dict):
        raise UserError(f"'{folder / FILE}' is no plan of measurements; delete its folder, or take another --out.")
    return stored
