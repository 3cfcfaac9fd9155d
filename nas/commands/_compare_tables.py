"""What `nas compare` prints: for each task what it measures, then two tables, or the one of `--report-after`."""

from __future__ import annotations

from typing import Any

import click
from rich.table import Column, Table

from nas import tasks
from nas.commands import _shared
from nas.compare import statistics
from nas.terminal import printable

_HEADINGS = (
    "score: interquartile mean over seeds, with its 95% bootstrap interval. to top 0.1%: median of the evaluations until one of "
    "them is evaluated. reached: share of the searches that evaluate one. handed out: share whose architecture, chosen by the "
    "objective, is one. regret: how far the score is below the highest of the table."
)


def print_document(document: dict[str, Any]) -> None:
    """The rows of a comparison, and what would be handed out after some numbers of evaluations."""
    _print_tasks(document)
    table = _table("score", "interval", "to top 0.1%", "quartiles", "reached", "handed out", "regret")
    for row in document["rows"]:
        score, to_top, known = row["score"], row["evaluations_to_top"], row["top"] is not None
        table.add_row(
            printable(row["task"]),
            printable(row["controller"]),
            _number(score["iqm"], 3),
            f"{_number(score['low'], 3)} to {_number(score['high'], 3)}",
            # Where the best of the space is not known, nothing can be said to be among it.
            *(_counts(to_top) if known else ("-", "-")),
            f"{to_top['reached']:.0%}" if known else "-",
            f"{row['handed_out_top']:.0%}" if known else "-",
            _number(None if row["regret"] is None else row["regret"]["iqm"], 3),
        )  # fmt: skip
    click.echo(_HEADINGS)
    _shared.print_grid(table)
    _print_fronts(document)
    _print_test(document["best_after"])


def _print_fronts(document: dict[str, Any]) -> None:
    """With several objectives, how much of the front is found."""
    rows = [row for row in document["rows"] if row["front_share"]]
    if not rows:
        return
    click.echo(
        f"Front of {document['aim']}: hypervolume after N evaluations in percent of that of the table's front; interquartile "
        "mean over seeds, at the end with its 95% bootstrap interval."
    )
    # Searches by simulated seconds differ in length, and so in where they end.
    counts = sorted({count for row in rows for count in row["front_share"]}, key=int)
    table = _table(*(f"N = {count}" for count in counts), "interval")
    for row in rows:
        shares = row["front_share"]
        end = shares[max(shares, key=int)]
        interval = f"{100 * end['low']:.2f} to {100 * end['high']:.2f}"
        cells = [f"{100 * shares[count]['iqm']:.2f}" if count in shares else "-" for count in counts]
        table.add_row(printable(row["task"]), printable(row["controller"]), *cells, interval)
    _shared.print_grid(table)


def print_after(document: dict[str, Any]) -> None:
    """What would be handed out after the numbers of evaluations of `--report-after`."""
    _print_tasks(document)
    headings = ("evaluations", "score, median", "quartiles", "test, median", "quartiles", "test regret", "test rank")
    table = _table(*headings)
    for row in sorted(document["best_after"], key=lambda row: (row["task"], row["evaluations"])):
        table.add_row(
            printable(row["task"]), printable(row["controller"]), str(row["evaluations"]),
            *_spread(row["score"]), *_spread(row["report"]), _median(row["test_regret"], 2), _median(row["test_rank"], 0),
        )  # fmt: skip
    _shared.print_grid(table)


def _print_tasks(document: dict[str, Any]) -> None:
    """A line for each task: its objective, and how many are in its top."""
    for row in {row["task"]: row for row in document["rows"]}.values():
        click.echo(printable(f"{row['task']}  {tasks.find(row['task']).description}"))
        if row["top"] is not None:
            click.echo(f"  top 0.1%: {top_text(row['top'])}")


def top_text(top: dict[str, Any]) -> str:
    """How many architectures and functions the top of a task has, in words."""
    plural = "s" * (top["functions"] > 1)
    text = (
        f"{top['archs']} architectures, {top['share']:.2%} of the space, {top['functions']} distinct function{plural}"
    )
    return text + "; coarse, as ties make it larger than it is meant to be" * top["coarse"]


def _print_test(rows: list[dict[str, Any]]) -> None:
    """Of the tasks that have a test column: medians over seeds of what would be handed out, chosen by validation."""
    rows = [row for row in rows if row["report"] is not None]
    if not rows:
        return
    counts = sorted({row["evaluations"] for row in rows})
    click.echo(
        "Test score of the best by the objective after N evaluations, in brackets its regret and its rank; medians."
    )
    table = _table(*(f"N = {count}" for count in counts))
    found = {(row["task"], row["controller"], row["evaluations"]): row for row in rows}
    for task, controller in dict.fromkeys((row["task"], row["controller"]) for row in rows):
        cells = [found.get((task, controller, count)) for count in counts]
        table.add_row(printable(task), printable(controller), *map(_test, cells))
    _shared.print_grid(table)


def _test(row: dict[str, Any] | None) -> str:
    if row is None:
        return "-"
    if row["test_rank"] is None:
        return _median(row["report"], 2)
    return f"{_median(row['report'], 2)} ({_median(row['test_regret'], 2)}, {_median(row['test_rank'], 0)})"


def _table(*headings: str) -> Table:
    """Of tasks and controllers, whose names are folded and never cut."""
    return Table(Column("task", overflow="fold"), Column("controller", overflow="fold"), *headings)


def _median(found: dict[str, Any] | None, digits: int) -> str:
    return _number(None if found is None else found["median"], digits)


def _spread(found: dict[str, Any] | None) -> tuple[str, str]:
    return ("-", "-") if found is None else (f"{found['median']:.2f}", f"{found['q25']:.2f} to {found['q75']:.2f}")


def _counts(found: dict[str, Any]) -> tuple[str, str]:
    low, median, high = (statistics.count_text(found[key]) for key in ("q25", "median", "q75"))
    return median, f"{low} to {high}"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
