"""A whole comparison: its cells made, summed up, written and drawn."""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nas import compare, families, known, limits, report
from nas.compare import Ask
from nas.report import Cell
from search_spaces._base import UserError

FORMAT = "nas-comparison/1"


def asks(
    patterns: str, controllers: list[str], texts: tuple[str, ...], seeds: int, evals: int | None,
    seconds: float | None, batch: int,
) -> list[Ask]:  # fmt: skip
    """Each task with each controller, but a portfolio only where it has sources. `UserError` for names that lead nowhere."""
    tasks = [limits.name(task, texts) for task in families.select(patterns)]
    if not tasks or not controllers:
        raise UserError("A comparison takes at least one task and one controller.")
    asked = [Ask(t, c, seeds, evals, seconds, batch) for t in tasks for c in dict.fromkeys(controllers)]
    possible = [ask for ask in asked if known.has_sources(ask.controller.partition(":")[0], ask.task)]
    if not possible:
        raise UserError(
            f"Task '{tasks[0]}' has no source tasks to make a portfolio of: no other data set on its space."
        )
    return possible


def make(asks: list[Ask], folder: Path, jobs: int = 1, done: Callable[[], object] = lambda: None) -> list[Cell]:
    """The cells of a comparison, in the order asked; those that were not there are searched."""
    folder.mkdir(parents=True, exist_ok=True)
    for _ in compare.work(asks, folder, jobs):
        done()
    paths = [(ask, ask.path(folder)) for ask in asks]
    return [report.cell(ask, compare.read(path), compare.read_reads(path)) for ask, path in paths]


def document(cells: list[Cell]) -> dict[str, Any]:
    """What a comparison came to, ready for JSON."""
    groups = _groups(cells)
    ask = cells[0].ask
    return {
        "format": FORMAT,
        "seeds": ask.seeds,
        "evals": ask.evals,
        "seconds": ask.seconds,
        "batch": ask.batch,
        "rows": [report.row(cell) for cell in cells],
        "aggregates": [report.aggregate(members) for members in groups.values()],
        "improvements": [
            report.improvement(groups[family, ours], groups[family, theirs])
            for (family, ours), (other, theirs) in itertools.permutations(groups, 2)
            if family == other
        ],
    }


def write(document: dict[str, Any], folder: Path) -> None:
    """`results.json`, `results.csv` (the rows, nested names joined by dots)."""
    (folder / "results.json").write_text(json.dumps(document, indent=1, allow_nan=False) + "\n")
    _write_csv(folder / "results.csv", [_flat(_figures(row)) for row in document["rows"]])


def draw(cells: list[Cell], folder: Path) -> None:
    """`curves.csv` and the figures, SVG and PNG."""
    from nas import figures  # Half a second of matplotlib that a comparison without figures need not wait for.

    _write_csv(folder / "curves.csv", [point for cell in cells for point in report.curve(cell)])
    figures.draw([cell for cell in cells if cell.optimum is not None], folder)


def _groups(cells: list[Cell]) -> dict[tuple[str, str], list[Cell]]:
    """Cells of one family and controller, where the space is known: those whose scores can be put on one scale."""
    groups: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        if cell.optimum is not None:
            groups.setdefault((cell.family, cell.ask.controller), []).append(cell)
    return groups


def _figures(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key != "columns_read"}


def _flat(row: dict[str, Any], before: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in row.items():
        flat |= _flat(value, f"{before}{key}.") if isinstance(value, dict) else {f"{before}{key}": value}
    return flat


def _write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    header = list(dict.fromkeys(key for row in rows for key in row))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, header, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
