"""`nas train`: one architecture, by the final training of a search, with several seeds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import click
from click.core import ParameterSource
from rich.console import Console
from torch import Tensor

from nas import plugins, tasks
from nas.commands import _options, _shared
from nas.export.export import FILES, Export, refuse_taken
from nas.export.loader import SPACE_SOURCE
from nas.run import stages, trained_network
from nas.tasks import absolute
from nas.terminal import encodable, printable
from nas.text import counted, duration
from nas.training import metrics
from nas.types import ComparableTraining, FinalTraining, TrainedNetwork, as_comparable
from search_spaces import UserError

RESNET = "resnet"
_DEFAULT = "digits"


@click.command()
@click.argument("arch", metavar="ARCH|resnet")
@click.option("--task", default=_DEFAULT, show_default=True, help="Images: digits, npz:FILE, folder:DIR or hf:NAME.")
@click.option("--space", help="The search space of ARCH: a name, or FILE.py:Class of your own.")
@click.option("--seeds", default=3, show_default=True, help="Trainings that differ in their seed alone.")
@click.option(
    "--training-option",
    "-t",
    "training_options",
    multiple=True,
    metavar="NAME=VALUE",
    help="A setting of the training, as final_epochs=50.",
)
@click.option("--to", type=click.Path(path_type=Path), help="Export the network of the first seed into this folder.")
@click.option("--force", is_flag=True, help="Replace an earlier export in that folder.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def command(
    arch: str, task: str, space: str | None, seeds: int, training_options: tuple[str, ...], to: Path | None, force: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """Train one architecture as a search trains what it found: on training and validation images, tested once for each seed.

    ARCH is written as a search prints it; `resnet` is the space's ResNet-like cell. The first of the seeds is that of a search.

    \b
    Example:
      nas train resnet --task digits --seeds 2 -t final_epochs=3
    """
    if seeds < 1:
        raise UserError(f"--seeds is {seeds}; it takes a number above zero.")
    training = _evaluator(task, space, training_options)
    chosen = _parsed(training, arch)
    described = training.final_space.describe(training.equivalents(chosen))
    if to is not None:
        refuse_taken(to, force, (*FILES, SPACE_SOURCE))
    if click.get_current_context().get_parameter_source("task") is ParameterSource.DEFAULT:
        # On standard error: with --json the other one has a document and nothing else.
        click.echo(f"No --task is given, so it is '{_DEFAULT}'; --task folder:DIR trains on your images.", err=True)
    if not as_json:
        click.echo(
            f"Training {printable(described)} on {printable(training.task.name)} with {counted(seeds, 'seed')}; "
            f"about {duration(_seconds(training, chosen, seeds))}."
        )
    with _progress(training, seeds):
        trained = training.final_networks([FinalTraining(chosen, seed) for seed in range(seeds)])
    converged = {seed: one for seed, one in enumerate(trained) if not one.diverged}
    if not converged:
        raise trained_network.diverged(training)
    for seed in set(range(seeds)) - set(converged):
        click.echo(f"Seed {seed} has no row: its training diverged.", err=True)
    done = None
    if to is not None:
        first = next(iter(converged.values()))
        done = trained_network.write_export(training.final_space, training.task, first, to, force=force)
    document = _document(training, described, converged, done)
    if as_json:
        _shared.print_json(document)
    else:
        _print(document)


def _evaluator(task: str, space: str | None, training_options: tuple[str, ...]) -> ComparableTraining:
    options = _options.pairs(training_options, "--training-option")
    if space is not None:
        options["space"] = space
    if "space" in options:
        options["space"] = plugins.absolute(options["space"])
    training = as_comparable(tasks.find(absolute(task), None, **options).training)
    if training is None:
        raise UserError(
            f"Task '{task}' {tasks.TaskName.parse(task).how}; `nas train` takes images: digits, npz:FILE, folder:DIR or hf:NAME."
        )
    return training


def _parsed(training: ComparableTraining, arch: str) -> Tensor:
    if arch.strip().lower() != RESNET:
        try:
            return training.space.parse(arch)
        except UserError as error:
            # Who mistypes one word is not helped by how architectures are written.
            named = "" if any(sign in arch for sign in "|,=") else f" '{RESNET}' names the plain ResNet."
            raise UserError(f"{error}{named}") from None
    # Of a space of cells, and of that of pipelines.
    found: Tensor | None = getattr(training.space, "reference_arch", None)
    if found is None:
        raise UserError(
            f"Space '{training.space.name}' names no ResNet-like cell; write an architecture as a search prints it."
        )
    return found


def _seconds(training: ComparableTraining, arch: Tensor, seeds: int) -> float:
    """About how long it takes: trainings side by side, a core each."""
    at_once = min(seeds, stages.cores_of(training))
    return training.final_seconds(arch) * -(-seeds // at_once)


@contextmanager
def _progress(training: ComparableTraining, seeds: int) -> Iterator[None]:
    """On a terminal, how much is done."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    with console.status("training") as status:
        training.watch(
            lambda p: status.update(f"{p.done / p.total:.0%} of {counted(seeds, 'training')}, loss {p.loss:.3f}")
        )
        try:
            yield
        finally:
            training.watch(None)


def _document(
    training: ComparableTraining, arch: str, trained: dict[int, TrainedNetwork], done: Export | None
) -> dict[str, Any]:
    accuracies = [one.metrics["test_accuracy"] for one in trained.values()]
    return {
        "task": training.task.name,
        "arch": arch,
        "epochs": len(next(iter(trained.values())).metrics["loss"]),
        "mean": round(mean(accuracies), 4),
        "standard_deviation": round(stdev(accuracies), 4) if len(accuracies) > 1 else None,
        "seeds": [_row(seed, one) for seed, one in trained.items()],
        "export": None if done is None else str(done.folder),
    }


def _row(seed: int, one: TrainedNetwork) -> dict[str, Any]:
    confusion = one.metrics["confusion"]
    return {
        "seed": seed,
        "test_accuracy": one.metrics["test_accuracy"],
        "interval": one.metrics["interval"],
        "balanced_accuracy": round(metrics.balanced_accuracy(confusion), 4),
        "macro_f1": round(metrics.macro_f1(confusion), 4),
        "seconds": round(one.seconds, 2),
    }


def _print(document: dict[str, Any]) -> None:
    rows: list[tuple[str, ...]] = [("seed", "test accuracy", "95% interval", "balanced", "macro F1", "seconds")]
    for row in document["seeds"]:
        low, high = row["interval"]
        accuracy, *rest = (f"{row[name]:.2f}" for name in ("test_accuracy", "balanced_accuracy", "macro_f1"))
        rows.append((str(row["seed"]), accuracy, f"{low:.2f} to {high:.2f}", *rest, f"{row['seconds']:.1f}"))
    _shared.print_lines(rows)
    spread = document["standard_deviation"]
    if spread is not None:
        click.echo(
            f"test accuracy {document['mean']:.2f} {encodable('±', '+-')} {spread:.2f} (standard deviation over seeds)"
        )
    if document["export"] is not None:
        folder = printable(document["export"])
        click.echo(
            f"The network of seed {document['seeds'][0]['seed']} is in {folder}; `nas predict {folder} IMAGES` asks it."
        )
