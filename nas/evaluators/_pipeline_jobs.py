"""From a pipeline and an amount of compute to its training: which images at which size, by which recipe."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from nas import datasets
from nas.datasets import DataSet
from nas.training import Images, Job, Recipe
from nas.training.train import SEEDS
from search_spaces import Task
from search_spaces.nasbench201 import NasBench201
from search_spaces.pipeline import Pipeline

MOST_EPOCHS, MOST_STEPS = 300, 2000
"""However much compute there is: what the longest published recipes for small images train (JAHS-Bench-201 and NAS-Bench-201
train 200). Few images pass the network no more often than that, unless they make too few steps."""
_MEMORY, _YARDSTICK_WIDTH = 26, 16
"""In bfloat16 a network with so many channels takes as long to move its values as to multiply them: seconds a
multiply-accumulate are 0.106, 0.064, 0.055, 0.043 x 10^-9 with 8, 16, 24, 32 channels (`runs/recipe_speed.sh`), near
0.025 (1 + 26 / channels). Levels are of equal time for networks of all widths so; compute is that of 16 channels. In float32
the four differ little."""
_NEAR = 0.1
"""Of the compute of a level, by which whole epochs may miss it: all images are worth more than the last tenth. Not ablated."""
_RANDAUGMENT = 9
"""Magnitude (Cubuk et al. 2020, section 4.1: best for a small network on CIFAR-10 among 1 to 14 or so)."""
_MANY = 1000
"""Validation images from which on one split tells enough: the standard error of 90% is below one point."""

_VALIDATED = 256
"""Validation images of level 1; a higher level has as many times more. To validate a wide network on all of them would cost more
than its training at level 1 does; of 256 the standard error is 3 points, and pipelines differ by ten and more there."""


@dataclass
class PipelineJobs:
    """The trainings that pipelines ask for on one dataset."""

    space: Pipeline
    task: Task
    data: DataSet
    seed: int
    device: torch.device
    levels: tuple[int, ...]
    """Of compute: each may have a split of its own."""
    precision: str = field(default="float32", kw_only=True)
    """Of training, as a recipe has it."""
    balanced: bool = field(default=False, kw_only=True)
    """Whether every training weighs its classes."""
    _scaled: dict[tuple[int, int], tuple[Tensor, Tensor]] = field(default_factory=dict, repr=False, kw_only=True)

    def job(
        self,
        name: str,
        compute: float,
        repeat: int = 0,
        level: int = 0,
        *,
        final: bool = False,
        targets: Tensor | None = None,
    ) -> Job:
        """The training of the pipeline called `name` with so many multiply-accumulates.

        Args:
            final: on training and validation images together.
            targets: to learn in place of the labels of all images of training and then validation, shares of classes `[N, K]`.
        """
        arch = self.space.parse(name)
        settings, task = self.space.settings_of(arch), self.space.sized(arch, self.task)
        x, y = self.scaled(task)
        y = y if targets is None else targets
        index = None if final else self.split(level, repeat)[0]
        count = len(y) if index is None else len(index)
        recipe = self.recipe(arch)._replace(seed=self.seed_of(repeat))
        epochs, images = _length(recipe, count, self.seen(arch, compute), final=final)
        index = torch.arange(count) if index is None else index
        if images < count:
            index = index[datasets.pick(count, images)]
        space, cell = NasBench201(*self.space.skeleton_of(arch)), self.space.cell_of(arch)
        recipe = recipe._replace(epochs=epochs)
        images = self.images(*(_at(each, index) for each in (x, y)))
        return Job(space, cell, task, images, recipe, mirror=settings.twice)

    def recipe(self, arch: Tensor) -> Recipe:
        """How `arch` `[D]` is trained, for one epoch."""
        settings, task = self.space.settings_of(arch), self.space.sized(arch, self.task)
        side = min(task.input_shape[1:])
        return Recipe(
            1, settings.batch, settings.lr, weight_decay=settings.decay, crop=round(settings.crop * side), flip=settings.mirror,
            cutout=round(settings.cutout * side), warmup=settings.warmup, label_smoothing=settings.smoothing,
            mixup=settings.mixup, average=settings.average, randaugment=_RANDAUGMENT if settings.augment else 0,
            precision=self.precision, balanced=self.balanced,
        )  # fmt: skip

    def seen(self, arch: Tensor, compute: float) -> float:
        """How many images pass through the network: fewer than their number says through one that is slow for its size."""
        seen = compute / max(1, int(self.space.cost(arch, self.task)[1]))
        if self.precision != "bf16":
            return seen
        return seen * (1 + _MEMORY / _YARDSTICK_WIDTH) / (1 + _MEMORY / self.space.settings_of(arch).width)

    def seed_of(self, repeat: int) -> int:
        """The training seed of that number: a prime step, as the other evaluator's."""
        return (self.seed + 409 * repeat) % SEEDS

    def split(self, level: int, repeat: int = 0) -> tuple[Tensor, Tensor]:
        """Which of the images of training and then validation train, and which validate, int64 `[N]` each.

        Where validation images are few and held out by us, each level and each repeat has a split of its own: what one split
        happens to favor is not carried from level to level.
        """
        train, valid = len(self.data.y_train), len(self.data.y_valid)
        number = self.levels.index(level) if level in self.levels else 0
        number += repeat * len(self.levels)
        if number == 0 or not self.data.valid_held_out or valid >= _MANY:
            return torch.arange(train), torch.arange(train, train + valid)
        y = torch.cat([self.data.y_train, self.data.y_valid])
        return datasets.held_out(y, len(self.data.class_names), valid / (train + valid), number)

    def with_valid(self, job: Job, level: int, repeat: int) -> Job:
        """The job with the images that validate it."""
        x, y = self.scaled(job.task)
        index = self.validating(level, repeat)
        return job._replace(scored=self.images(x[index], y[index]))

    def validating(self, level: int, repeat: int = 0) -> Tensor:
        """Which of the images of training and then validation a score is measured on, int64 `[N]`."""
        index = self.split(level, repeat)[1]
        return index[datasets.pick(len(index), _VALIDATED * level)]

    def scaled(self, task: Task) -> tuple[Tensor, Tensor]:
        """The images of training and validation at the size of `task`, and their classes."""
        size = task.input_shape[1:]
        if size not in self._scaled:
            x = torch.cat([self.data.x_train, self.data.x_valid])
            y = torch.cat([self.data.y_train, self.data.y_valid])
            self._scaled[size] = (datasets.resize(x, size[0]), y)
        return self._scaled[size]

    def forget_images(self) -> None:
        """Free the memory of images that were scaled; they are scaled anew when they are asked for."""
        self._scaled.clear()

    def images(self, x: Tensor, y: Tensor) -> Images:
        """Images and their classes, on the device that trains."""
        return Images(*(t.to(self.device) for t in (x, y, self.data.mean, self.data.std)))


