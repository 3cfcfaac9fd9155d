"""People's own results, a CSV file with a row for each training, become a table.

The first line names the columns. What is read of them:

    arch                                    an architecture as its space writes it (also: architecture, arch_str, cell)
    0-1, 0-2, ...                           or its decisions, each by its name: an option's name or number
    score, accuracy, valid_accuracy, ...    the score, higher is better; empty where the training failed
    test_accuracy, test                     what is reported of the best
    seconds                                 of the training
    seed                                    several rows of one architecture are trainings of several seeds

Any other column of numbers becomes a column of the table too. Shapes: `N` architectures, `K` seeds.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from nas import plugins
from nas.tables import table as tables
from nas.tables.table import Column
from search_spaces import Space, UserError, _sampling

_ARCH = ("arch", "architecture", "arch_str", "cell")
_SCORES = {
    "score": ("score", None),
    "accuracy": ("accuracy", None),
    "acc": ("accuracy", None),
    "valid_accuracy": ("accuracy", "valid"),
    "val_accuracy": ("accuracy", "valid"),
    "validation_accuracy": ("accuracy", "valid"),
    "valid_acc": ("accuracy", "valid"),
    "val_acc": ("accuracy", "valid"),
}
"""The header's words, in small letters, to the metric and its split."""
_TEST = {"test": ("accuracy", "test"), "test_accuracy": ("accuracy", "test"), "test_acc": ("accuracy", "test")}
_SECONDS = ("seconds", "train_seconds", "training_seconds", "time")
_SEED = "seed"
_READS = (
    f"an architecture ({', '.join(_ARCH)}, or the names of its space's decisions), a score ({', '.join(_SCORES)}), and if they "
    "are there test_accuracy, seconds, seed and other columns of numbers"
)


class Imported(NamedTuple):
    """What became of a file."""

    rows: int
    ignored: list[str]
    """Columns that hold no numbers."""


class _Row(NamedTuple):
    line: int
    cells: dict[str, str]


def run(path: Path, out: Path, space_name: str, task: str) -> Imported:
    """Write the table of a CSV file, whole or not at all.

    Raises `UserError` for a file that is none, without an architecture or a score, and for a line that cannot be read.
    """
    space = plugins.load("space", space_name)()
    if not _sampling.is_listed(space):
        raise UserError(f"Space '{space.name}' is too large for a table: it takes at most {_sampling.MAX_LISTED:,}.")
    header, rows = _read(path)
    arch_columns, numbers, ignored = _roles(path, header, rows, space)
    place: dict[tuple[tuple[int, ...], str], int] = {}
    trainings: dict[tuple[int, ...], list[_Row]] = {}
    for row in rows:
        arch = _arch(path, row, arch_columns, space)
        seed = row.cells.get(_SEED, "").strip()
        other = place.setdefault((arch, seed), row.line)
        if other != row.line:
            what = f" and seed {seed}" if seed else ""
            raise UserError(
                f"Lines {other} and {row.line} of '{path}' are of one architecture{what}; a column 'seed' tells trainings apart."
            )
        trainings.setdefault(arch, []).append(row)
    # Which seed it was means nothing for a table: those of an architecture stand side by side in the order of the file.
    values = torch.full((len(numbers), len(trainings), max(map(len, trainings.values()))), torch.nan)
    for n, several in enumerate(trainings.values()):
        for k, row in enumerate(several):
            values[:, n, k] = torch.tensor([_number(path, row, name) for name in numbers])
    columns = dict(_columns(task, numbers, values))
    tables.write(out, space_name, torch.tensor(list(trainings)), columns, f"imported from {path.name}", "not said")
    return Imported(len(rows), ignored)


