"""A few-shot run at work: begin or go on, train, test once, export; the document that says what came out."""

from __future__ import annotations

import dataclasses
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from nas.commands import _shared
from nas.few_shot import named, result, run, training
from nas.few_shot.run import Config, Setup
from nas.few_shot.training import State
from nas.run import lock
from nas.terminal import printable
from nas.text import counted
from search_spaces import UserError

_DEFAULT_MINUTES = 1.0
_SAVE_EVERY = 60.0
"""Seconds of work that a kill may cost."""
_POINTS = 200
"""Of the loss in TensorBoard: more are no easier to read."""
_UNSETTLED = ("digest", "rotations", "steps", "arch")
"""What is known of a run once its data are read, its steps timed, its default taken."""


def work(folder: Path, config: Config, minutes: float | None, episodes: int | None, *, quiet: bool) -> dict[str, Any]:
    """Train to the end what is in `folder` or begins there; the document of its result.

    Args:
        episodes: of the test; None: as many as the run began with.

    Raises `UserError` where the folder holds another run, or another process began one meanwhile.
    """
    there = (folder / run.FILE).exists()
    if there:
        _refuse_other(folder, config, minutes)
        config = run.read_config(folder)
    elif folder.exists() and not all(_left_over(path.name) for path in folder.iterdir()):
        raise UserError(f"'{folder}' holds something else than a few-shot run; choose another --name.")
    setup = run.prepare(config)
    if not there:
        setup = setup._replace(config=_settled(setup, minutes))
        folder.mkdir(parents=True, exist_ok=True)
    with lock.lock(folder, "training"):
        if not there and (folder / run.FILE).exists():
            raise UserError(f"Another process has begun '{folder}' meanwhile; the same command again goes on with it.")
        state = run.read(folder)[1] if there else training.begin(setup.learner, config.seed)
        if not quiet:
            _announce(setup, state)
        state = _trained(folder, setup, state)
        return result.finish(folder, setup, state, episodes)


def _left_over(name: str) -> bool:
    """Whether a file may be what is left of a run that was killed before its first save."""
    return name == lock.FILE or name.startswith(f".{run.FILE}.")


def _refuse_other(folder: Path, config: Config, minutes: float | None) -> None:
    """Raise `UserError` where a run is there that was asked for in other words."""
    known = run.read_config(folder)
    config = dataclasses.replace(config, options=named.recorded(config.learner) | config.options)
    for field in dataclasses.fields(Config):
        if field.name == "episodes":  # A test may be asked for anew.
            continue
        old, new = getattr(known, field.name), getattr(config, field.name)
        settled = field.name in _UNSETTLED and (new in ("", None, 0) or (field.name == "steps" and minutes is not None))
        if old != new and not settled:
            raise UserError(
                f"Run '{folder}' has {field.name} {old!r}, and {new!r} is asked for; choose another --name, or go on by "
                f"--resume {_name(folder)}."
            )


def _name(folder: Path) -> str:
    """What a command line calls the folder of a run."""
    return shlex.quote(folder.name if folder == _shared.runs_root() / folder.name else str(folder))


def _settled(setup: Setup, minutes: float | None) -> Config:
    """The configuration with its number of steps: it is fixed before the first, so that a stop changes nothing."""
    if setup.config.steps:
        return setup.config
    seconds = 60 * (_DEFAULT_MINUTES if minutes is None else minutes)
    steps = int(seconds / training.seconds_of_step(setup.learner, setup.source, setup.config.plan))
    return dataclasses.replace(setup.config, steps=max(1, steps))


def _announce(setup: Setup, state: State) -> None:
    config, data = setup.config, setup.source.data
    for note in data.notes:
        click.echo(printable(note))
    size = training.train_size(setup.learner, setup.source, config.plan)
    if size != training.wanted_size(setup.learner, config.plan):
        click.echo(
            f"episodes of training are {size.way}-way {size.shot}-shot with {size.queries} to answer of each class: the training "
            "classes have no more"
        )
    begun = f", {state.step} done" if state.step else ""
    click.echo(f"{config.learner}: {counted(config.steps, 'step')}{begun}, {config.way}-way {config.shot}-shot")


def _trained(folder: Path, setup: Setup, state: State) -> State:
    """Train to the end; what is stored is whole after any stop."""
    from torch.utils.tensorboard import SummaryWriter  # Half of the start-up time of `nas --help` otherwise.

    steps, saved = setup.config.steps, time.monotonic()
    if state.step == 0:
        run.save(folder, setup.config, state)
    every = max(1, steps // _POINTS)
    with (
        SummaryWriter(str(folder.resolve()), purge_step=state.step + 1 if state.step else None) as log,
        _status() as say,
    ):
        try:
            for step in training.train(setup.learner, setup.source, setup.config.plan, state):
                state = step.state
                say(f"{state.step / steps:.0%} of {steps:,} steps, loss {step.loss:.3f}")
                if state.step % every == 0:
                    log.add_scalar("train/loss", step.loss, state.step)
                if step.accuracy is not None:
                    log.add_scalar("valid/accuracy", step.accuracy, state.step)
                if step.accuracy is not None or time.monotonic() - saved > _SAVE_EVERY:
                    run.save(folder, setup.config, state)
                    saved = time.monotonic()
        except KeyboardInterrupt:
            run.save(folder, setup.config, state)
            click.echo(f"Stopped at step {state.step}; `nas few-shot --resume {_name(folder)}` goes on.", err=True)
            sys.exit(_shared.STOPPED)
    return state


@contextmanager
def _status() -> Iterator[Any]:
    """On a terminal, how much is done; elsewhere nothing."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda text: None
        return
    with console.status("training") as status:
        yield status.update
