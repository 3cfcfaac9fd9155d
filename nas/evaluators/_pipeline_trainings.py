"""The trainings of pipelines: which images at which size, by which recipe, for how much compute; kept in memory and in a file.

A level of compute is a multiple of a unit of multiply-accumulates: the network's of one image, times the images that pass through
it. So a larger network sees fewer images, and pipelines are compared at equal compute. Each level has its own whole schedule.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from nas import datasets, training
from nas.datasets import DataSet
from nas.training import Images, Job, Recipe, metrics
from nas.training.train import SEEDS
from nas.types import TrainingProgress, Watch
from search_spaces import Task, UserError
from search_spaces.nasbench201 import NasBench201
from search_spaces.pipeline import Pipeline

FILE = "pipelines.jsonl"
"""In a run's folder, a line for each training."""
MOST_EPOCHS = 300
"""However much compute there is: what the longest published recipes for small images train (JAHS-Bench-201 and NAS-Bench-201
train 200). Few images pass the network no more often than that."""
_RANDAUGMENT = 9
"""Magnitude (Cubuk et al. 2020, section 4.1: best for a small network on CIFAR-10 among 1 to 14 or so)."""
_REASON = 200
"""Characters of an error's message that are kept."""
_GIVE_UP = 8
"""Trainings that raise an error, with none that succeeds, after which the search ends, as in the other evaluator."""
_MANY = 1000
"""Validation images from which on one split tells enough: the standard error of 90% is below one point."""

_VALIDATED = 256
"""Validation images of level 1; a higher level has as many times more. To validate a wide network on all of them would cost more
than its training at level 1 does; of 256 the standard error is 3 points, and pipelines differ by ten and more there."""


class Key(NamedTuple):
    """Which training."""

    arch: str
    """As the space describes it."""
    level: int
    repeat: int = 0
    """Number of the training seed, and of the split where the data bear several; 0: the search's own."""


class Trained(NamedTuple):
    """The outcome of a training."""

    score: float
    """By the metric of the search, on the validation images, in percent; NaN where training failed."""
    seconds: float
    error: str = ""
    """Why there is no score, where training raised an error."""
    loss: tuple[float, ...] = ()
    """Mean training loss of each epoch."""


