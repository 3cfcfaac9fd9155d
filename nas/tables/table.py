"""Benchmark tables: one `.safetensors` file each, memory-mapped.

Format `nas-table/1`: tensor `archs` int8 `[N, D]`; every other tensor is a column, float32 `[N]` or `[N, seeds]`, NaN where not
measured, named `<task>/<metric>[@<epochs>]`. The header says what each column is.

Format `nas-table/2`: a row stands for every architecture that computes the same function, and `archs` holds one of them (the
header has `rows`: "functions"). A column may be int16: its value is `scale` times what is stored, and below zero means not
measured. The header has `scale` and `noise` of each column, and may have `families`, the family of each task, and `images`, what
is behind it. Whoever reads such a table gets all architectures of its space, as of the other format.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from nas.tables import checks, functions
from search_spaces import Space, UserError, _ops, unknown
from search_spaces._files import atomic_write, refuse_unreadable

FORMAT, PACKED = "nas-table/1", "nas-table/2"
SUFFIX = ".safetensors"

# A count for the process and not a log in the table: `find` caches tables, and a comparison wants what its own reads add.
_READS: Counter[str] = Counter()

_UNSAID = {"split": None, "epochs": None, "unit": None}
"""What a header may leave out of a column."""
_STORED = ("scale", "noise")
"""What the header of a table of functions says of each column beside a `Column`."""


def column_read_counts() -> Counter[str]:
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
    seeds: int | None = None
    """Training seeds that a value `[N]` is the mean of, at most; None where the table does not say."""


class Images(NamedTuple):
    """What a table says of the images behind a task."""

    input_shape: tuple[int, int, int]
    """Channels, height and width."""
    classes: int
    examples: int
    """Training images."""


class Packing(NamedTuple):
    """How the values of a table of functions are stored."""

    space: Space
    scales: dict[str, float]
    """Of each column: what one unit of its whole numbers is worth."""


@dataclass(frozen=True)
class Table:
    """A table on disk. Nothing but the header is in memory until a column is read."""

    path: Path
    space: str
    columns: dict[str, Column]
    source: str
    licence: str
    rows: int
    sha256: str | None = None
    """Of the stored values, by `checksum`; None in tables without one."""
    noise: dict[str, dict[str, float]] = field(default_factory=dict)
    """By column, how its training seeds differ (`nas.tables.seed_noise`); columns that do not say are not in it."""
    families: dict[str, str] = field(default_factory=dict)
    """By task, as `Column.task` has it, the family that the table says it is of."""
    images: dict[str, Images] = field(default_factory=dict)
    """By the first part of a task's name, as `gtsrb:quarter` of `gtsrb:quarter-calibration`, the images behind it."""
    packing: Packing | None = None
    """Of a table of one row a function; None where each architecture has a row."""

    @property
    def name(self) -> str:
        return self.path.name.removesuffix(SUFFIX)

    @property
    def archs(self) -> Tensor:
        """int8 `[N, D]`. Raises `UserError` for what no table holds, as two rows of one architecture."""
        return self._stored_archs if self.packing is None else self._listed[0]

    @cached_property
    def _stored_archs(self) -> Tensor:
        """One for each row of the file."""
        archs = self._read("archs")
        self._refuse(checks.archs(archs, self.space), "")
        return archs

    @cached_property
    def _listed(self) -> tuple[Tensor, Tensor]:
        """Of a table of functions all architectures int8 `[N, D]`, and the row of each, -1 where there is none, int64 `[N]`."""
        assert self.packing is not None
        space = self.packing.space
        self._refuse(functions.twice(space, self._stored_archs), "")
        return _ops.enumerate_all(space.choices).to(torch.int8), functions.rows(space, self._stored_archs)

    def spread(self, name: str, stored: Tensor) -> Tensor:
        """The values of a column by row of `archs`, float32 `[N]` or `[N, seeds]`, from the tensor in the file.

        What is not stored as a column can be comes back as it is, for `checks.column` to refuse.
        """
        if (
            self.packing is None
            or stored.dtype not in (torch.int16, torch.float32)
            or stored.shape[:1] != self._stored_archs.shape[:1]
        ):
            return stored
        values, row_N = scaled(stored, self.packing.scales[name]), self._listed[1]
        return torch.where((row_N < 0).reshape(-1, *(1,) * (values.ndim - 1)), torch.nan, values[row_N])

    def column(self, name: str) -> Tensor:
        """float32 `[N]` or `[N, seeds]`, by row. Raises `UserError` for a column that is not there, or not as it says."""
        if name not in self.columns:
            raise unknown(f"column of table '{self.name}'", name, sorted(self.columns))
        _READS[f"{self.name}/{name}"] += 1
        return self._checked(name)

    def check(self, names: Iterable[str]) -> None:
        """Raise `UserError` for a column that is not as the header says. It hands out nothing, so this is no reading."""
        for name in names:
            self._checked(name)

    def _checked(self, name: str) -> Tensor:
        values = self.spread(name, self._read(name))
        self._refuse(checks.column(self.columns[name].unit, values, self.rows), f"column '{name}' ")
        return values

    def _refuse(self, problems: Iterable[str], what: str) -> None:
        for problem in problems:
            raise UserError(f"Table '{self.path}' is not whole: {what}{problem}. Fetch or import it again.")

    def width(self, name: str) -> int:
        """How many seeds a column holds apart, 1 for one of `[N]`; from the file's header alone."""
        with safe_open(self.path, framework="pt") as file:
            shape = file.get_slice(name).get_shape()
        return shape[1] if len(shape) > 1 else 1

    def by_index(self, name: str, choices: tuple[int, ...]) -> Tensor:
        """The column ordered as `_ops.enumerate_all(choices)`, NaN where the table has no row."""
        values = self.column(name)
        by_index = torch.full((_ops.size(choices), *values.shape[1:]), float("nan"))
        by_index[_ops.index(self.archs, choices)] = values
        return by_index

    def digest(self, names: list[str]) -> str:
        """Of the architectures and of some columns' values, the first 16 digits; it does not count as reading them."""
        return checksum({name: self._read(name) for name in ("archs", *names)})[:16]

    def _read(self, name: str) -> Tensor:
        try:
            with safe_open(self.path, framework="pt") as file:
                return file.get_tensor(name)
        except (SafetensorError, OSError, KeyError) as error:  # It was whole when it was opened.
            raise UserError(f"Table '{self.path}' has changed since it was opened ({error}); try again.") from None


