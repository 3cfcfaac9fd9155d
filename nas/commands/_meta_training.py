"""A meta-training from wherever it stands to its end: progress, TensorBoard, checkpoints, Ctrl-C."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import Progress

from controller import MetaLearner, MetaState
from nas.commands import _shared
from nas.commands._stage_time import StageTime
from nas.meta import outer_loop
from nas.text import counted

_EVERY = 60.0
"""Seconds between checkpoints."""


def train(learner: MetaLearner, config: dict[str, Any], folder: Path) -> MetaState:
    """Train to the end with a progress line on a terminal. Ctrl-C says how to go on and exits."""
    from torch.utils.tensorboard import SummaryWriter  # Half of the start-up time of `nas --help` otherwise.

    checkpoint, state = folder / "checkpoint.safetensors", outer_loop.untrained(learner, config["seed"])
    if checkpoint.is_file():
        state = outer_loop.load(checkpoint, state, config)
    done = kept = int(state.step)
    total = outer_loop.num_steps(learner)
    _say_what(learner, config, folder, done)
    stages = StageTime()
    writer = SummaryWriter(str(folder), purge_step=done + 1 if done else None)
    saved = time.monotonic()
    try:
        with _whole_steps() as stopped, Progress(console=Console(stderr=True), transient=True) as bar:
            line = bar.add_task("training", total=total, completed=done)
            for progress in outer_loop.train(learner, state, config["seed"]):
                state, done = progress.state, progress.step
                if line_said := stages.after(progress, _end(learner, progress.stage)):
                    bar.console.print(line_said, markup=False, highlight=False, soft_wrap=True)
                bar.update(line, completed=done, description=progress.stage)
                for name, value in progress.metrics.items():
                    writer.add_scalar(f"{progress.stage}/{name}", value, done)
                if stopped() or time.monotonic() - saved > _EVERY:
                    outer_loop.save(checkpoint, state, config)
                    saved, kept = time.monotonic(), done
                if stopped():
                    raise KeyboardInterrupt
        outer_loop.save(checkpoint, state, config)
    except KeyboardInterrupt:
        click.echo(f"\nStopped; {kept} of {total} steps are kept in {folder}. Go on: the same command.", err=True)
        sys.exit(_shared.STOPPED)
    finally:
        writer.close()
    return state


def _say_what(learner: MetaLearner, config: dict[str, Any], folder: Path, done: int) -> None:
    """What is about to run: it may take minutes."""
    stages = ", ".join(f"{stage.name} {stage.steps}" for stage in learner.stages if stage.steps)
    kept = f", {done} of them done" if done else ""
    # Image sets are held out by not naming them.
    tasks = counted(config["tasks"], "image set" if "images" in config else "task")
    split = f" (split {config['split']})" if "split" in config else ""
    click.echo(
        f"Training a prior by {config['learner']} on {tasks}{split} in {folder}: "
        f"{counted(outer_loop.num_steps(learner), 'step')} ({stages}){kept}. Ctrl-C keeps a checkpoint.",
        err=True,
    )


def _end(learner: MetaLearner, name: str) -> int:
    """The steps of a training until a stage's end."""
    names = [stage.name for stage in learner.stages]
    return sum(stage.steps for stage in learner.stages[: names.index(name) + 1])


@contextmanager
def _whole_steps() -> Iterator[Callable[[], bool]]:
    """Says whether to stop after the step at hand: Ctrl-C waits for its end, as half a step is no checkpoint.

    A second one does not wait.
    """
    asked = []

    def ask(*_: object) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(True)

    # Ctrl-C between two lines of a step would leave a state that is half of one step and half of the next.
    before = signal.signal(signal.SIGINT, ask)
    try:
        yield lambda: bool(asked)
    finally:
        signal.signal(signal.SIGINT, before)
