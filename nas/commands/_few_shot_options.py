"""What a few-shot learner can be asked, as options that several commands take."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from nas.commands import _options
from nas.few_shot import named
from nas.few_shot.run import Config
from nas.tune import settings_file
from nas.tune.ranges import as_text
from search_spaces import UserError

_LEARNING = (
    click.option("--data", default="digits", show_default=True, help="digits, a folder by class, a .npz file or hf:NAME."),
    click.option("--learner", help=f"What learns: {', '.join(named.names())}.  [default: prototypical]"),
    click.option("--way", default=5, show_default=True, help="Classes of an episode."),
    click.option("--shot", default=1, show_default=True, help="Images of each class to learn from."),
    click.option("--queries", default=15, show_default=True, help="Images of each class that a test asks about."),
    click.option("--seed", default=0, show_default=True, help="Of the weights and of the training episodes."),
    click.option(
        "--learner-option", "-l", "learner_options", multiple=True, metavar="NAME=VALUE", help="A setting, as inner_lr=0.1."
    ),
    click.option("--space", default="conv4", show_default=True, help="The search space of the backbone."),
    click.option("--arch", default="", help="The backbone, as the space writes it. Default: that of the learner's paper."),
    click.option("--image-size", type=int, help="Side of the images in pixels. Default: their own, at most 32."),
    click.option(
        "--rotations/--no-rotations", default=None, help="Whether each rotation by 90 degrees is a class too. Default: of digits."
    ),
    click.option("--split-seed", default=0, show_default=True, help="Splits the classes where the data do not."),
    click.option(
        "--precision", type=click.Choice(["float32", "bf16"]), default="float32", show_default=True,
        help="bf16 is faster in training on processors that compute in it.",
    ),
)  # fmt: skip


def learning(command: Callable[..., Any]) -> Callable[..., Any]:
    """Data, learner, episodes and backbone, as options; the command hands their values to `config`."""
    for add in reversed(_LEARNING):
        command = add(command)
    return command


_OF_A_TRAINING = (
    "way",
    "shot",
    "queries",
    "seed",
    "space",
    "arch",
    "image_size",
    "rotations",
    "split_seed",
    "precision",
)

"""Options that change what a training learns: what a printed command has to repeat."""


def words(data: str, given: Mapping[str, Any]) -> list[str]:
    """What a command line says of data, episodes and backbone, for one that is printed: as the command at hand was given them,
    without defaults."""
    known = {option.name: option for option in click.get_current_context().command.params}
    found = ["--data", data]
    for name in _OF_A_TRAINING:
        option, value = known[name], given[name]
        assert isinstance(option, click.Option)
        if value is None or value == option.default:
            continue
        found += (
            (option.opts if value else option.secondary_opts)[:1] if option.is_flag else [option.opts[0], str(value)]
        )
    return found


def config(
    *, learner: str | None, learner_options: tuple[str, ...], data: str, settings: Path | None = None, **asked: Any
) -> Config:
    """The configuration that the options ask for; those of a file of `settings` where they say nothing."""
    options = _options.pairs(learner_options, "--learner-option")
    if settings is not None:
        tuned = settings_file.read(settings, "few-shot")
        if learner is not None and learner.replace("-", "_") != tuned.learner:
            raise UserError(f"--learner is {learner}; '{settings}' has settings of {tuned.learner}.")
        learner, options = tuned.learner, as_text(tuned.settings) | options
    learner = (learner or Config.learner).replace("-", "_")
    named.component(learner)
    return Config(_whole(data), learner, options=options, **asked)


def _whole(data: str) -> str:
    """Where the data lie, from any folder: a run may be resumed from another."""
    kind, colon, rest = data.partition(":")
    path = Path(rest if colon and kind in ("folder", "npz") else data).expanduser()
    return str(path.resolve()) if data != "digits" and path.exists() else data
