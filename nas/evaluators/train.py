"""Scores from real training: all distinct cells of a proposal at once, on the task's own data.

The search trains a small proxy network a few epochs and scores by validation accuracy; the winner is trained to the end as a
larger network on training and validation images, and tested once. Best epochs are picked nowhere.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from controller._base import Proposal, Results
from nas import _augment, data_sets, plugins, training
from nas._base import Evaluate
from nas.data_sets import DataSet
from nas.trained import Trained
from nas.training import Images, Recipe
from search_spaces import _cells, _ops
from search_spaces._base import Space, Task, UserError

__all__ = ["Train"]

_CHUNK = 32
"""Cells trained together on a CPU: more do not fit its cache, fewer leave it to Python."""
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory")


class Settings(NamedTuple):
    """What `--with NAME=VALUE` may set; None: chosen from the data."""

    epochs: int | None = None
    """Of an evaluation."""
    channels: int = 8
    """Of the proxy network's first stage."""
    cells: int = 1
    """Of the proxy network, a stage."""
    image_size: int | None = None
    examples: int = 2000
    """At most so many training images in the search."""
    batch: int = 64
    lr: float = 0.1
    seed: int = 0
    """Of weights, order and augmentation."""
    space: str = "nasbench201"
    final_epochs: int | None = None
    final_channels: int = 16
    final_cells: int = 2
    augment: bool = True
    """Crops, and mirrors where the data bear them, in the final training."""
    device: str = ""
    """As PyTorch names it; by default a GPU if there is one."""


