"""The trainings that follow a search: larger networks, by the final recipe, each tested once.

Shapes: `N` images, `D` decisions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from nas import training
from nas.datasets import DataSet
from nas.training import Images, Recipe, metrics
from nas.training.train import SEEDS
from nas.types import FinalTraining, TrainedNetwork, TrainingProgress, Watch
from search_spaces import Space, Task, _ops

_SEED_STEP = 409
"""From a training seed to the next other one. A prime, so that all seeds are passed through before one returns; and far from 1,
so that the other seeds of a run are not the own seeds of runs with `seed=1` and `seed=2`."""


def with_seed(recipe: Recipe, number: int) -> Recipe:
    """The recipe with the other training seed of that number; 0: its own."""
    return recipe._replace(seed=(recipe.seed + number * _SEED_STEP) % SEEDS)


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
    _done: dict[_Key, TrainedNetwork] = field(default_factory=dict)

    def networks(self, trainings: list[FinalTraining], watch: Watch | None = None) -> list[TrainedNetwork]:
        """The trained networks, in order. Of architectures that compute the same, the caller asks for one."""
        return [self._network(training, watch) for training in trainings]

    def _network(self, asked: FinalTraining, watch: Watch | None) -> TrainedNetwork:
        epochs = max(1, round(asked.share * self.recipe.epochs))
        recipe = with_seed(self.recipe, asked.seed)._replace(epochs=epochs)
        key = _Key(_ops.whole_indices(asked.arch, self.space.choices)[0], recipe, asked.held_out)
        if key not in self._done:
            self._done[key] = self._train(asked.arch, recipe, asked.held_out, watch)
        return self._done[key]

    def _train(self, arch: Tensor, recipe: Recipe, held_out: bool, watch: Watch | None) -> TrainedNetwork:
        data, name = self.data, self.space.describe(arch)
        if held_out:
            learned, judged = (data.x_train, data.y_train), (data.x_valid, data.y_valid)
        else:
            # The choice is made: the validation images may now be trained on. The test images are used once, below.
            learned = torch.cat([data.x_train, data.x_valid]), torch.cat([data.y_train, data.y_valid])
            judged = data.x_test, data.y_test
        network = training.networks(self.space, arch[None], self.task, recipe.seed, self.device, alone=True)
        losses: list[float] = []
        for loss in training.train(network, self._images(*learned), recipe):
            losses.append(loss.item())
            if watch is not None:
                epoch, epochs = len(losses), recipe.epochs
                watch(TrainingProgress((name,), epoch / epochs, 1, epoch, epochs, losses[-1], math.nan))
        answers = training.logits(network, self._images(*judged))[0].cpu()
        # A copy: views would keep the batch of networks and its momentum in memory.
        weights = {
            name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
            for name, value in network.state_of(0).items()
        }
        measured = metrics.test_metrics(answers, judged[1]) | {"loss": losses}
        return TrainedNetwork(name, weights, data.mean, data.std, data.class_names, measured, deep=data.deep)

    def _images(self, x: Tensor, y: Tensor) -> Images:
        return Images(*(t.to(self.device) for t in (x, y, self.data.mean, self.data.std)))