@dataclass
class PipelineTrainings:
    """All trainings of one task."""

    space: Pipeline
    task: Task
    data: DataSet
    unit: float
    """Multiply-accumulates of level 1."""
    seed: int
    device: torch.device
    levels: tuple[int, ...]
    metric: str = "accuracy"
    """Of the score."""
    results: dict[Key, Trained] = field(default_factory=dict)
    file: Path | None = None
    watch: Watch | None = None
    _scaled: dict[tuple[int, int], tuple[Tensor, Tensor]] = field(default_factory=dict, repr=False)

    def cache_to(self, file: Path) -> None:
        """Append every training to `file` from now on, and know those in it. A line cut short by a kill is trained again."""
        self.file = file
        for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else []:
            try:
                row = json.loads(line)
                key = Key(row["arch"], row["level"], row["repeat"])
                found = Trained(
                    math.nan if row["score"] is None else row["score"], row["seconds"], row["error"], (*row["loss"],)
                )
            except (ValueError, KeyError, TypeError):
                continue
            self.results[key] = found

    def train(self, keys: Sequence[Key]) -> None:
        """Train what is missing, as many side by side as there are cores. Ctrl-C loses what is under way."""
        missing = [key for key in dict.fromkeys(keys) if key not in self.results]
        jobs = [
            self._with_valid(self.job(key.arch, key.level * self.unit, key.repeat, key.level), key) for key in missing
        ]
        for done, (n, outcome) in enumerate(training.train_each(jobs, self.device), 1):
            self.results[missing[n]] = found = _validated(outcome, jobs[n], self.metric)
            self._write(missing[n], found)
            self._tell(missing, n, done)
        failures = [found.error for found in self.results.values() if found.error]
        if len(failures) == len(self.results) >= _GIVE_UP:
            raise UserError(
                f"All {len(failures)} trainings so far have failed; the last with {failures[-1]}. Nothing can be searched until "
                "that is mended; then start a new run."
            )

    def _tell(self, keys: Sequence[Key], last: int, done: int) -> None:
        """Tell that the training at place `last` of those asked for has ended, as the `done`th of them."""
        if self.watch is None:
            return
        found = {key: self.results[key] for key in keys if key in self.results}
        best = max((one.score for one in found.values() if not math.isnan(one.score)), default=math.nan)
        under_way = tuple(key.arch for key in keys if key not in found)
        losses = found[keys[last]].loss
        loss, epochs = losses[-1] if losses else math.nan, len(losses)
        self.watch(TrainingProgress(under_way or (keys[last].arch,), done, len(keys), epochs, epochs, loss, best))

    def _write(self, key: Key, found: Trained) -> None:
        if self.file is None:
            return
        row = key._asdict() | found._asdict()
        row["score"] = None if math.isnan(found.score) else found.score
        row["loss"] = [round(loss, 5) for loss in found.loss if not math.isnan(loss)]
        with self.file.open("a", encoding="utf-8") as file:
            # The line break comes first, so that a line cut short by a kill does not spoil the next.
            file.write(f"\n{json.dumps(row, allow_nan=False)}")

    def job(self, name: str, compute: float, repeat: int = 0, level: int = 0, *, final: bool = False) -> Job:
        """The training of the pipeline called `name` with so many multiply-accumulates.

        Args:
            final: on training and validation images together.
        """
        arch = self.space.parse(name)
        settings, task = self.space.settings_of(arch), self.space.sized(arch, self.task)
        x, y = self._images(task)
        index = None if final else self.split(level, repeat)[0]
        count = len(y) if index is None else len(index)
        recipe = self.recipe(arch, compute, count)._replace(seed=self.seed_of(repeat))
        seen = self._seen(arch, compute)
        if seen < count:  # Less than one epoch: fewer images, but at least a batch.
            picked = datasets.pick(count, max(round(seen), min(count, settings.batch)))
            index = picked if index is None else index[picked]
        index = torch.arange(count) if index is None else index
        space, cell = NasBench201(*self.space.skeleton_of(arch)), self.space.cell_of(arch)
        return Job(space, cell, task, self.images(x[index], y[index]), recipe, mirror=settings.twice)

    def recipe(self, arch: Tensor, compute: float, count: int) -> Recipe:
        """How `arch` `[D]` is trained on so many images with so many multiply-accumulates."""
        settings, task = self.space.settings_of(arch), self.space.sized(arch, self.task)
        side = min(task.input_shape[1:])
        return Recipe(
            max(1, min(MOST_EPOCHS, round(self._seen(arch, compute) / count))),
            settings.batch, settings.lr, weight_decay=settings.decay, crop=round(settings.crop * side), flip=settings.mirror,
            cutout=round(settings.cutout * side), warmup=settings.warmup, label_smoothing=settings.smoothing,
            mixup=settings.mixup, average=settings.average, randaugment=_RANDAUGMENT if settings.augment else 0,
        )  # fmt: skip

    def _seen(self, arch: Tensor, compute: float) -> float:
        """How many images pass through the network."""
        return compute / max(1, int(self.space.cost(arch, self.task)[1]))

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

    def _with_valid(self, job: Job, key: Key) -> Job:
        """The job with the images that validate it."""
        x, y = self._images(job.task)
        index = self.split(key.level, key.repeat)[1]
        index = index[datasets.pick(len(index), _VALIDATED * key.level)]
        return job._replace(scored=self.images(x[index], y[index]))

    def _images(self, task: Task) -> tuple[Tensor, Tensor]:
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


def _validated(outcome: training.Trained, job: Job, metric: str) -> Trained:
    """The score of a training, or the reason why there is none. Raises what is of the user or of the disk."""
    error = outcome.error
    if error is not None:
        if isinstance(error, UserError | OSError):
            raise error
        reason = (str(error).strip() or type(error).__name__).partition("\n")[0][:_REASON]
        return Trained(math.nan, outcome.seconds, f"{type(error).__name__}: {reason}")
    assert outcome.logits is not None
    assert job.scored is not None
    score = math.nan
    if not math.isnan(outcome.losses[-1]):
        seen = outcome.logits.argmax(-1)
        score = metrics.score(metric, seen[None], job.scored.y.cpu(), outcome.logits.shape[-1]).item()
    return Trained(score, outcome.seconds, "", tuple(outcome.losses))