def _at(of: Tensor, index: Tensor) -> Tensor:
    """What is at the places `index`; without a copy where these are the first ones, so that trainings beside others share it."""
    first = len(index)
    return of[:first] if torch.equal(index, torch.arange(first)) else of[index]


def _length(recipe: Recipe, count: int, seen: float, *, final: bool) -> tuple[int, int]:
    """Epochs, and of how many of `count` images, in which about `seen` images pass through the network.

    Only whole batches do, so it is steps that are shared out among epochs. A final training has all images, and as many epochs
    as come nearest. A shorter one has fewer images an epoch where whole epochs are far from the compute of its level.
    """
    whole, steps = recipe.steps(count), max(1, round(seen / min(recipe.batch, count)))
    most = max(MOST_EPOCHS, recipe.epochs_for(MOST_STEPS, count))
    epochs = min(most, round(steps / whole))
    near = abs(epochs * whole - steps) <= _NEAR * steps
    if near or epochs == most or (final and steps > whole):
        return epochs, count
    # The fewest epochs that come near; one batch an epoch does in any case.
    some = range(math.ceil(steps / whole), steps + 1)
    epochs = next(n for n in some if abs(n * round(steps / n) - steps) <= _NEAR * steps)
    # What fills no batch takes its turn too: the order is another in each epoch.
    return epochs, min(count, (round(steps / epochs) + 1) * recipe.batch - 1)
