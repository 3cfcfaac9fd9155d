"""`nas compare`: any controllers on any tasks, hundreds of seeds, with intervals."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click
import torch
from rich.console import Console
from rich.progress import Progress

from nas.commands import _compare_tables, _old_flags, _shared
from nas.commands._kinds import GivenPath
from nas.compare import comparison, front_share, trial, trial_cache
from nas.compare.folder_name import folder_name
from nas.compare.summary import TrialSummary
from nas.compare.trial import TrialSpec
from nas.run.config import check_number
from nas.tasks import families
from search_spaces import UserError


@click.command(
    cls=_old_flags.taking({"--limit": "--constraint", "--seconds": "--simulated-seconds", "--at": "--report-after"})
)
@click.option(
    "--tasks",
    "patterns",
    show_default="accuracy where NAS_TABLES has the table nasbench201, else own201",
    help="Tasks, families, patterns, with ~mean or without, evaluator:FILE.py:Class/NAME; by commas.",
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
@click.option(
    "--aim",
    default="",
    help="Several objectives by commas, the score first, as accuracy,params: how much of the front each controller finds.",
)
@click.option("--seeds", default=100, show_default=True, help="Searches of each controller on each task.")
@click.option("--evals", type=int, help="Budget: evaluations of each search.")
@click.option("--simulated-seconds", "seconds", type=float, help="Budget: simulated seconds of each search.")
@click.option("--batch", default=1, show_default=True, help="Architectures that a search evaluates at once.")
@click.option(
    "--out",
    "folder",
    type=GivenPath(path_type=Path, file_okay=False),
    help="Folder; by default runs/ and a name of what is compared.",
)
@click.option("--jobs", "--workers", "jobs", type=int, help="Processes; by default one a core.")
@click.option(
    "--ray", default="", metavar="auto|local|ADDRESS", help="Run the trials on a Ray cluster, --jobs at once."
)
@click.option("--figures/--no-figures", default=True, show_default=True, help="Draw the figures too.")
@click.option("--report-after", "after", help="Show the best after these numbers of evaluations instead, as 5,10,20.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def command(
    patterns: str | None,
    controllers: str,
    priors: tuple[str, ...],
    bounds: tuple[str, ...],
    aim: str,
    seeds: int,
    evals: int | None,
    seconds: float | None,
    batch: int,
    folder: Path | None,
    jobs: int | None,
    ray: str,
    figures: bool,
    after: str | None,
    as_json: bool,
) -> None:
    """Compare controllers on tasks of tables: evaluations to the best 0.1%, regret, and the test score of what is handed out.

    Where a table holds several training seeds, each evaluation draws one, and what it finds is judged by the others; `~mean`
    behind a task or a family searches by their mean. Of an architecture chosen by the objective, the test score, its regret and
    its rank are shown after 1, 5, 10, 30 and 100 evaluations.

    Each pair of controller and task is a trial with its file in OUT/trials, run once: a stopped comparison resumes, and
    one with a further controller runs only that controller's trials. OUT has results.json, results.csv,
    best_after.csv, curves.csv and the figures.

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
        check_number(f"--{name}", value)
    if evals is None and seconds is None:
        evals = 100
    if patterns is None:
        patterns = "accuracy" if "accuracy" in families.families() else "own201"
    split = (c.strip().partition(":") for c in controllers.split(",") if c.strip())
    named = [(n if "." in n else n.replace("-", "_")) + colon + rest for n, colon, rest in split]
    # Every name and setting before anything is run or written: a comparison can take hours.
    for name in named:
        trial.check(name)
    named = comparison.with_priors(named, priors)
    counts = _counts(after, evals)
    torch.set_num_threads(1)  # As in worker processes: small tensors are slower on more threads.
    specs = comparison.specs(patterns, named, bounds, seeds, evals, seconds, batch, aim)
    for task in {spec.task for spec in specs if aim}:
        front_share.yardstick(task, aim)  # A name that leads nowhere is refused before hours of work.
    folder = folder or _shared.runs_root() / folder_name(patterns, specs)
    jobs = jobs if jobs is not None or ray else os.cpu_count() or 1
    summaries = _run(specs, folder, jobs, ray, quiet=as_json)
    document = comparison.document(summaries, counts or None)
    comparison.write(document, folder)
    if figures:
        comparison.draw(summaries, folder)
    if as_json:
        _shared.print_json(document)
    else:
        _compare_tables.print_after(document) if counts else _compare_tables.print_document(document)
        click.echo(f"All results are in {folder}")


def _counts(after: str | None, evals: int | None) -> tuple[int, ...]:
    """Numbers of evaluations within the budget, from a list by commas."""
    words = [word.strip() for word in (after or "").split(",") if word.strip()]
    wrong = [word for word in words if not word.isdecimal() or not 1 <= int(word) <= (evals or 0)]
    if wrong:
        most = f"1 to {evals}, the number of --evals" if evals else "a budget in --evals"
        raise UserError(f"--report-after is '{wrong[0]}'; it takes {most}.")
    return tuple(map(int, words))


def _run(specs: list[TrialSpec], folder: Path, jobs: int | None, ray: str, *, quiet: bool) -> list[TrialSummary]:
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
            return comparison.make(specs, folder, jobs, lambda: bar.advance(line), ray)
    except KeyboardInterrupt:
        click.echo(f"\nStopped; what is compared so far is kept in {folder}. Go on: the same command.", err=True)
        sys.exit(_shared.STOPPED)  # 130, as shells know it: a script must see that the results are incomplete.
