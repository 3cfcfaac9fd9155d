"""`nas compare`: any controllers on any tasks, hundreds of seeds, with intervals."""

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
from nas.commands import _old_flags, _shared
from nas.compare import comparison, trial, trial_cache
from nas.compare.summary import TrialSummary
from nas.compare.trial import TrialSpec
from search_spaces import UserError


@click.command(
    cls=_old_flags.taking({"--limit": "--constraint", "--seconds": "--simulated-seconds", "--at": "--report-after"})
)
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
    help="For controllers that take one: a file of `nas meta-train`, shipped, or none (the default); may be repeated.",
)
@click.option(
    "--constraint",
    "bounds",
    multiple=True,
    help="A bound on every task, as nasbench201-hardware/fpga/latency<=q30; may be repeated.",
)
@click.option("--seeds", default=100, show_default=True, help="Searches of each controller on each task.")
@click.option("--evals", type=int, help="Budget: evaluations of each search.")
@click.option("--simulated-seconds", "seconds", type=float, help="Budget: simulated seconds of each search.")
@click.option("--batch", default=1, show_default=True, help="Architectures that a search evaluates at once.")
@click.option(
    "--out", "folder", type=click.Path(path_type=Path, file_okay=False), help="Folder; by default runs/compare."
)
@click.option("--jobs", default=os.cpu_count() or 1, help="Processes; by default one a core.")
@click.option("--figures/--no-figures", default=True, show_default=True, help="Draw the figures too.")
@click.option("--report-after", "after", help="Show the best after these numbers of evaluations instead, as 5,10,20.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def command(
    patterns: str,
    controllers: str,
    priors: tuple[str, ...],
    bounds: tuple[str, ...],
    seeds: int,
    evals: int | None,
    seconds: float | None,
    batch: int,
    folder: Path | None,
    jobs: int,
    figures: bool,
    after: str | None,
    as_json: bool,
) -> None:
    """Compare controllers on tasks of tables: search, report, evaluations to the best 0.1%, regret, with intervals.

    Each pair of controller and task is a trial with its file in OUT/trials, run once: a stopped comparison resumes, and
    one with a further controller runs only that controller's trials. OUT has results.json, results.csv, curves.csv and the
    figures.

    \b
    Example:
      nas compare --tasks own201/digits --controllers random_search,evolution --seeds 20 --evals 30
    """
    for name, value in {
        "seeds": seeds,
        "evals": evals,
        "simulated-seconds": seconds,
        "batch": batch,
        "jobs": jobs,
    }.items():
        if value is not None and not value > 0:
            raise UserError(f"--{name} is {value}; it takes a number above zero.")
    if evals is None and seconds is None:
        evals = 100
    split = (c.strip().partition(":") for c in controllers.split(",") if c.strip())
    named = [(n if "." in n else n.replace("-", "_")) + colon + rest for n, colon, rest in split]
    # Every name and setting before anything is run or written: a comparison can take hours.
    for name in named:
        trial.check(name)
    named = comparison.with_priors(named, priors)
    counts = _counts(after, evals)
    torch.set_num_threads(1)  # As in worker processes: small tensors are slower on more threads.
    folder = folder or _shared.runs_root() / "compare"
    specs = comparison.specs(patterns, named, bounds, seeds, evals, seconds, batch)
    summaries = _run(specs, folder, jobs, quiet=as_json)
    document = comparison.document(summaries, counts)
    comparison.write(document, folder)
    if figures:
        comparison.draw(summaries, folder)
    if as_json:
        _shared.print_json(document)
    else:
        _print_after(document["best_after"]) if counts else _print(document)
        click.echo(f"All results are in {folder}")


def _counts(after: str | None, evals: int | None) -> tuple[int, ...]:
    """Numbers of evaluations within the budget, from a list by commas."""
    words = [word.strip() for word in (after or "").split(",") if word.strip()]
    wrong = [word for word in words if not word.isdigit() or not 1 <= int(word) <= (evals or 0)]
    if wrong:
        most = f"1 to {evals}, the number of --evals" if evals else "a budget in --evals"
        raise UserError(f"--report-after is '{wrong[0]}'; it takes {most}.")
    return tuple(map(int, words))


def _run(specs: list[TrialSpec], folder: Path, jobs: int, *, quiet: bool) -> list[TrialSummary]:
    """The summaries, with a progress line on a terminal. Ctrl-C says how to go on and exits."""
    old = trial_cache.outdated(specs, folder)
    if old and not quiet:
        made_by = trial_cache.read_version(old[0]) or "one that did not say which"
        click.echo(
            f"{len(old)} comparisons in {folder} are of another version ({made_by}); they are made anew.", err=True
        )
    try:
        with Progress(console=Console(stderr=True), disable=quiet or not sys.stderr.isatty()) as bar:
            line = bar.add_task(f"{len(specs)} comparisons", total=len(specs))
            return comparison.make(specs, folder, jobs, lambda: bar.advance(line))
    except KeyboardInterrupt:
        click.echo(f"\nStopped; what is compared so far is kept in {folder}. Go on: the same command.", err=True)
        sys.exit(_shared.STOPPED)  # 130, as shells know it: a script must see that the results are incomplete.


def _print_after(rows: list[dict]) -> None:
    for task in dict.fromkeys(row["task"] for row in rows):
        click.echo(f"{task}  {tasks.find(task).description}")
    table = Table("task", "controller", "evaluations", "score, median", "quartiles", "report, median", "quartiles")
    for row in sorted(rows, key=lambda row: (row["task"], row["evaluations"])):
        table.add_row(
            row["task"], row["controller"], str(row["evaluations"]), *_spread(row["score"]), *_spread(row["report"])
        )
    # 160: in a file or a pipe there is no width to fit, and wrapped cells could not be read by a program.
    Console(width=None if os.isatty(1) else 160).print(table)


def _spread(found: dict | None) -> tuple[str, str]:
    return ("-", "-") if found is None else (f"{found['median']:.2f}", f"{found['q25']:.2f} to {found['q75']:.2f}")


def _print(document: dict) -> None:
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
