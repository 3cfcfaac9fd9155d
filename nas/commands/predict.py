"""`nas predict`: the classes of image files, by the network of a run or of an export."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Any

import click

from nas.commands import _shared
from nas.datasets.labels import readable
from nas.run import classify, store
from nas.run.classify import Answer, Classifier
from nas.tasks import TaskName
from nas.terminal import printable
from nas.text import counted
from search_spaces import UserError

IN_PART = 1
"""Exit status where some files could not be read."""


@click.command()
@click.argument("network")
@click.argument("images", nargs=-1, required=True)
@click.option("--top", default=1, show_default=True, help="How many of the likeliest classes to print.")
@click.option(
    "--labels/--no-labels",
    default=None,
    help="Whether folders named after classes say the true class. By default they do where there are such; --labels refuses "
    "images that lie in none.",
)
@click.option("--csv", "as_csv", is_flag=True, help="Print comma-separated values, for spreadsheets and pandas.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
@click.option(
    "--trust", "trusted", is_flag=True, help="Run the file of a space that the run names and you have not run before."
)
def command(
    network: str, images: tuple[str, ...], top: int, labels: bool | None, as_csv: bool, as_json: bool, trusted: bool
) -> None:
    """Name the class of each of IMAGES by NETWORK, the folder of a run or of an export.

    IMAGES are files, folders and patterns. They are read as the training's were: turned upright, made gray or RGB, scaled, cut to
    the middle. A file that cannot be read gets a line and stops nothing; the exit status is then 1. Where images lie in folders
    called as the classes, the accuracy follows.

    \b
    Example:
      nas predict runs/photos new/*.jpg
    """
    if as_csv and as_json:
        raise UserError("--csv and --json are two forms of the same; choose one.")
    if top < 1:
        raise UserError(f"--top is {top}; it takes 1 or more.")
    folder = _folder(network)
    found = classify.find(folder, trusted=trusted)
    files = classify.images(images)
    answers = []
    writer = csv.writer(sys.stdout, lineterminator="\n") if as_csv else None
    shown = min(top, len(found.class_names))
    if writer:
        numbers = ["", *(f"_{place}" for place in range(2, shown + 1))]
        writer.writerow(["image", "label", *(f"{what}{n}" for n in numbers for what in ("class", "probability"))])
    for answer in classify.classify(found, files, labels=labels is not False):
        if labels and answer.label is None:
            raise UserError(
                f"--labels, and '{answer.image}' lies in no folder that is called as a class. "
                f"The classes: {', '.join(found.class_names)}."
            )
        answers.append(answer)
        if answer.failure:
            click.echo(f"nas: '{readable(answer.image)}': {printable(answer.failure)}", err=True)
        elif writer:
            best = list(answer.probabilities.items())[:shown]
            cells = [cell for name, share in best for cell in (printable(name), f"{share:.6f}")]
            writer.writerow([printable(answer.image), printable(answer.label or ""), *cells])
        elif not as_json:
            click.echo(printable(_line(answer, shown)))
    if as_json:
        _shared.print_json(document(found, answers, shown))
    elif not as_csv:
        _print_accuracy(found, answers)
        _say_trained_on(folder, answers)
    if any(answer.failure for answer in answers):
        sys.exit(IN_PART)


def document(found: Classifier, answers: list[Answer], top: int) -> dict[str, Any]:
    """The JSON document of predictions, `top` classes each."""
    read = [answer for answer in answers if not answer.failure]
    return {
        "class_names": found.class_names,
        "input_shape": found.input_shape,
        "images": [
            {
                "image": answer.image,
                "label": answer.label,
                "classes": [
                    {"class": name, "probability": share} for name, share in list(answer.probabilities.items())[:top]
                ],
            }
            for answer in read
        ],
        "failed": [{"image": answer.image, "reason": answer.failure} for answer in answers if answer.failure],
        "figures": classify.figures(found.class_names, answers),
    }


def _folder(name: str) -> Path:
    """Of a run or an export at that path, else of the run of that name: images often lie in a folder of the run's name."""
    return next(filter(classify.is_classifier, (Path(name), _shared.runs_root() / name)), Path(name))


def _line(answer: Answer, top: int) -> str:
    best = ", ".join(f"{name} {share:.1%}" for name, share in list(answer.probabilities.items())[:top])
    return f"{readable(answer.image)}  {best}" + (
        f"  (is {answer.label})" if answer.label not in (None, answer.named) else ""
    )


def _print_accuracy(found: Classifier, answers: list[Answer]) -> None:
    figures = classify.figures(found.class_names, answers)
    if figures is not None:
        low, high = figures["interval"]
        click.echo(
            f"accuracy {figures['accuracy']:.2f}% of {counted(figures['count'], 'image')} in folders named after classes, "
            f"95% interval {low:.2f}% to {high:.2f}% (Wilson)"
        )


def _say_trained_on(network: Path, answers: list[Answer]) -> None:
    """That an accuracy counts images which the network was trained on, where a run says that it read their folder."""
    run = next((folder for folder in (network, network.parent) if (folder / store.FILE).is_file()), None)
    labelled = [Path(answer.image) for answer in answers if answer.label is not None and not answer.failure]
    if run is None or not labelled:
        return
    with store.open_run(run) as opened:
        kind, _, where = str(TaskName.parse(opened.config.task).unconstrained()).partition(":")
    own = sum(image.resolve().is_relative_to(Path(where).resolve()) for image in labelled) if kind == "folder" else 0
    if own:
        click.echo(
            f"{counted(own, 'image')} of these lie in the folder that was searched on. The network was trained on most of that: "
            f"its test accuracy says more, nas show {printable(str(run))} has it."
        )