@dataclass(frozen=True)
class Train:
    """Trains what is proposed. Scores do not depend on the search's seed, nor on who is trained beside whom."""

    space: Space
    task: Task
    final: Space
    data: DataSet = field(repr=False, compare=False)
    recipe: Recipe
    final_recipe: Recipe
    examples: int
    device: torch.device
    _known: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)

    budget = 32
    batch = 16

    @classmethod
    def of(cls, name: str, **settings: str) -> Train:
        """The evaluator of a data set. Raises `UserError` for a setting that does not exist."""
        asked = Settings(**_typed(settings))
        data = data_sets.load(name, asked.image_size)
        channels, side, _ = data.x_train.shape[1:]
        count = len(data.y_train)
        examples = min(count, asked.examples)
        task = Task(name, tuple(data.x_train.shape[1:]), len(data.class_names), (float(count),))  # pyright: ignore
        stem_stride = 2 if side > 16 else 1
        device = torch.device(asked.device or ("cuda" if torch.cuda.is_available() else "cpu"))
        epochs = asked.epochs or max(3, min(12, round(6000 / examples)))
        final_epochs = asked.final_epochs or max(12, min(40, round(40_000 / count)))
        crop = max(1, side // 8) if asked.augment else 0
        flip = asked.augment and channels == 3 and _mirrors(data)
        recipe = Recipe(epochs, asked.batch, asked.lr, seed=asked.seed)
        final_recipe = Recipe(final_epochs, asked.batch, asked.lr, crop=crop, flip=flip, seed=asked.seed)
        made = plugins.load("space", asked.space)
        if "stem_stride" not in made.__dataclass_fields__:
            return cls(made(), task, made(), data, recipe, final_recipe, examples, device)
        proxy = made(channels=asked.channels, cells=asked.cells, stem_stride=stem_stride)
        final = made(channels=asked.final_channels, cells=asked.final_cells, stem_stride=stem_stride)
        return cls(proxy, task, final, data, recipe, final_recipe, examples, device)

    @property
    def about(self) -> str:
        C, H, W = self.task.input_shape
        return (
            f"score: validation accuracy after {self.recipe.epochs} epochs of {self.examples} images, {W}x{H}x{C}, by "
            f"{_size(self.space)}; report: test accuracy of {_size(self.final)} after {self.final_recipe.epochs} epochs"
        )

    def load(self, seeds: Tensor) -> Evaluate:
        def evaluate(proposal: Proposal) -> Results:
            archs = self._twins(proposal.archs)
            horizon = torch.full(archs.shape[:2], self.recipe.epochs)
            epochs = horizon if proposal.epochs is None else proposal.epochs
            if bool((epochs > horizon).any()):
                raise UserError(
                    f"The controller asks for {int(epochs.max())} epochs; the task trains {self.recipe.epochs}. "
                    f"Say --with epochs={int(epochs.max())}."
                )
            ranks = _ops.index(archs, self.space.choices)
            wanted = list(dict.fromkeys(zip(ranks.flatten().tolist(), epochs.flatten().tolist())))
            self._train([want for want in wanted if want not in self._known])
            found = [self._known[want] for want in zip(ranks.flatten().tolist(), epochs.flatten().tolist())]
            score, cost = torch.tensor(found).unbind(-1)
            return Results(score.view(ranks.shape), cost.view(ranks.shape))

        return evaluate

    def report(self, archs: Tensor) -> Tensor:
        tested = [self.trained(arch).figures["test_accuracy"] for arch in archs.flatten(0, -2)]
        return torch.tensor(tested).view(archs.shape[:-1])

    def trained(self, arch: Tensor) -> Trained:
        twin = self._twins(arch)
        key = self.final.describe(twin)
        if key not in self._known:
            self._known[key] = self._train_fully(twin)
        return self._known[key]

    def _twins(self, archs: Tensor) -> Tensor:
        """The cheapest cells that compute the same, `[..., D]`."""
        if "skip_connect" not in self.space.operations[0]:
            return self.space.canonical(archs)
        ranks = _cells.twins(self.space.operations[0], deep=True)[_ops.index(archs, self.space.choices)]
        return _ops.from_index(ranks, self.space.choices)

    def _images(self, x: Tensor, y: Tensor) -> Images:
        return Images(*(t.to(self.device) for t in (x, y, self.data.mean, self.data.std)))

    def _train(self, wanted: list[tuple[int, int]]) -> None:
        """Train (rank, epochs) pairs and keep their scores; a chunk that does not fit is halved."""
        fitting = _CHUNK
        waiting = sorted(wanted, key=lambda want: (want[1], want[0]))
        while waiting:
            chunk = [want for want in waiting[:fitting] if want[1] == waiting[0][1]]
            try:
                self._train_chunk(chunk)
            except (RuntimeError, MemoryError) as error:
                if len(chunk) == 1 or not any(words in str(error) for words in _OUT_OF_MEMORY):
                    raise
                fitting = len(chunk) // 2
                continue
            waiting = waiting[len(chunk) :]

    def _train_chunk(self, chunk: list[tuple[int, int]]) -> None:
        started = time.perf_counter()
        archs = _ops.from_index(torch.tensor([rank for rank, _ in chunk]), self.space.choices)
        data = self.data
        picked = data_sets.pick(len(data.y_train), self.examples)
        train = self._images(data.x_train[picked], data.y_train[picked])
        valid = self._images(data.x_valid, data.y_valid)
        network = training.networks(self.space, archs, self.task, self.recipe.seed, self.device)
        losses: Iterator[Tensor] = training.train(network, train, self.recipe)
        loss = torch.zeros(len(chunk))
        for _ in range(chunk[0][1]):
            loss = next(losses).cpu()
        score = training.accuracy(network, valid).cpu().masked_fill(loss.isnan(), torch.nan)
        seconds = (time.perf_counter() - started) / len(chunk)
        self._known.update({want: (value, seconds) for want, value in zip(chunk, score.tolist())})

    def _train_fully(self, arch: Tensor) -> Trained:
        data, recipe = self.data, self.final_recipe
        both = torch.cat([data.x_train, data.x_valid]), torch.cat([data.y_train, data.y_valid])
        network = training.networks(self.final, arch[None], self.task, recipe.seed, self.device)
        losses = [loss.item() for loss in training.train(network, self._images(*both), recipe)]
        seen = training.predictions(network, self._images(data.x_test, data.y_test))[0].cpu()
        weights = {name: value.detach().cpu().clone() for name, value in network.state_of(0).items()}
        figures = training.figures(seen, data.y_test, len(data.class_names)) | {"loss": losses}
        return Trained(self.final.describe(arch), weights, data.mean, data.std, data.class_names, figures)


def _mirrors(data: DataSet) -> bool:
    images = Images(data.x_train, data.y_train, data.mean, data.std)
    return _augment.mirrors_are_safe(images, len(data.class_names))


def _size(space: Any) -> str:
    fields = getattr(space, "__dataclass_fields__", {})
    return (
        f"{space.channels} channels and {space.cells} cell{'s' * (space.cells > 1)} a stage"
        if "cells" in fields
        else space.name
    )


def _typed(settings: dict[str, str]) -> dict[str, Any]:
    known = Settings._field_defaults
    typed: dict[str, Any] = {}
    for key, text in settings.items():
        if key not in known:
            raise plugins.unknown("setting of the training", key, sorted(known))
        default = known[key]
        kind = int if default is None else type(default)
        try:
            typed[key] = {"true": True, "false": False}[text] if kind is bool else kind(text)
        except (ValueError, KeyError):
            raise UserError(f"--with {key} is '{text}'; it takes {plugins.kind(kind)}.") from None
        if kind in (int, float) and typed[key] <= 0 and key != "seed":
            raise UserError(f"--with {key} is {text}; it takes a number above zero.")
    if not 0 <= typed.get("seed", 0) < training.SEEDS:
        raise UserError(f"--with seed is {typed['seed']}; it takes 0 to {training.SEEDS - 1}.")
    return typed