def _read(path: Path) -> tuple[list[str], list[_Row]]:
    """The header's words in small letters, and the rows that are not empty, with their lines from 1."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"'{path}' is not a text in UTF-8; a CSV file is.") from None
    first = text.partition("\n")[0]
    # Spreadsheets of half the world write semicolons; an architecture's text may hold any of them, the header seldom.
    delimiter = max(",;\t", key=first.count)
    try:
        lines = csv.reader(text.splitlines(), delimiter=delimiter, strict=True)
        header = [word.strip().lower() for word in next(lines, [])]
        rows = [(lines.line_num, cells) for cells in lines if any(cell.strip() for cell in cells)]
    except csv.Error as error:
        raise UserError(f"'{path}' cannot be read as CSV: {error}; it takes {_READS}.") from None
    if not rows:
        raise UserError(f"'{path}' has no row below its header; a CSV file of results has one for each training.")
    twice = sorted({word for word in header if header.count(word) > 1})
    if twice:
        raise UserError(f"'{path}' has two columns called '{twice[0]}'.")
    for line, cells in rows:
        if len(cells) != len(header):
            raise UserError(f"Line {line} of '{path}' has {len(cells)} values; the header has {len(header)}.")
    return header, [_Row(line, dict(zip(header, cells))) for line, cells in rows]


def _roles(path: Path, header: list[str], rows: list[_Row], space: Space) -> tuple[list[str], list[str], list[str]]:
    """The columns of the architecture, those of numbers, and those that are neither."""
    decisions = [name.lower() for name in space.decisions]
    named = [word for word in header if word in _ARCH]
    if not named and not set(decisions) <= set(header):
        raise UserError(f"'{path}' has the columns {', '.join(header)[:200]}; `nas table import csv` reads {_READS}.")
    arch_columns = named[:1] or decisions
    rest = [word for word in header if word not in (*arch_columns, _SEED, "") and word not in decisions]
    numbers = [word for word in rest if word in _SCORES or word in _TEST or word in _SECONDS or _is_numeric(rows, word)]
    if not any(word in _SCORES or word in _TEST for word in numbers):
        raise UserError(
            f"'{path}' has no score among its columns {', '.join(header)[:200]}; `nas table import csv` reads {_READS}."
        )
    return arch_columns, numbers, [word for word in rest if word not in numbers]


def _is_numeric(rows: list[_Row], name: str) -> bool:
    """Whether a column holds a number, and nothing else but what stands for none."""
    try:
        values = [_value(row.cells[name]) for row in rows]
    except ValueError:
        return False
    return not any(map(math.isinf, values)) and not all(map(math.isnan, values))


def _arch(path: Path, row: _Row, columns: list[str], space: Space) -> tuple[int, ...]:
    where = f"Line {row.line} of '{path}'"
    if len(columns) == 1 and len(space.choices) > 1:
        try:
            arch = space.parse(row.cells[columns[0]].strip())
        except Exception as error:  # A space of somebody's own may raise anything for a text that is none.
            raise UserError(f"{where}: {error}") from None
    else:
        arch = torch.tensor([_option(where, space, d, row.cells[name].strip()) for d, name in enumerate(columns)])
    if not bool(space.valid(arch)):
        raise UserError(f"{where} has architecture '{space.describe(arch)}', which is not in space '{space.name}'.")
    return tuple(arch.tolist())


def _option(where: str, space: Space, d: int, text: str) -> int:
    names = space.operations[d]
    if text in names:
        return names.index(text)
    if text.isdecimal() and int(text) < space.choices[d]:
        return int(text)
    raise UserError(
        f"{where} has '{text}' for {space.decisions[d]}; it takes one of {', '.join(names)}, or its number from 0."
    )


def _number(path: Path, row: _Row, name: str) -> float:
    text = row.cells[name].strip()
    try:
        value = _value(text)
    except ValueError:
        value = math.inf
    if math.isinf(value):
        raise UserError(f"Line {row.line} of '{path}' has '{text}' for {name}; it takes a number, or nothing.")
    return value


def _value(text: str) -> float:
    """NaN for what people and pandas write where a training failed. Raises `ValueError` for what is no number."""
    text = text.strip()
    return math.nan if text.lower() in ("", "nan", "na", "none") else float(text.removesuffix("%"))


def _columns(task: str, names: list[str], values_CNK: Tensor) -> Iterator[tuple[str, tuple[Column, Tensor]]]:
    for name, value_NK in zip(names, values_CNK):
        metric, split = (_SCORES | _TEST).get(name, (name, None))
        unit = None
        if name in _SECONDS:
            metric, split, unit = "train_seconds", "train", "second"
            value_NK = value_NK.nanmean(1, keepdim=True)  # A search pays for one training, and costs are one a row.
        known = value_NK[~value_NK.isnan()]
        if metric == "accuracy" and len(known) and known.min() >= 0 and 1 < known.max() <= 100:
            unit = "percent"
        about = Column(task, metric, split, None, unit, metric in ("accuracy", "score"))
        if value_NK.shape[1] == 1:
            yield f"{task}/{name}", (about, value_NK[:, 0])
        else:
            yield f"{task}/{name}_per_seed", (about._replace(seeds=value_NK.shape[1]), value_NK)
