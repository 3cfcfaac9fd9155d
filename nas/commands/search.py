"""`nas search`: a run from nothing to its end."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from controller import SelectsInTheEnd
from controller.transfer_bo import TransferBO
from nas.commands import _options, _shared, forecast, show
from nas.meta import task_similarity
from nas.run import budget, session, step_log, store
from nas.run.config import RunConfig
from nas.run.session import Setup
from nas.run.store import Run
from nas.run.summary import summary
from nas.text import counted, duration
from search_spaces import UserError, _ops, _sampling


@click.command()
@_options.search_options
@click.option("--name", help="The run's name; by default made of task and controller.")
@click.option("--dry-run", is_flag=True, hidden=True, help="What `nas forecast` was called in version 0.1.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def command(name: str | None, dry_run: bool, as_json: bool, **options: Any) -> None:
    """Search for the best architecture of a task; on a dataset, train it fully and export it.

    The run goes to runs/NAME: Ctrl-C stops it, `nas resume` goes on, `nas show` shows it.

    \b
    Example:
      nas search --task own201/digits --controller evolution --evals 50
    """
    config, setup = _options.configure(**options)
    if dry_run:
        forecast.print_forecast(config, setup, as_json=as_json)
        return
    with start(name, config, setup) as run:
        if not as_json:
            announce(run, setup)
        status = _shared.work(run, setup, quiet=as_json)
        if as_json:
            _shared.print_json(summary(run))
        else:
            show.print_run(run)
            if isinstance(setup.controller, TransferBO) and setup.prior is not None:
                last = step_log.state(run, session.initial_state(setup))
                click.echo(task_similarity.describe_similarity(setup.controller, last))
    sys.exit(status)


def announce(run: Run, setup: Setup) -> None:
    """Print what is searched, on which data, and what of it may surprise."""
    config = run.config
    click.echo(f"Searching {config.task} with {config.controller}, {budget.text(config)}; the run is {run.folder}")
    click.echo(setup.evaluator.description)
    _shared.print_data(store.get_meta(run, "data") or [])
    _say_size(config, setup)
    _say_ending(config)
    _say_repeats(config, setup)
    _say_unselected(config, setup)


def start(name: str | None, config: RunConfig, setup: Setup) -> Run:
    """The run, in the folder of that name, or in one that no other search has taken, also not at this moment."""
    if name is not None:
        return session.start(_folder(name), config, setup)
    with _shared.new_folder(config.task, config.controller) as folder:
        return session.start(folder, config, setup)


def _folder(name: str) -> Path:
    path = Path(name)
    if not name.strip(" ./") or ".." in path.parts:  # The folder of all runs itself, or one beside it by mistake.
        raise UserError(f"--name is '{name}'; it takes a name, or a path to a new folder without '..'.")
    return path if len(path.parts) > 1 else _shared.runs_root() / name


def _say_repeats(config: RunConfig, setup: Setup) -> None:
    """Of a space with fewer architectures than the budget has evaluations, that some are asked again and answer the same."""
    space = setup.evaluator.space
    if config.evals is None or not _sampling.is_listed(space):
        return
    count = int(space.valid(_ops.enumerate_all(space.choices)).sum())
    if count < config.evals:
        click.echo(
            f"There are {counted(count, 'architecture')} to try: {config.evals} evaluations repeat some, "
            "which gives the same score again."
        )


def _say_unselected(config: RunConfig, setup: Setup) -> None:
    """Of a controller that selects an architecture in the end, that the budget ends before."""
    evaluations = budget.search_evaluations(config)
    if evaluations is None or not isinstance(setup.controller, SelectsInTheEnd):
        return
    before = setup.controller.selects_after(config.batch) * config.batch
    if evaluations <= before:
        click.echo(
            f"{config.controller} selects an architecture at evaluation {before + 1}, and the search ends after {evaluations}: "
            "what scored best until then is handed out. A smaller -c steps=N or a larger --evals lets it select."
        )


def _say_size(config: RunConfig, setup: Setup) -> None:
    """Of a space without smaller networks for the search, how large its own are and how long they take."""
    training = setup.evaluator.training
    if training is None:
        return
    from nas.evaluators.train import Train  # Not above: a search of a table needs no images.

    if not isinstance(training, Train) or training.has_proxies:
        return
    try:
        seconds, (least, most) = training.cost_of_own_networks()
    except Exception:  # Of networks of somebody's own: the evaluation of those fails, with the reason.
        return
    evaluations = config.evals and config.evals * config.seeds
    whole = f", {counted(evaluations, 'evaluation')} about {duration(seconds * evaluations)}" if evaluations else ""
    click.echo(
        f"The space has no smaller networks for the search: it trains its own, {least:,} to {most:,} parameters. An evaluation "
        f"takes about {duration(seconds)}{whole}; -t epochs=N and -t examples=N shorten it."
    )


def _say_ending(config: RunConfig) -> None:
    """Where the final training alone takes more than its share of --minutes, how long all of it takes."""
    rest = None if config.minutes is None else 60 * config.minutes - budget.search_seconds(config)
    if rest is not None and rest < config.ending_seconds:
        ending, whole = config.ending_seconds, budget.search_seconds(config) + config.ending_seconds
        click.echo(
            f"The final training and what follows it take about {duration(ending)}, most of --minutes: all of it takes "
            f"about {whole / 60:.1f} minutes. {_shortens(config)} shortens it."
        )


def _shortens(config: RunConfig) -> str:
    """The setting of the final training's length."""
    return "-t final=G" if "final" in config.training_options else "-t final_epochs=N"
