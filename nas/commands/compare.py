"""`nas compare`: any controllers on any tasks, hundreds of seeds, with the statistics that make it believable."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click
import torch
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from nas import tasks
from nas.commands import _shared
from nas.compare import comparison, trial, trial_cache
from nas.compare.summary import Cell
from nas.compare.trial import Ask
from search_spaces import UserError


@click.command()
@click.option(
    "--tasks", "patterns", default="accuracy", show_default=True, help="Tasks, families, patterns; by commas."
)
@click.option(
    "--controllers", required=True, help="Controllers by commas; settings after colons, as reinforce:lr=0.03."
)
@click.option(
    "--prior",
    "priors",
    multiple=True,
    help="For controllers that take one: a file of `nas meta-train`, shipped, or none (the default); may be said again.",
)
@click.option(
    "--limit", "limits", multiple=True, help="A limit on every task, as nasbench201-hardware/fpga/latency<=q30."
)
@click.option("--seeds", default=100, show_default=True, help="Searches of each controller on each task.")
@click.option("--evals", type=int, help="Budget: evaluations of each search.")
@click.option("--seconds", type=float, help="Budget: simulated seconds of each search.")
@click.option("--batch", default=1, show_default=True, help="Architectures that a search evaluates at once.")
@click.option(
    "--out", "folder", type=click.Path(path_type=Path, file_okay=False), help="Folder; by default runs/compare."
)
@click.option("--jobs", default=os.cpu_count() or 1, help="Processes; by default one a core.")
@click.option("--figures/--no-figures", default=True, show_default=True, help="Draw the figures too.")
@click.option("--at", help="Show the best found after so many evaluations instead, as 5,10,20.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def command(
    patterns: str,
    controllers: str,
    priors: tuple[str, ...],
    limits: tuple[str, ...],
    seeds: int,
    evals: int | None,
    seconds: float | None,
    batch: int,
    folder: Path | None,
    jobs: int,
    figures: bool,
    at: str | None,
    as_json: bool,
) -> None:
    """Compare controllers on tasks of tables: search, report, evaluations to the best 0.1%, regret, with intervals.

    Every pair of controller and task is a file in OUT/cells, made once: a comparison that was stopped goes on, and one with
    a controller more makes only that controller's. OUT has results.json, results.csv, curves.csv and the figures.

    \b
    Example:
      nas compare --tasks own201/digits --controllers random_search,evolution --seeds 20 --evals 30
    """
    for name, value in {"seeds": seeds, "evals": evals, "seconds": seconds, "batch": batch, "jobs": jobs}.items():
        if value is not None and not value > 0:
            raise UserError(f"--{name} is {value}; it takes a number above zero.")
    if evals is None and seconds is None:
        evals = 100
    split = (c.strip().partition(":") for c in controllers.split(",") if c.strip())
    named = [name.replace("-", "_") + colon + rest for name, colon, rest in split]
    for name in named:
        trial.check(name)
    named = comparison.with_priors(named, priors)
    after = _counts(at, evals)
    torch.set_num_threads(1)  # As in the processes that search: what is small is slower on more.
    folder = folder or _shared.runs_root() / "compare"
    asks = comparison.asks(patterns, named, limits, seeds, evals, seconds, batch)
    cells = _made(asks, folder, jobs, quiet=as_json)
    document = comparison.document(cells, after)
    comparison.write(document, folder)
    if figures:
        comparison.draw(cells, folder)
    if as_json:
        _shared.print_json(document)
    else:
        _tell_at(document["at"]) if after else _tell(document)
        click.echo(f"All figures are in {folder}")


def _counts(at: str | None, evals: int | None) -> tuple[int, ...]:
    """Numbers of evaluations within the budget, from a list by commas."""
    words = [word.strip() for word in (at or "").split(",") if word.strip()]
    wrong = [word for word in words if not word.isdigit() or not 1 <= int(word) <= (evals or 0)]
    if wrong:
        most = f"1 to {evals}, the number of --evals" if evals else "a budget in --evals"
        raise UserError(f"--at is '{wrong[0]}'; it takes {most}.")
    return tuple(map(int, words))


def _made(asks: list[Ask], folder: Path, jobs: int, *, quiet: bool) -> list[Cell]:
    """The cells, with a progress line on a terminal. Ctrl-C says how to go on and exits."""
    old = trial_cache.outdated(asks, folder)
    if old and not quiet:
        made_by = trial_cache.read_version(old[0]) or "one that did not say which"
        click.echo(
            f"{len(old)} comparisons in {folder} are of another version ({made_by}); they are made anew.", err=True
        )
    try:
        with Progress(console=Console(stderr=True), disable=quiet or not sys.stderr.isatty()) as bar:
            line = bar.add_task(f"{len(asks)} comparisons", total=len(asks))
            return comparison.make(asks, folder, jobs, lambda: bar.advance(line))
    except KeyboardInterrupt:
        click.echo(f"\nStopped; what is compared so far is kept in {folder}. Go on: the same command.", err=True)
        sys.exit(_shared.STOPPED)


def _tell_at(rows: list[dict]) -> None:
    for task in dict.fromkeys(row["task"] for row in rows):
        click.echo(f"{task}  {tasks.find(task).description}")
    table = Table("task", "controller", "evaluations", "score, median", "quartiles", "report, median", "quartiles")
    for row in sorted(rows, key=lambda row: (row["task"], row["evaluations"])):
        table.add_row(
            row["task"], row["controller"], str(row["evaluations"]), *_spread(row["score"]), *_spread(row["report"])
        )
    Console(width=None if os.isatty(1) else 160).print(table)


def _spread(found: dict | None) -> tuple[str, str]:
    return ("-", "-") if found is None else (f"{found['median']:.2f}", f"{found['q25']:.2f} to {found['q75']:.2f}")


def _tell(document: dict) -> None:
    table = Table("task", "controller", "score", "interval", "report", "to top 0.1%", "quartiles", "reached", "regret")
    for row in document["rows"]:
        score, report, top, regret = row["score"], row["report"], row["evaluations_to_top"], row["regret"]
        table.add_row(
            row["task"],
            row["controller"],
            f"{score['iqm']:.3f}",
            f"{score['low']:.3f} to {score['high']:.3f}",
            "-" if report is None else f"{report['mean']:.2f} +- {report['std']:.2f}",
            _count(top["median"]),
            f"{_count(top['q25'])} to {_count(top['q75'])}",
            f"{top['reached']:.0%}",
            "-" if regret is None else f"{regret['iqm']:.3f}",
        )
    Console(width=None if os.isatty(1) else 160).print(table)


def _count(value: float | None) -> str:
    return "never" if value is None else f"{value:.0f}"
