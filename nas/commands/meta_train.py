"""`nas meta-train`: a prior, learned across tasks by one of the meta-learners."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import click
import torch

from controller import Prior, TaskSet
from controller.models import configuration_prior, prior_file
from nas import plugins
from nas.commands import _meta_training, _options, _shared
from nas.commands._former_options import refuse_former
from nas.commands._kinds import SEED, GivenPath
from nas.meta import from_runs, held_apart, image_sets, metanas, splits, task_distribution
from nas.run import priors
from nas.run.lock import lock
from nas.settings import typed
from nas.tune import settings_file
from nas.tune.ranges import as_text
from search_spaces import UserError

_GEOMETRY = ("channels", "cells", "image_size")
"""What a search must have in common with the prior of a supernet."""


@click.command()
@click.option("--learner", help="How to learn: a meta-learner.  [default: transfer_gp, or metanas with --images]")
@click.option(
    "--settings", "tuned", type=GivenPath(path_type=Path), help="A file of `nas tune`: the learner and its settings."
)
@click.option(
    "--learner-option", "-l", "options", multiple=True, metavar="NAME=VALUE", help="A setting of it, as pca_steps=600."
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
@click.option(
    "--images", multiple=True, metavar="SET",
    help="Image sets by which --learner metanas learns the start of a supernet: npz:FILE, folder:DIR, a folder of npz files.",
)  # fmt: skip
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
    images: tuple[str, ...],
    more: tuple[Path, ...],
) -> None:
    """Train a prior on every table at hand but what --split holds out; OUT/prior.safetensors is what --prior takes.

    Ctrl-C keeps a checkpoint; the same command continues from it bitwise. With --from-runs, no training: the prior gains
    a family of tasks made of what each of your own finished runs found, beside those that it has from runs before (--prior).
    Of runs that searched pipelines, the prior over pipelines gains what they found.

    \b
    Example:
      nas meta-train --learner transfer_gp --learner-option pca_steps=3 --split shipped --out runs/tiny
      nas meta-train --images digits --learner-option steps=3 --learner-option image_size=8 --out runs/start
    """
    command_line = shlex.join(["nas", *sys.argv[1:]])
    if more and not runs:
        raise UserError(f"Got '{more[0]}'; runs to learn from come after --from-runs.")
    of_tables = {"--settings": tuned, "--task-fraction": task_fraction != 1}
    if runs:
        of_training = {"--learner": learner, "--learner-option": options, "--images": images, "--seed": seed}
        for option in (name for name, value in (of_training | of_tables).items() if value):
            raise UserError(f"--from-runs trains nothing and adds to a prior that is trained; leave {option} out.")
        _learn_from_runs(folder, split, start, [*runs, *more], command_line)
        return
    if images or learner == metanas.NAME:
        of_tables |= {"--split": split != "everything", "--prior": start}
        for option in (name for name, value in of_tables.items() if value):
            raise UserError(f"{metanas.NAME} learns from image sets and not from tables; leave {option} out.")
        given = _options.pairs(options, "--learner-option")
        folder = folder or _shared.runs_root() / "metanas"
        _learn_from_images(learner or metanas.NAME, given, image_sets.named(images), folder, seed, command_line)
        return
    learner, given = _settings(learner, tuned, _options.pairs(options, "--learner-option"))
    name = plugins.settled("meta-learner", learner)
    component = plugins.load("meta-learner", name)
    if start is not None:
        if name != "rl2":
            raise UserError(f"{name} takes no --prior; it is for --from-runs and --learner rl2.")
        given["encoder"] = str(start)
    settings = typed(name, component, given)
    held_apart.check_encoder(name, settings.get("encoder"), split)
    torch.set_num_threads(1)  # More add up gradients in another order each time.
    tasks = task_distribution.task_set(split, task_fraction=task_fraction, seed=seed)
    trained = component(tasks, **settings)
    config = {
        "learner": name, "options": settings, "split": split, "task_fraction": task_fraction, "seed": seed,
        "tasks": len(tasks.tasks),
        **_contents(tasks, name, settings.get("encoder") if name == "rl2" else None),
    }  # fmt: skip
    short = component.__name__ if plugins.is_outside(name) else name  # A file's path would be folders.
    folder = folder or _shared.runs_root() / f"{short}-{split}"
    folder.mkdir(parents=True, exist_ok=True)
    with lock(folder, "training"):
        prior = trained.prior(_meta_training.train(trained, config, folder))
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


def _contents(tasks: TaskSet, learner: str, encoder: str | None) -> dict[str, str | None]:
    """Digests of the files that a training reads: `outer_loop.FILES`."""
    return {
        "tables_sha256": task_distribution.digest(tasks),
        "learner_sha256": plugins.sha256("meta-learner", learner),
        "encoder_sha256": None if encoder is None else priors.fingerprint(encoder, learner),
    }


def _learn_from_images(
    learner: str, given: dict[str, str], sets: tuple[str, ...], folder: Path, seed: int, command_line: str
) -> None:
    """The start of a supernet. Its learner is no component: tables are nothing to it."""
    if learner != metanas.NAME:
        raise UserError(f"--learner is {learner}, which learns from tables; --images is for {metanas.NAME}.")
    torch.set_num_threads(1)
    made = metanas.MetaNas(sets, **typed(metanas.NAME, metanas.MetaNas, given))
    digests = [one.data_digest for one in made.evaluators]
    config = {
        "learner": learner, "options": given, "images": list(sets), "digests": digests, "seed": seed, "tasks": len(sets),
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    with lock(folder, "training"):
        prior = made.prior(_meta_training.train(made, config, folder))
    about = {"command": command_line, "learner": learner, "seed": str(seed)}
    _write(folder / "prior.safetensors", Prior(prior.params, prior.about | about))
    click.echo(
        f"The prior is {folder / 'prior.safetensors'}; it goes with: nas search --evaluator supernet --controller darts "
        f"--prior {folder / 'prior.safetensors'} {' '.join(f'-t {n}={getattr(made, n)}' for n in _GEOMETRY)}"
    )


def _settings(learner: str | None, file: Path | None, given: dict[str, str]) -> tuple[str, dict[str, str]]:
    """The learner and its settings, those of a file of `nas tune` where the command line says nothing."""
    if file is None:
        return learner or "transfer_gp", given
    tuned = settings_file.read(file, "meta-train")
    if learner is not None and plugins.settled("meta-learner", learner) != tuned.learner:
        raise UserError(f"--learner is {learner}; '{file}' has settings of {tuned.learner}.")
    return tuned.learner, as_text(tuned.settings) | given


def _learn_from_runs(folder: Path | None, split: str, start: Path | None, runs: list[Path], command_line: str) -> None:
    prior = from_runs.extend(start, runs, command_line)
    of_pipelines = prior.about["controller"] == configuration_prior.CONTROLLER
    folder = folder or _shared.runs_root() / ("prior-pipelines" if of_pipelines else f"prior-{split}")
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "prior.safetensors", prior)
    count = len(json.loads(prior.about["runs"]))
    click.echo(f"The prior is {folder / 'prior.safetensors'}; it has learned from {count} run{'s' * (count > 1)}.")


def _write(path: Path, prior: Prior) -> None:
    prior_file.write(path, prior)
