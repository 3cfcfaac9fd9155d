"""What the commands that run a search share: where runs lie, the work itself, JSON, tables of text."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table as Grid

from nas import training
from nas.commands import _progress
from nas.paths import expanded
from nas.run import finish, session, step_log, store
from nas.run.session import Setup
from nas.run.store import Run
from nas.terminal import printable
from nas.text import file_name
from search_spaces import UserError

_WHOLE = 10_000
"""Columns that no row comes to."""
STOPPED = 130
"""Exit status after Ctrl-C, as shells have it."""
NOTHING = 2
"""Exit status of a search without one score, however small its budget was."""


def runs_root() -> Path:
    """The folder of runs: `NAS_RUNS`, or `runs` here."""
    return expanded(os.environ.get("NAS_RUNS") or "runs")


def run_folder(name: str) -> Path:
    """The folder of a run named on the command line: a path, or a name under `runs_root`."""
    if not name:  # It would mean the current folder.
        raise UserError("RUN is empty; it takes the name of a run or its folder. `nas runs` lists them.")
    path, by_name = Path(name), runs_root() / name
    # A folder of images often has the name of its run.
    if path.is_dir() and not (path / store.FILE).exists() and (by_name / store.FILE).exists():
        return by_name
    return path if path.is_dir() or len(path.parts) > 1 else by_name


_LONGEST_NAME = 80
"""Characters of a name that is made from a task, before its number: file systems take 255 bytes."""


@contextmanager
def new_folder(task: str, controller: str) -> Iterator[Path]:
    """A folder named after what it searches, made here and now, so that searches that start together have one each.

    It goes again if what is done inside fails.
    """
    short = controller.rpartition(":")[2]  # Of FILE.py:Class the class.
    kind, colon, where = task.partition(":")
    # Not the folders above the images.
    plain = f"{kind}:{Path(where).name}" if colon and Path(where).is_absolute() else task
    stem = file_name(f"{plain}-{short}").strip("-.")[:_LONGEST_NAME]
    root, was_there = runs_root(), runs_root().exists()
    root.mkdir(parents=True, exist_ok=True)
    folder = next(filter(_made, (root / f"{stem}-{number}" for number in itertools.count(1))))
    try:
        yield folder
    except BaseException:
        if not (folder / store.FILE).exists():
            shutil.rmtree(folder, ignore_errors=True)
            if not was_there:
                with suppress(OSError):  # Another search may have a folder there by now.
                    root.rmdir()
        raise


def _made(folder: Path) -> bool:
    """Whether this process has made the folder, and no other had before."""
    try:
        folder.mkdir()
    except FileExistsError:
        return False
    return True


def print_json(document: Any) -> None:
    """One JSON document on standard output."""
    click.echo(json.dumps(document, indent=2, allow_nan=False))


def say_passed_over(reasons: list[str]) -> None:
    """A line on standard error for each thing that a listing leaves out because it cannot be read."""
    for reason in reasons:
        click.echo(f"nas: passed over: {printable(' '.join(reason.split()))}", err=True)


def print_data(notes: list[str]) -> None:
    """What the reader of a dataset has to say: images by class and split, where the splits come from, what was passed over."""
    for note in notes:
        click.echo(printable(f"data: {note}"))


def print_lines(rows: list[tuple[str, ...]]) -> None:
    """Rows in columns, headings first. What stands last may be long: it is never cut, so that it can be copied."""
    shown = [tuple(map(printable, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(*shown)]
    for row in shown:
        click.echo("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths)).rstrip())


def print_grid(grid: Grid) -> None:
    """A grid as wide as the terminal; whole where there is none: what a file or a program gets has no width to fit."""
    Console(width=None if sys.stdout.isatty() else _WHOLE, highlight=False, markup=False).print(grid)


def work(run: Run, setup: Setup, *, quiet: bool = False) -> int:
    """Search to the end of the budget and finish the run, showing how it goes on. Ctrl-C says how to continue and exits.

    Without a terminal and if not `quiet`, it is a line now and then. The exit status: `NOTHING` where every evaluation failed.
    """
    if setup.evaluator.training is not None and (failure := training.compiler_failure()):
        click.echo(f"PyTorch trains the networks, more slowly: {printable(failure)}", err=True)
    try:
        with _progress.shown(run, setup, quiet=quiet) as display:
            for progress in session.resume(run, setup):
                display.step(progress)
            done = finish.finish(run, setup, display.enter)
        if done is not None:
            for file in filter(lambda file: file.failed, done.left_out):
                click.echo(f"No {printable(str(done.folder / file.file))}: {printable(file.reason)}", err=True)
        return NOTHING if _has_failed(run, setup) else 0
    except KeyboardInterrupt:
        evaluations = step_log.history(run).score.shape[1]
        click.echo(
            f"\nStopped after {evaluations} evaluations; all are stored. Go on: nas resume {run.folder}", err=True
        )
        sys.exit(STOPPED)


def _has_failed(run: Run, setup: Setup) -> bool:
    """Whether a search has not one score; then a line on standard error says why."""
    score = step_log.history(run).score
    if not score.numel() or not score.isnan().all():
        return False
    source = setup.evaluator.training or setup.evaluator
    while not hasattr(source, "failures") and hasattr(source, "inner"):  # Of constraints and of several objectives.
        source = source.inner  # pyright: ignore[reportAttributeAccessIssue]
    failures = getattr(source, "failures", list)()
    why = f"the first failed with {failures[0]}" if failures else "every score is NaN, as where a training diverges"
    click.echo(f"No evaluation has succeeded: {printable(why)}.", err=True)
    return True
