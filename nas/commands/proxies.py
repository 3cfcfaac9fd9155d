"""`nas proxies`: zero-cost proxies of some architectures on some images."""

from __future__ import annotations

import math

import click
import torch
from torch import Tensor

from nas import plugins
from nas.commands import _options, _shared
from nas.evaluators.zero_cost import ZeroCost
from nas.tasks import TaskName, absolute
from nas.terminal import printable
from nas.training.zero_cost import PROXIES
from search_spaces import UserError, _sampling, unknown


@click.command()
@click.argument("archs", nargs=-1, metavar="[ARCH]...")
@click.option("--task", default="digits", show_default=True, help="Images: digits, npz:FILE, folder:DIR or hf:NAME.")
@click.option("--space", help="The search space: a name, or FILE.py:Class of your own.")
@click.option(
    "--proxy",
    "proxies",
    multiple=True,
    metavar="NAME",
    help=f"Several times for several; all by default: {', '.join(PROXIES)}.",
)
@click.option("--sample", type=click.IntRange(1, 10_000), help="So many architectures at random, in place of ARCH.")
@click.option(
    "--training-option",
    "-t",
    "training_options",
    multiple=True,
    metavar="NAME=VALUE",
    help="A setting, as batch=32 images, seed=1 of the weights, final_channels=16.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def command(
    archs: tuple[str, ...], task: str, space: str | None, proxies: tuple[str, ...], sample: int | None,
    training_options: tuple[str, ...], as_json: bool,
) -> None:  # fmt: skip
    """Print zero-cost proxies: what the quality of an untrained network is guessed from, by one batch of images.

    ARCH is written as a search prints it. `nas search --proxy NAME` searches by one of them.

    \b
    Example:
      nas proxies --sample 5 --proxy naswot --proxy synflow
    """
    if bool(archs) == (sample is not None):
        raise UserError("Say architectures or --sample N, one of the two.")
    for name in proxies:
        if name not in PROXIES:
            raise unknown("zero-cost proxy", name, list(PROXIES))
    if TaskName.parse(task).kind != "data":
        raise UserError(
            f"--task is '{task}', which looks scores up; proxies take images: digits, npz:FILE, folder:DIR, hf:NAME."
        )
    options = _options.pairs(training_options, "--training-option")
    if space is not None:
        options["space"] = plugins.absolute(space)
    evaluator = ZeroCost.of(absolute(task), **options)
    chosen, names = _chosen(evaluator, archs, sample), proxies or tuple(PROXIES)
    found = zip(chosen, evaluator.proxies(chosen, names))
    rows = [{"architecture": evaluator.space.describe(arch), **one.values} for arch, one in found]
    if as_json:
        for row in rows:
            row.update({name: None for name in names if math.isnan(row[name])})
        _shared.print_json({"task": task, "images": evaluator.batch, "proxies": rows})
        return
    for row in rows:
        click.echo(printable(str(row["architecture"])))
        click.echo("  " + "  ".join(f"{name} {row[name]:.6g}" for name in names))


def _chosen(evaluator: ZeroCost, archs: tuple[str, ...], sample: int | None) -> list[Tensor]:
    space = evaluator.space
    if sample is not None:
        return list(_sampling.sample(space, torch.tensor([evaluator.seed]), 0, sample)[0])
    found = [space.parse(text) for text in archs]
    for text, arch in zip(archs, found):
        if not bool(space.valid(arch)):
            raise UserError(f"Architecture '{text}' is not one of space '{space.name}'.")
    return found
