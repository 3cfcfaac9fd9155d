"""`nas tasks`: what can be searched for."""

from __future__ import annotations

import re

import click

from nas.commands import _shared
from nas.tasks import catalog
from nas.tasks.catalog import Entry
from nas.terminal import printable


@click.command()
@click.option("--family", help="Only those of a family, as 'accuracy' or 'device'.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def command(family: str | None, as_json: bool) -> None:
    """List the tasks at hand: sizes, the objective, its split and training seeds, the optimum and the top 0.1% where known.

    Split `test*` means that the only column is a test column: it is searched, and there is no further test estimate. Top 0.1% is
    counted by function: the architectures in it, their share, the distinct functions. `coarse`: ties at least double it.
    Tasks of a table that has families of its own are only counted, unless one is asked for.

    \b
    Example:
      nas tasks
    """
    passed_over: list[str] = []
    divided = {} if family or as_json else catalog.families_of_tables()
    entries = list(catalog.entries(family, passed_over, {name for families in divided.values() for name in families}))
    _shared.say_passed_over(passed_over)
    if as_json:
        _shared.print_json([entry._asdict() for entry in entries])
        return
    headings = (
        "family",
        "archs",
        "input",
        "classes",
        "objective",
        "split",
        "training seeds",
        "optimum",
        "top 0.1%",
        "task",
    )
    _shared.print_lines([headings, *map(_row, entries)])
    for table, families in divided.items():
        listed = ", ".join(f"{printable(name)} ({count})" for name, count in families.items())
        click.echo(
            f"Table {printable(table)} has {families.total()} more, which --family FAMILY or --json lists: {listed}."
        )
    click.echo("Your own: npz:FILE, folder:DIR, hf:NAME (trained); nats:PATH/TASK@EPOCHS (NATS-Bench's own files).")


def _row(entry: Entry) -> tuple[str, ...]:
    return (
        entry.family,
        f"{entry.architectures:,}",
        "-" if entry.input_shape is None else "x".join(map(str, entry.input_shape)),
        "-" if entry.num_classes is None else str(entry.num_classes),
        entry.objective.partition(",")[0].partition("/")[2] or entry.objective,
        f"{entry.split or 'none'}{'' if entry.test_metric else '*'}",
        re.sub(r"^number of | ?training seeds? ?", "", entry.training_seeds),
        "-" if entry.optimum is None else f"{entry.optimum:.3f}",
        "-" if entry.top is None else _top(**entry.top),
        entry.task,
    )


def _top(archs: int, share: float, functions: int, coarse: bool, **_: float) -> str:
    return f"{archs} ({share:.2%}, {functions} function{'s' * (functions > 1)}{', coarse' * coarse})"
