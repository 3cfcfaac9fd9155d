"""Benchmark tables: one `.safetensors` file each, format `nas-table/1`, memory-mapped.

Tensor `archs` int8 `[N, D]`; every other tensor is a column, float32 `[N]` or `[N, seeds]`, NaN where not measured, named
`<task>/<metric>[@<epochs>]`. The header says what each column is.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from nas.plugins import unknown
from search_spaces import _ops
from search_spaces._base import UserError

FORMAT = "nas-table/1"
SUFFIX = ".safetensors"

_READS: Counter[str] = Counter()


def reads() -> Counter[str]:
    """How often this process has read each `TABLE/COLUMN` so far, by whatever way: the difference of two is a log."""
    return Counter(_READS)


class Column(NamedTuple):
    """What the header says of one column."""

    task: str
    metric: str
    split: str | None
    """`train`, `valid`, `test`, or None where the metric has no split."""
    epochs: int | None
    unit: str | None
    maximize: bool


@dataclass(frozen=True)
class Table:
    """A table on disk. Nothing but the header is in memory until a column is read."""

    path: Path
    space: str
    columns: dict[str, Column]
    source: str
    licence: str
    rows: int

    @property
    def name(self) -> str:
        return self.path.name.removesuffix(SUFFIX)

    @cached_property
    def archs(self) -> Tensor:
        """int8 `[N, D]`."""
        return self._read("archs")

    def column(self, name: str) -> Tensor:
        """float32 `[N]` or `[N, seeds]`, by row. Raises `UserError` for a column that is not there."""
        if name not in self.columns:
            raise unknown(f"column of table '{self.name}'", name, sorted(self.columns))
        _READS[f"{self.name}/{name}"] += 1
        return self._read(name)

    def by_rank(self, name: str, choices: tuple[int, ...]) -> Tensor:
        """The column ordered as `_ops.enumerate_all(choices)`, NaN where the table has no row."""
        values = self.column(name)
        ranked = torch.full((_ops.size(choices), *values.shape[1:]), float("nan"))
        ranked[_ops.index(self.archs, choices)] = values
        return ranked

    def _read(self, name: str) -> Tensor:
        with safe_open(self.path, framework="pt") as file:
            return file.get_tensor(name)


def read(path: Path) -> Table:
    """The table in a file, from its header alone. Raises `UserError` for a file that is none."""
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            rows = file.get_slice("archs").get_shape()[0] if "archs" in file.keys() else 0  # noqa: SIM118
    except FileNotFoundError:
        raise UserError(f"There is no table '{path}'.") from None
    except (SafetensorError, OSError) as error:
        raise UserError(f"'{path}' is not a whole {SUFFIX} file ({error}); fetch or import it again.") from None
    if header.get("format") != FORMAT:
        raise UserError(f"'{path}' has format '{header.get('format')}'; a table has '{FORMAT}'.")
    if "columns" not in header or "space" not in header or not rows:
        raise UserError(f"'{path}' lacks its 'columns', 'space' or 'archs'; a table has all three.")
    columns = {name: Column(**about) for name, about in json.loads(header["columns"]).items()}
    return Table(path, header["space"], columns, header.get("source", ""), header.get("licence", ""), rows)


def folders() -> list[Path]:
    """Where tables are looked for: the package, each folder of `NAS_TABLES`, the user's data folder."""
    listed = [Path(f) for f in os.environ.get("NAS_TABLES", "").split(os.pathsep) if f]
    missing = [f for f in listed if not f.is_dir()]
    if missing:
        raise UserError(f"NAS_TABLES names '{missing[0]}', which is not a folder; list folders with tables in them.")
    data_home = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return [Path(__file__).parent / "data", *listed, data_home / "metacell"]


def names() -> list[str]:
    """Every table there is, the first folder's first."""
    found = [f.name.removesuffix(SUFFIX) for folder in folders() for f in sorted(folder.glob(f"*{SUFFIX}"))]
    return [name for name in dict.fromkeys(found) if not name.startswith("prior")]


@lru_cache
def _read_cached(path: Path, _modified: int) -> Table:
    return read(path)


def find(name: str) -> Table:
    """The table of a name, from the first folder that has it."""
    for folder in folders():
        path = folder / f"{name}{SUFFIX}"
        if path.is_file():
            return _read_cached(path, path.stat().st_mtime_ns)
    raise unknown("table", name, names())
