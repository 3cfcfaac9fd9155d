"""A few-shot run on disk: one file holds what was asked for and how far training is."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open

from controller.policies.optim import Adam
from nas import plugins
from nas.few_shot import classes, load, named
from nas.few_shot.backbone import Backbone
from nas.few_shot.episodes import Source
from nas.few_shot.learner import Learner, Problem
from nas.few_shot.training import Plan, State
from search_spaces import UserError
from search_spaces._files import atomic_write, refuse_unreadable

FILE = "few_shot.safetensors"
FORMAT = "nas-few-shot/1"
CONV4 = "conv4"
"""The space that has a default architecture for each learner."""


@dataclasses.dataclass(frozen=True)
class Config:
    """What was asked for."""

    data: str
    learner: str = "prototypical"
    way: int = 5
    shot: int = 1
    queries: int = 15
    """Images of a class that an episode asks about, as in the papers."""
    seed: int = 0
    steps: int = 0
    options: dict[str, str] = dataclasses.field(default_factory=dict)
    """Settings of the learner."""
    space: str = CONV4
    arch: str = ""
    image_size: int | None = None
    rotations: bool | None = None
    split_seed: int = 0
    precision: str = "float32"
    digest: str = ""
    """Of the data's classes, images and splits."""
    episodes: int = 600
    """That test, as in most papers; the interval of 5-way accuracy is then about 0.5 wide."""

    @property
    def plan(self) -> Plan:
        return Plan(self.way, self.shot, self.queries, self.seed, self.steps, self.precision)


class Setup(NamedTuple):
    """What a configuration means."""

    config: Config
    learner: Learner
    source: Source


def prepare(config: Config) -> Setup:
    """The data and the learner. Raises `UserError` for what cannot be, and where the data are not those of the digest."""
    check_episodes(config.way, config.shot, config.queries)
    if not 0 <= config.seed < 2**32:
        raise UserError(f"--seed is {config.seed}; it takes 0 to 4294967295.")
    named.component(config.learner)
    data = load.load(config.data, config.image_size, config.rotations, config.split_seed)
    classes.check(data, config.way, config.shot + config.queries)
    digest = classes.digest(data)
    if config.digest not in ("", digest):
        raise UserError(
            f"'{config.data}' holds other images, classes or splits than when this run began; begin another."
        )
    if not config.arch and config.space == CONV4:
        config = dataclasses.replace(config, arch=named.default_arch(config.learner))
    options = named.recorded(config.learner) | config.options
    config = dataclasses.replace(config, digest=digest, rotations=data.rotations, options=options)
    return Setup(config, make_learner(config, tuple(data.images.shape[1:]), data.num_classes), source_of(data))


def as_read(config: Config) -> Config:
    """What was read from a file, with the architecture and the settings that are meant where it names none."""
    config = dataclasses.replace(config, options=named.former(config.learner) | config.options)
    if config.arch or config.space != CONV4:
        return config
    return dataclasses.replace(config, arch=named.former_default_arch(config.learner))


def check_episodes(way: int, shot: int, queries: int) -> None:
    """Raise `UserError` for episodes that are none."""
    for name, asked, least in (("way", way, 2), ("shot", shot, 1), ("queries", queries, 1)):
        if asked < least:
            raise UserError(f"--{name} is {asked}; it takes {least} or more.")


def source_of(data: classes.ClassImages) -> Source:
    """The data with the normalization of its training classes."""
    return Source(data, *classes.normalization(data))


def make_learner(config: Config, input_shape: tuple[int, ...], num_classes: int) -> Learner:
    """The learner of a configuration. Raises `UserError` for a space, an architecture or a setting that is none."""
    space = plugins.load("space", config.space)()
    if not config.arch:
        raise UserError(f"--space is {config.space}, and --arch names no architecture of it.")
    channels, height, width = input_shape
    backbone = Backbone(space, space.parse(config.arch), (channels, height, width))
    learner = named.make(config.learner, Problem(backbone, config.way, config.shot, num_classes), config.options)
    if not 0 < learner.lr < math.inf:
        raise UserError(f"lr is {learner.lr}; it takes a number above 0.")
    if learner.fixed_way and learner.train_way not in (0, config.way):
        raise UserError(
            f"train_way is {learner.train_way}; {config.learner} answers for as many classes as it is trained for, so it takes "
            f"{config.way}, as --way, or 0."
        )
    return learner


def save(folder: Path, config: Config, state: State) -> None:
    """Write both whole or not at all."""
    parts = {"params": state.params, "best": state.best, "mean": state.adam.mean, "square": state.adam.square}
    tensors = {f"{part}/{name}": t for part, named_ in parts.items() for name, t in named_.items()}
    tensors |= {"decay_mean": state.adam.decay_mean, "decay_square": state.adam.decay_square}
    # A double, and not text: a resumed training must compare by the same bits.
    tensors["best_accuracy"] = torch.tensor(state.best_accuracy, dtype=torch.float64)
    about = {"format": FORMAT, "config": json.dumps(dataclasses.asdict(config)), "step": str(state.step)}
    # Copies: safetensors refuses tensors that share memory, as the best may with the last.
    whole = {name: t.detach().clone().contiguous() for name, t in tensors.items()}
    with atomic_write(folder / FILE) as partial:
        partial.write_bytes(safetensors.torch.save(whole, about))


def read_config(folder: Path) -> Config:
    """What was asked for. Raises `UserError` for a folder without a few-shot run."""
    return _config(folder, _about(folder))


def read(folder: Path) -> tuple[Config, State]:
    """What was asked for and how far it is. Raises `UserError` for a file that is damaged."""
    about = _about(folder)
    try:
        tensors = safetensors.torch.load_file(folder / FILE)
        parts: dict[str, dict[str, Any]] = {part: {} for part in ("params", "best", "mean", "square")}
        for key, tensor in tensors.items():
            part, slash, name = key.partition("/")
            if slash:
                parts[part][name] = tensor
        moments = Adam(parts["mean"], parts["square"], tensors["decay_mean"], tensors["decay_square"])
        best = float(tensors["best_accuracy"])
        state = State(int(about["step"]), parts["params"], moments, parts["best"], best)
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise _damaged(folder, error) from None
    return _config(folder, about), state


def _about(folder: Path) -> dict[str, str]:
    if not (folder / FILE).is_file():
        raise UserError(f"'{folder}' is no few-shot run: it has no {FILE}.")
    refuse_unreadable(folder / FILE)
    try:
        with safe_open(folder / FILE, framework="pt") as file:
            about = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise _damaged(folder, error) from None
    if about.get("format") != FORMAT:
        raise UserError(f"'{folder / FILE}' has format '{about.get('format')}'; this version reads {FORMAT}.")
    return about


def _config(folder: Path, about: dict[str, str]) -> Config:
    try:
        return as_read(Config(**json.loads(about["config"])))
    except (KeyError, ValueError, TypeError) as error:
        raise _damaged(folder, error) from None


def _damaged(folder: Path, error: Exception) -> UserError:
    return UserError(f"'{folder / FILE}' is damaged ({str(error).partition(chr(10))[0]}); begin the run anew.")
