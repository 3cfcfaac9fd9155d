"""The trainings that follow a search: larger networks, by the final recipe, each tested once.

Shapes: `N` images, `D` decisions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from nas import training
from nas.datasets import DataSet
from nas.evaluators._jobs_progress import JobsProgress
from nas.training import Images, Job, Recipe, Trained, metrics
from nas.training.train import SEEDS
from nas.types import FinalTraining, TrainedNetwork, TrainingProgress, Watch
from search_spaces import Space, Task, _ops

_SEED_STEP = 409
"""From a training seed to the next other one. A prime, so that all seeds are passed through before one returns; and far from 1,
so that the other seeds of a run are not the own seeds of runs with `seed=1` and `seed=2`."""

AT_ONCE = 4
"""Final trainings of a search that ends with a comparison."""
JUDGED_STEPS = 150
"""Of a training whose network is only to be judged, at least, unless the final training has fewer itself: after the 12 steps
that 100 images have in 12 epochs, cells are near chance."""


def with_seed(recipe: Recipe, number: int) -> Recipe:
    """The recipe with the other training seed of that number; 0: its own."""
    return recipe._replace(seed=(recipe.seed + number * _SEED_STEP) % SEEDS)


def for_least_steps(recipe: Recipe) -> Recipe:
    """The recipe by which a least number of steps is counted: batches larger than the default are to make fewer steps."""
    return recipe._replace(batch=min(recipe.batch, Recipe(1).batch))


class _Key(NamedTuple):
    index: int
    recipe: Recipe
    held_out: bool


@dataclass(frozen=True)
class FinalTrainings:
    """The final trainings on one dataset; one that was done is not done again."""

    space: Space
    task: Task
    data: DataSet
    recipe: Recipe
    device: torch.device
    targets: Callable[[Images, bool, Watch | None], Tensor] | None = field(default=None, compare=False)
    """From the images learned from, and whether the validation images are held out, to shares of classes `[N, K]`; None: the
    labels."""
    kept_in: Path | None = field(default=None, compare=False)
    """As of `Job`."""
    _done: dict[_Key, TrainedNetwork] = field(default_factory=dict)

    def networks(self, trainings: list[FinalTraining], watch: Watch | None = None) -> list[TrainedNetwork]:
        """The trained networks, in order."""
        made = dict(self.each(trainings, watch))
        return [made[n] for n in range(len(trainings))]

    def each(self, trainings: list[FinalTraining], watch: Watch | None = None) -> Iterator[tuple[int, TrainedNetwork]]:
        """The trained networks with their places, as each ends. Of those that compute the same, the caller asks for one."""
        keys = [self._key(training) for training in trainings]
        missing = {key: asked.arch for key, asked in zip(keys, trainings) if key not in self._done}
        yield from ((n, self._done[key]) for n, key in enumerate(keys) if key not in missing)
        if len(missing) == 1 and not any(one.beside for one in trainings):
            ((key, arch),) = missing.items()
            ended = iter([(key, self._train_alone(arch, key, watch))])
        else:
            ended = self._train_side_by_side(missing, watch) if missing else iter(())
        for key, network in ended:
            self._done[key] = network
            yield from ((n, network) for n, other in enumerate(keys) if other == key)

    def _key(self, asked: FinalTraining) -> _Key:
        epochs = max(1, round(asked.share * self.recipe.epochs))
        train, both = len(self.data.y_train), len(self.data.y_train) + len(self.data.y_valid)
        by_steps = for_least_steps(self.recipe)
        if asked.held_out and by_steps.epochs * by_steps.steps(both) >= JUDGED_STEPS:
            epochs = max(epochs, by_steps.epochs_for(JUDGED_STEPS, train))
        recipe = with_seed(self.recipe, asked.seed)._replace(epochs=epochs)
        return _Key(_ops.whole_indices(asked.arch, self.space.choices)[0], recipe, asked.held_out)

    def _train_alone(self, arch: Tensor, key: _Key, watch: Watch | None) -> TrainedNetwork:
        """With all cores to itself."""
        learned, judged = self._images_of(key.held_out, watch)
        job = Job(self.space, arch, self.task, learned, key.recipe, judged, kept_in=self.kept_in)
        name = self.space.describe(arch)

        def tell(losses: list[float]) -> None:
            if watch is not None:
                epoch, epochs = len(losses), key.recipe.epochs
                watch(TrainingProgress((name,), epoch / epochs, 1, epoch, epochs, losses[-1], math.nan))

        return self._trained(arch, training.train_alone(job, self.device, tell), judged.y)

    def _train_side_by_side(
        self, missing: dict[_Key, Tensor], watch: Watch | None
    ) -> Iterator[tuple[_Key, TrainedNetwork]]:
        """A core each, where that is faster; the first error ends all."""
        images = {held_out: self._images_of(held_out, watch) for held_out in {key.held_out for key in missing}}
        jobs = [
            Job(self.space, arch, self.task, learned, key.recipe, judged, kept_in=self.kept_in)
            for key, arch in missing.items()
            for learned, judged in [images[key.held_out]]
        ]
        names = [self.space.describe(job.arch) for job in jobs]
        tell = None if watch is None else JobsProgress(names, jobs, self.device, watch)
        for place, outcome in training.train_each(jobs, self.device, tell):
            if outcome.error is not None:
                raise outcome.error
            key, arch = list(missing.items())[place]
            yield key, self._trained(arch, outcome, images[key.held_out][1].y)

    def _trained(self, arch: Tensor, outcome: Trained, truth: Tensor) -> TrainedNetwork:
        assert outcome.logits is not None
        measured = metrics.test_metrics(outcome.logits, truth.cpu()) | {"loss": outcome.losses}
        data = self.data
        described, weights = self.space.describe(arch), outcome.weights
        trained = TrainedNetwork(described, weights, data.mean, data.std, data.class_names, measured)
        return trained._replace(deep=data.deep, seconds=outcome.seconds)

    def _images_of(self, held_out: bool, watch: Watch | None) -> tuple[Images, Images]:
        """What is trained on, and what the network is judged by."""
        data = self.data
        if held_out:
            learned, judged = (data.x_train, data.y_train), (data.x_valid, data.y_valid)
        else:
            # The choice is made: the validation images may now be trained on. The test images are used once, below.
            learned = torch.cat([data.x_train, data.x_valid]), torch.cat([data.y_train, data.y_valid])
            judged = data.x_test, data.y_test
        images = self._images(*learned)
        if self.targets is not None:
            images = images._replace(y=self.targets(images, held_out, watch))
        return images, self._images(*judged)

    def _images(self, x: Tensor, y: Tensor) -> Images:
        return Images(*(t.to(self.device) for t in (x, y, self.data.mean, self.data.std)))
