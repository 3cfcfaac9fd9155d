"""`nas meta-train`: a prior for `in_context`, learned across tasks."""

from __future__ import annotations

import json
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import torch
from rich.console import Console
from rich.progress import Progress

from controller.models import prior_file
from nas import meta
from nas.commands import _shared
from nas.meta import from_runs, task_distribution
from search_spaces import UserError

_EVERY = 60.0
"""Seconds between checkpoints."""


_STEPS = click.IntRange(min=0)


@click.command()
@click.option(
    "--split", default="everything", show_default=True, help="What to leave out, as nas/data/splits.json declares it."
)
@click.option(
    "--out", "folder", type=click.Path(path_type=Path, file_okay=False), help="Folder; by default runs/prior-SPLIT."
)
@click.option(
    "--describe", type=_STEPS, default=meta.Plan.describe, show_default=True, help="Steps that learn landscapes."
)
@click.option(
    "--read", type=_STEPS, default=meta.Plan.read, show_default=True, help="Steps that learn to predict in context."
)
@click.option(
    "--reinforce",
    type=_STEPS,
    default=meta.Plan.reinforce,
    show_default=True,
    help="Steps of the policy over searches.",
)
@click.option("--seed", default=0, show_default=True, help="Of the weights and of every batch.")
@click.option("--share", default=1.0, show_default=True, help="Part of the training tasks to use.")
@click.option("--synthetic/--no-synthetic", default=True, show_default=True, help="Made-up landscapes among the tasks.")
@click.option(
    "--task-features/--no-task-features", default=True, show_default=True, help="Tell the network of the task."
)
@click.option(
    "--atlas/--no-atlas", default=True, show_default=True, help="Remember each architecture of the tables' spaces."
)
@click.option(
    "--properties/--no-properties", default=True, show_default=True,
    help="With --atlas: reckon with what tables say beside scores, as seconds, sizes, zero-cost proxies.",
)  # fmt: skip
@click.option(
    "--trusted/--untrusted", default=False, show_default=True, help="Let the network's own predictions take part."
)
@click.option(
    "--from-runs", "runs", multiple=True, type=click.Path(path_type=Path), help="Finished runs to learn from too."
)
@click.argument("more", nargs=-1, type=click.Path(path_type=Path))
@click.option("--prior", "start", type=click.Path(path_type=Path), help="With --from-runs: the prior to continue.")
def command(
    split: str,
    folder: Path | None,
    describe: int,
    read: int,
    reinforce: int,
    seed: int,
    share: float,
    synthetic: bool,
    task_features: bool,
    atlas: bool,
    properties: bool,
    trusted: bool,
    runs: tuple[Path, ...],
    more: tuple[Path, ...],
    start: Path | None,
) -> None:
    """Train a prior on every table at hand but those that --split leaves out; OUT/prior.safetensors is what --prior takes.

    Ctrl-C keeps a checkpoint; the same command goes on from it, to the bit. With --from-runs, no training: the prior gains a
    landscape of what each of your own finished runs found, beside those that it has from runs before (--prior).

    \b
    Example:
      nas meta-train --describe 3 --read 2 --reinforce 1 --out runs/tiny
    """
    folder = folder or _shared.runs_root() / f"prior-{split}"
    said = shlex.join(["nas", *sys.argv[1:]])
    if more and not runs:
        raise UserError(f"Got '{more[0]}'; runs to learn from come after --from-runs.")
    if runs:
        runs = (*runs, *more)
        prior = from_runs.extend(start, list(runs), said)
        folder.mkdir(parents=True, exist_ok=True)
        prior_file.write(folder / "prior.safetensors", prior)
        count = len(json.loads(prior.about["runs"]))
        click.echo(f"The prior is {folder / 'prior.safetensors'}; it has learned from {count} run{'s' * (count > 1)}.")
        return
    plan = meta.Plan(
        split, describe, read, reinforce, seed, synthetic, task_features, share, atlas, properties, trusted
    )
    if not 0 < share <= 1:
        raise UserError(f"--share is {share}; it takes a number above 0, at most 1.")
    torch.set_num_threads(1)  # More add up gradients in another order each time.
    leave = task_distribution.split(split).leave
    trainer = meta.Trainer(
        plan, task_distribution.library(leave), task_distribution.properties(leave) if properties else ()
    )
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = folder / "checkpoint.safetensors"
    if checkpoint.is_file():
        trainer.load(checkpoint)
    _train(trainer, plan, folder, checkpoint)
    prior = trainer.prior(said)
    prior_file.write(folder / "prior.safetensors", prior)
    size = (folder / "prior.safetensors").stat().st_size / 2**20
    click.echo(f"The prior is {folder / 'prior.safetensors'}, {size:.1f} MiB, trained on {len(trainer.library)} tasks.")


def _train(trainer: meta.Trainer, plan: meta.Plan, folder: Path, checkpoint: Path) -> None:
    """Train to the end of the plan with a progress line on a terminal. Ctrl-C says how to go on and exits."""
    from torch.utils.tensorboard import SummaryWriter  # Half of the start-up time of `nas --help` otherwise.

    done = kept = sum(plan.steps(s) for s in meta.STAGES[: trainer.stage]) + trainer.step
    total = plan.describe + plan.read + plan.reinforce
    writer = SummaryWriter(str(folder), purge_step=done + 1 if done else None)
    saved = time.monotonic()
    try:
        with _whole_steps() as stopped, Progress(console=Console(stderr=True), transient=True) as bar:
            line = bar.add_task("training", total=total, completed=done)
            for progress in trainer.run():
                done += 1
                bar.update(line, completed=done, description=progress.stage)
                for name, value in progress.values.items():
                    writer.add_scalar(f"{progress.stage}/{name}", value, done)
                if stopped() or time.monotonic() - saved > _EVERY:
                    trainer.save(checkpoint)
                    saved, kept = time.monotonic(), done
                if stopped():
                    raise KeyboardInterrupt
        trainer.save(checkpoint)
    except KeyboardInterrupt:
        click.echo(f"\nStopped; {kept} of {total} steps are kept in {folder}. Go on: the same command.", err=True)
        sys.exit(_shared.STOPPED)
    finally:
        writer.close()


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

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield lambda: bool(asked)
    finally:
        signal.signal(signal.SIGINT, before)