def scaled(stored: Tensor, scale: float) -> Tensor:
    """The values of a stored column, float32: whole numbers times their scale, NaN for those below zero; floats as they are."""
    if stored.dtype == torch.float32:
        return stored
    return (stored.double() * scale).float().masked_fill(stored < 0, torch.nan)


def read(path: Path) -> Table:
    """The table in a file, from its header alone. Raises `UserError` for a file that is none."""
    if path.is_dir():
        raise UserError(f"'{path}' is a folder; a table is a {SUFFIX} file.")
    refuse_unreadable(path)
    try:
        with safe_open(path, framework="pt") as file:
            header, stored = file.metadata() or {}, set(file.keys())
            rows = (file.get_slice("archs").get_shape() or [0])[0] if "archs" in stored else 0
    except FileNotFoundError:
        raise UserError(f"There is no table '{path}'.") from None
    except (SafetensorError, OSError) as error:
        raise UserError(f"'{path}' is not a whole {SUFFIX} file ({error}); fetch or import it again.") from None
    if header.get("format") not in (FORMAT, PACKED):
        raise UserError(f"'{path}' has format '{header.get('format')}'; a table has '{FORMAT}' or '{PACKED}'.")
    if "columns" not in header or "space" not in header or not rows:
        raise UserError(f"'{path}' lacks its 'columns', 'space' or 'archs'; a table has all three.")
    packed = header["format"] == PACKED
    try:
        given, families, images = (dict(json.loads(header.get(key, "{}"))) for key in ("columns", "families", "images"))
    except (ValueError, TypeError, RecursionError) as error:
        raise UserError(
            f"'{path}' has a header whose 'columns', 'families' or 'images' cannot be read ({error})."
        ) from None
    found = (checks.about(name, about, packed=packed) for name, about in given.items())
    wrong = next((words for words in found if words is not None), checks.families(families) or checks.images(images))
    if wrong is not None:
        raise UserError(f"'{path}' has a header that cannot be read: it {wrong}; fetch or import it again.")
    stored_as = {name: {key: about.pop(key, None) for key in _STORED} for name, about in given.items()}
    columns = {name: Column(**_UNSAID | about) for name, about in given.items()}
    # The header is what searches read, the tensors what they get: neither may name what the other lacks.
    unlike = sorted(columns.keys() ^ (stored - {"archs"}))
    if unlike:
        where = "its header does not name" if unlike[0] in stored else "it does not hold"
        raise UserError(f"'{path}' and its header differ: column '{unlike[0]}' {where}; fetch or import it again.")
    packing = _packing(path, header["space"], stored_as) if packed else None
    return Table(
        path,
        header["space"],
        columns,
        header.get("source", ""),
        header.get("licence", ""),
        rows if packing is None else _ops.size(packing.space.choices),
        header.get("sha256"),
        {name: stored["noise"] for name, stored in stored_as.items() if stored["noise"]},
        families,
        {
            name: Images(tuple(about["input_shape"]), about["classes"], about["examples"])
            for name, about in images.items()
        },
        packing,
    )


def _packing(path: Path, space: str, stored_as: dict[str, dict[str, Any]]) -> Packing:
    try:
        return Packing(functions.space_of(space), {name: stored["scale"] for name, stored in stored_as.items()})
    except UserError as error:
        raise UserError(f"'{path}' cannot be read: {error}.") from None


def write(
    path: Path, space: str, archs: Tensor, columns: dict[str, tuple[Column, Tensor]], source: str, licence: str
) -> None:
    """A table with its checksum, whole or not at all.

    Args:
        archs: whole numbers `[N, D]`.
        columns: by name, what each is and its values `[N]` or `[N, seeds]`, NaN where not measured.
    """
    tensors = {name: values.float().contiguous() for name, (_, values) in columns.items()}
    tensors["archs"] = archs.to(torch.int8).contiguous()
    header = {
        "format": FORMAT,
        "space": space,
        "columns": json.dumps({name: _stated(about) for name, (about, _) in columns.items()}),
        "source": source,
        "licence": licence,
        "sha256": checksum(tensors),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    # Tables are memory-mapped: a search that reads the old file keeps it, as a new one takes its name.
    with atomic_write(path) as partial:
        partial.write_bytes(safetensors.torch.save(tensors, header))


def _stated(column: Column) -> dict[str, Any]:
    """Without `seeds` where it says nothing: what version 0.1 reads stays what it reads."""
    return {key: value for key, value in column._asdict().items() if key != "seeds" or value is not None}


def checksum(tensors: dict[str, Tensor]) -> str:
    """SHA-256 of names, shapes and bytes, in the names' order."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(f"{name} {tensors[name].dtype} {list(tensors[name].shape)}\n".encode())
        digest.update(tensors[name].contiguous().numpy().tobytes())
    return digest.hexdigest()
