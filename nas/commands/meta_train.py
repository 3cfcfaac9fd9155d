"""`nas meta-train`: a prior, learned across tasks by one of the meta-learners."""

from __future__ import annotations

import json
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import torch
from rich.console import Console
from rich.progress import Progress

from controller import MetaLearner, MetaState, Prior
from controller.models import prior_file
from nas import plugins
from nas.commands import _options, _shared
from nas.commands._former_options import refuse_former
from nas.commands._kinds import SEED, GivenPath
from nas.commands._stage_time import StageTime
from nas.meta import from_runs, outer_loop, splits, task_distribution
from nas.settings import typed
from nas.text import counted
from nas.tune import settings_file
from nas.tune.ranges import as_text
from search_spaces import UserError

_EVERY = 60.0
"""Seconds between checkpoints."""


@click.command()
@click.option("--learner", help="How to learn: a meta-learner.  [default: transfer_gp]")
@click.option(
    "--settings", "tuned", type=GivenPath(path_type=Path), help="A file of `nas tune`: the learner and its settings."
)
@click.option(
    "--learner-option", "options", multiple=True, metavar="NAME=VALUE", help="A setting of it, as pca_steps=600."
)
@click.option(
    "--split", default="everything", show_default=True, help="What to hold out, as nas/data/splits.json declares it."
)
@click.option(
    "--out", "folder", type=GivenPath(path_type=Path, file_okay=False), help="Folder; by default runs/LEARNER-SPLIT."
)
@click.option("--seed", default=0, show_default=True, type=SEED, help="Of the weights and of every batch.")
@click.option("--task-fraction", default=1.0, show_default=True, help="Part of the training tasks to use.")
@click.option(
    "--prior", "start", type=GivenPath(path_type=Path),
    help="With --from-runs: the prior to continue. With --learner rl2: that of transfer_gp whose cell encoder it uses.",
)  # fmt: skip
@click.option(
    "--from-runs", "runs", multiple=True, type=GivenPath(path_type=Path), help="Finished runs to learn from too."
)
@click.argument("more", nargs=-1, type=GivenPath(path_type=Path))
@refuse_former
def command(
    learner: str | None,
    tuned: Path | None,
    options: tuple[str, ...],
    split: str,
    folder: Path | None,
    seed: int,
    task_fraction: float,
    start: Path | None,
    runs: tuple[Path, ...],
    more: tuple[Path, ...],
) -> None:
    """Train a prior on every table at hand but what --split holds out; OUT/prior.safetensors is what --prior takes.

    Ctrl-C keeps a checkpoint; the same command goes on from it, to the same bits. With --from-runs, no training: the prior gains
    a family of tasks made of what each of your own finished runs found, beside those that it has from runs before (--prior).

    \b
    Example:
      nas meta-train --learner transfer_gp --learner-option pca_steps=3 --out runs/tiny
    """
    command_line = shlex.join(["nas", *sys.argv[1:]])
    if more and not runs:
        raise UserError(f"Got '{more[0]}'; runs to learn from come after --from-runs.")
    if runs:
        _learn_from_runs(folder or _shared.runs_root() / f"prior-{split}", start, [*runs, *more], command_line)
        return
    learner, given = _settings(learner, tuned, _options.pairs(options, "--learner-option"))
    name = plugins.absolute(learner)
    component = plugins.load("meta-learner", name)
    if not plugins.is_outside(name):
        name = name.replace("-", "_")
    if start is not None:
        if name != "rl2":
            raise UserError(f"{name} takes no --prior; it is for --from-runs and --learner rl2.")
        given["encoder"] = str(start)
    settings = typed(name, component, given)
    _check_encoder(name, settings.get("encoder"), split)
    torch.set_num_threads(1)  # More add up gradients in another order each time.
    tasks = task_distribution.task_set(split, task_fraction=task_fraction, seed=seed)
    trained = component(tasks, **settings)
    config = {
        "learner": name, "options": settings, "split": split, "task_fraction": task_fraction, "seed": seed,
        "tasks": len(tasks.tasks),
    }  # fmt: skip
    short = component.__name__ if plugins.is_outside(name) else name  # A file's path would be folders.
    folder = folder or _shared.runs_root() / f"{short}-{split}"
    folder.mkdir(parents=True, exist_ok=True)
    prior = trained.prior(_train(trained, config, folder))
    about = {
        "command": command_line,
        "learner": name,
        "split": split,
        "held_out": json.dumps(splits.split(split).held_out),
        "seed": str(seed),
    }
    _write(folder / "prior.safetensors", Prior(prior.params, prior.about | about))
    size = (folder / "prior.safetensors").stat().st_size / 2**20
    click.echo(f"The prior is {folder / 'prior.safetensors'}, {size:.1f} MiB, trained on {len(tasks.tasks)} tasks.")


def _settings(learner: str | None, file: Path | None, given: dict[str, str]) -> tuple[str, dict[str, str]]:
    """The learner and its settings, those of a file of `nas tune` where the command line says nothing."""
    if file is None:
        return learner or "transfer_gp", given
    tuned = settings_file.read(file, "meta-train")
    if learner is not None and learner.replace("-", "_") != tuned.learner:
        raise UserError(f"--learner is {learner}; '{file}' has settings of {tuned.learner}.")
    return tuned.learner, as_text(tuned.settings) | given


def _learn_from_runs(folder: Path, start: Path | None, runs: list[Path], command_line: str) -> None:
    prior = from_runs.extend(start, runs, command_line)
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "prior.safetensors", prior)
    count = len(json.loads(prior.about["runs"]))
    click.echo(f"The prior is {folder / 'prior.safetensors'}; it has learned from {count} run{'s' * (count > 1)}.")


def _write(path: Path, prior: Prior) -> None:
    prior_file.write(path, prior)


def _check_encoder(name: str, prior: str | None, split: str) -> None:
    """Raises `UserError` where rl2 has no encoder, or one that has seen what the split holds out."""
    if name != "rl2":
        return
    if prior in (None, "none"):
        raise UserError(
            "rl2 rests on the cell encoder of a prior; train one by --learner transfer_gp and give --prior FILE."
        )
    about = prior_file.read(prior).about
    seen = set(splits.split(split).held_out) - set(json.loads(about.get("held_out", "[]")))
    if seen:
        raise UserError(
            f"Prior '{prior}' was trained on '{sorted(seen)[0]}', which split '{split}' holds out; "
            f"train one by: nas meta-train --learner transfer_gp --split {split}"
        )


def _train(learner: MetaLearner, config: dict[str, Any], folder: Path) -> MetaState:
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
    click.echo(
        f"Training a prior by {config['learner']} on {counted(config['tasks'], 'task')} (split {config['split']}) in {folder}: "
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
