"""`nas resume`: a stopped run goes on, a finished one gets more budget."""

from __future__ import annotations

import dataclasses
import sys

import click

from nas.commands import _options, _shared, show
from nas.run import budget, provenance, session, step_log, store, trust
from nas.run.config import RunConfig
from nas.run.store import Run
from nas.run.summary import summary
from nas.tasks import TaskName
from nas.terminal import printable
from search_spaces import UserError


@click.command()
@click.argument("run")
@click.option("--evals", type=int, help="More budget: evaluations of each seed, those that are done included.")
@_options.option(
    "--simulated-seconds",
    also=("--seconds",),
    type=float,
    help="More budget: simulated seconds, all sessions together.",
)
@_options.option(
    "--minutes", also=("--wall-minutes",), type=float, help="More budget: minutes of wall clock, all sessions together."
)
@click.option("--task", help="Where the run's data are now; refused if they are other data.")
@click.option("--prior", help="Where the file of the run's prior is now; refused if it is another prior.")
@click.option("--controller", help="Refused if the run has another.")
@click.option("--seeds", type=int, help="Refused if the run has another number.")
@click.option("--batch", type=int, help="Refused if the run has another.")
@click.option(
    "--trust", "trusted", is_flag=True, help="Run Python files that the run names and you have not run before."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def command(
    run: str, as_json: bool, trusted: bool, task: str | None, prior: str | None, evals: int | None,
    simulated_seconds: float | None, minutes: float | None, **same: str | int | None,
) -> None:  # fmt: skip
    """Go on with a run that was stopped or killed, exactly where it was; give a finished one more budget.

    With --evals 100 a run of 50 evaluations goes on to what a run of 100 is.

    \b
    Example:
      nas resume runs/digits-evolution-1
    """
    with store.open_run(_shared.run_folder(run), write=True) as opened:
        for key, value in same.items():
            if value is not None and value != getattr(opened.config, key):
                raise _another(opened, key, value)
        config = _located(opened, task, prior)
        if not trusted:
            trust.refuse_unknown(str(opened.folder), trust.outside(config))
        trust.remember(trust.outside(config))
        setup = session.load(config)
        lines = session.go_on(opened, setup, config)
        opened, more = session.extend(opened, setup, evals=evals, simulated_seconds=simulated_seconds, minutes=minutes)
        if minutes is not None:
            opened, setup = session.lengthen(opened, setup, config)
        for line in lines + more:
            click.echo(printable(line), err=True)
        given = (evals, simulated_seconds, minutes)
        was_finished = given == (None, None, None) and budget.spent(opened.config, step_log.history(opened))
        status = _shared.work(opened, setup, quiet=as_json)
        if was_finished:
            say_finished(opened)
        if as_json:
            _shared.print_json(summary(opened))
        else:
            show.print_run(opened)
    sys.exit(status)


def say_finished(run: Run) -> None:
    """A line on standard error: there was nothing left to search, and what gives more."""
    click.echo(
        f"The search had used up its budget. More: nas resume {printable(str(run.folder))} --evals N (or --minutes M), "
        "counted from its start.",
        err=True,
    )


def _located(run: Run, task: str | None, prior: str | None) -> RunConfig:
    """The run's configuration, with files where the command line says that they are; whether they are the same is asked later."""
    config = provenance.located(run)
    if task is not None and not TaskName.parse(task).constraints:
        # It says where the data are, and may leave the rest out.
        task = str(TaskName.parse(task).constrained(TaskName.parse(config.task).constraints))
    if task is not None and task not in (config.task, run.config.task):
        if not (provenance.is_at_a_path(task) and provenance.is_at_a_path(config.task)):
            raise _another(run, "task", task)
        config = dataclasses.replace(config, task=provenance.with_whole_path(task))
    return config if prior is None else dataclasses.replace(config, prior=prior)


def _another(run: Run, key: str, value: str | int) -> UserError:
    return UserError(
        f"Run '{run.folder}' has --{key} {getattr(run.config, key)}; it cannot go on with '{value}'. "
        "Leave the option out, or start a new run."
    )
