"""`nas table import`: other files become tables."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress

from nas import plugins, tables
from nas.commands import _table_shown
from nas.commands._kinds import GivenPath
from nas.tables import csv_import, nats_import
from nas.tables.table import SUFFIX
from nas.text import file_name
from search_spaces import UserError


@click.group("import", invoke_without_command=True)
@click.pass_context
def import_(ctx: click.Context) -> None:
    """Turn your own results, or another benchmark's files, into a table.

    \b
    Example:
      nas table import nats NATS-tss-v1_0-3ffb9-simple --out nasbench201.safetensors
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


@import_.command()
@click.argument("path", type=GivenPath(path_type=Path))
@click.option("--out", required=True, type=GivenPath(path_type=Path, dir_okay=False), help="The table to write.")
@click.option("--force", is_flag=True, help="Replace the table if it is there.")
def nats(path: Path, out: Path, force: bool) -> None:
    """Import the official NATS-Bench download at PATH: the '-simple' folder or the single .pickle.pbz2 file.

    Its pickles are read by a reader that admits plain values only. Ctrl-C stops; the same command goes on.

    \b
    Example:
      nas table import nats NATS-tss-v1_0-3ffb9-simple --out nasbench201.safetensors
    """
    _refuse_taken(out, force)
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as bar:
        line = bar.add_task("importing", total=None)
        for progress in nats_import.run(path, out):
            bar.update(line, completed=progress.done, total=progress.of)
    _table_shown.describe(tables.read(out), as_json=False)


@import_.command("csv")
@click.argument("path", type=GivenPath(path_type=Path, dir_okay=False))
@click.option("--out", required=True, type=GivenPath(path_type=Path, dir_okay=False), help="The table to write.")
@click.option("--space", default="nasbench201", show_default=True, help="The space of its architectures.")
@click.option("--task", help="What the table calls the task; by default the file's name.")
@click.option("--force", is_flag=True, help="Replace the table if it is there.")
def csv_(path: Path, out: Path, space: str, task: str | None, force: bool) -> None:
    """Import your own results from a CSV file at PATH, a row for each training.

    Its header names an architecture (arch, or a column for each decision) and a score (score, accuracy, valid_accuracy),
    and may name test_accuracy, seconds, seed and other numbers. A search of the table then proposes only what it holds.

    \b
    Example:
      nas table import csv my_results.csv --space nasbench201 --out my_results.safetensors
    """
    _refuse_taken(out, force)
    imported = csv_import.run(path, out, plugins.absolute(space), _task_name(task or path.stem))
    if imported.ignored:
        click.echo(f"Passed over, as they hold no numbers: {', '.join(imported.ignored)}.", err=True)
    _table_shown.describe(tables.read(out), as_json=False)


def _task_name(text: str) -> str:
    """A name that a task may have: without the signs that mean something in one."""
    return file_name(text).strip("-.") or "results"


def _refuse_taken(out: Path, force: bool) -> None:
    if out.suffix != SUFFIX:
        raise UserError(f"--out is '{out}'; a table's name ends in '{SUFFIX}'.")
    if out.exists() and not force:
        raise UserError(f"'{out}' exists already; --force replaces it.")
