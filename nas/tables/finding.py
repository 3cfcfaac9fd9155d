"""Which tables there are: by name, in the folders where tables are looked for."""

from __future__ import annotations

import filecmp
import os
from functools import lru_cache
from pathlib import Path

from safetensors import SafetensorError, safe_open

from nas.paths import TABLES, user_folder
from nas.tables.table import FORMAT, SUFFIX, Table, read
from search_spaces import UserError, unknown


def folders() -> list[Path]:
    """Where tables are looked for: the package, each folder of `NAS_TABLES`, the user's data folder."""
    listed = [Path(f) for f in os.environ.get("NAS_TABLES", "").split(os.pathsep) if f]
    missing = [f for f in listed if not f.is_dir()]
    if missing:
        raise UserError(f"NAS_TABLES names '{missing[0]}', which is not a folder; list folders with tables in them.")
    data = user_folder("XDG_DATA_HOME", ".local/share")
    return [TABLES, *listed, *([data / "metacell"] if data else [])]


def names() -> list[str]:
    """Every table there is, the first folder's first; `unreadable` has the files that are passed over."""
    found = [f.name.removesuffix(SUFFIX) for f in _files() if _why_unreadable(f) is None]
    return list(dict.fromkeys(found))


def unreadable() -> list[str]:
    """Why files beside the tables that should be tables are none, a line each: one bad neighbor must not stop a listing."""
    return [why for f in _files() if (why := _why_unreadable(f)) is not None]


def shadowed() -> list[str]:
    """Which tables an earlier folder hides by one of the same name with other contents, a line each."""
    first: dict[str, Path] = {}
    lines = []
    for file in _files():
        kept = first.setdefault(file.name, file)
        if kept != file and not filecmp.cmp(kept, file, shallow=False):
            lines.append(f"'{file}' is passed over, as '{kept}' has the same name and comes first")
    return lines


def _files() -> list[Path]:
    return [f for folder in folders() for f in sorted(folder.glob(f"*{SUFFIX}")) if _is_table(f)]


def _why_unreadable(path: Path) -> str | None:
    try:
        _read_cached(path, path.stat().st_mtime_ns)
    except (UserError, OSError) as error:
        return str(error)
    return None


def _is_table(path: Path) -> bool:
    """Whether a file of a table's suffix is one: weights and priors have it too, and may lie beside tables."""
    return path.is_file() and _claims_to_be_a_table(path, path.stat().st_mtime_ns)


# The time of change is part of the key: a file that is replaced is read again.
@lru_cache
def _claims_to_be_a_table(path: Path, _modified: int) -> bool:
    """By its header. A file that cannot be read counts as one, so that a damaged table is named and not passed over."""
    try:
        with safe_open(path, framework="pt") as file:
            return (file.metadata() or {}).get("format", "").startswith(FORMAT.partition("/")[0] + "/")
    except (SafetensorError, OSError):
        return True


@lru_cache
def _read_cached(path: Path, _modified: int) -> Table:
    return read(path)


def find(name: str) -> Table:
    """The table of a name, from the first folder that has it."""
    for folder in folders():
        path = folder / f"{name}{SUFFIX}"
        if _is_table(path):
            return _read_cached(path, path.stat().st_mtime_ns)
    for folder in folders():
        path = folder / f"{name}{SUFFIX}"
        if path.is_file():  # Asked for by name, a file that is no table says so.
            return read(path)
    raise UserError(f"{unknown('table', name, names())} Others are looked for in the folders of NAS_TABLES.")
