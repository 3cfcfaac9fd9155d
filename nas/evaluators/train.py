"""Scores from real training: all distinct cells of a proposal at once, on the task's own data.

The search trains a small proxy network a few epochs and scores by validation accuracy; the winner is trained to the end as a
larger network on training and validation images, and tested once. Best epochs are picked nowhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from controller import Proposal, Results
from nas import datasets, plugins, training
from nas.datasets import DataSet, meta_features
from nas.evaluators import _settings
from nas.evaluators._training_cache import FILE, TrainingCache, TrainingKey
from nas.text import counted
from nas.training import Images, Recipe, augment, metrics, step_time
from nas.training.train import SEEDS
from nas.types import Defaults, Evaluate, TrainedNetwork, TrainingEvaluator, TrainingProgress, Watch
from search_spaces import Space, Task, UserError, _ops, as_cell_space

__all__ = ["Train"]

_SEED_STEP = 409
"""From a training seed to the next other one. A prime, so that all seeds are passed through before one returns; and far from 1,
so that the other seeds of a run are not the own seeds of runs with `seed=1` and `seed=2`."""


@dataclass(frozen=True)
class Train:
    """Trains the proposed architectures. Scores depend neither on the search's seed nor on what is trained together."""

    space: Space
    task: Task
    final_space: Space
    data: DataSet = field(repr=False, compare=False)
    recipe: Recipe
    final_recipe: Recipe
    examples: int
    device: torch.device
    _trained: dict[tuple[str, int], TrainedNetwork] = field(default_factory=dict, repr=False, compare=False)
    _repeats: dict[int, TrainingCache] = field(default_factory=dict, repr=False, compare=False)

    defaults = Defaults(budget=32, batch=16)

    @property
    def training(self) -> TrainingEvaluator:
        return self

    @cached_property
    def cache(self) -> TrainingCache:
        """What was trained so far for the search."""
        return TrainingCache(self.space, self.task, self.data, self.recipe, self.examples, self.device)

    @property
    def data_notes(self) -> tuple[str, ...]:
        return datasets.describe(self.data)

    @classmethod
    def of(cls, name: str, **settings: str) -> Train:
        """The evaluator of a dataset. Raises `UserError` for a setting that does not exist."""
        asked = _settings.read(settings)
        data = datasets.load(name, asked.image_size)
        datasets.check(data)
        channels, side, _ = data.x_train.shape[1:]
        count = len(data.y_train)
        examples = min(count, asked.examples)
        # Epochs fix how many images pass through a network, within limits: few images are seen more often. None of the
        # numbers below is ablated.
        stem_stride = 2 if side > 16 else 1
        device = _settings.usable_device(asked.device or ("cuda" if torch.cuda.is_available() else "cpu"))
        epochs = asked.epochs or max(3, min(12, round(24_000 / examples)))
        shape, features = tuple(data.x_train.shape[1:]), meta_features.features(data.x_train, data.y_train)
        task = Task(name, shape, len(data.class_names), features, tuple(range(1, epochs + 1)))  # pyright: ignore
        final_epochs = asked.final_epochs or max(12, min(40, round(40_000 / count)))
        crop = max(1, side // 8) if asked.augment else 0
        # Mirrors only for color images that bear them: letters and digits change their class.
        flip = asked.augment and channels == 3 and _mirrors(data)
        recipe = Recipe(epochs, asked.batch, asked.lr, seed=asked.seed)
        final_recipe = Recipe(final_epochs, asked.batch, asked.lr, crop=crop, flip=flip, seed=asked.seed)
        space = plugins.load("space", asked.space)()
        cells = as_cell_space(space)
        # A space without proxies trains the same networks in the search and at the end.
        if cells is None:
            return cls(space, task, space, data, recipe, final_recipe, examples, device)
        proxy = cells.proxy(asked.channels, asked.cells, stem_stride)
        final = cells.proxy(asked.final_channels, asked.final_cells, stem_stride)
        return cls(proxy, task, final, data, recipe, final_recipe, examples, device)

    @property
    def description(self) -> str:
        C, H, W = self.task.input_shape
        searched, final = (counted(recipe.epochs, "epoch") for recipe in (self.recipe, self.final_recipe))
        return (
            f"score: validation accuracy after {searched} of {self.examples} images, {W}x{H}x{C}, by "
            f"{_size(self.space)}; report: test accuracy of {_size(self.final_space)} after {final}"
        )

    @cached_property
    def data_digest(self) -> str:
        """Of the images as they were read, their splits and their classes; of no file's name."""
        return datasets.digest(self.data)

    @property
    def engine(self) -> str:
        return training.engine(self.space, self.task, self.device)

    @property
    def has_proxies(self) -> bool:
        """Whether the search trains smaller networks than the final one."""
        return as_cell_space(self.space) is not None

    def cost_of_own_networks(self) -> tuple[float, tuple[int, int]]:
        """About how many seconds an evaluation takes here, and the least and most parameters, by training a few for a step."""
        images = self.cache.images(self.data.x_train, self.data.y_train)
        found = step_time.measure(self.space, self.task, images, self.recipe, self.device)
        return found.seconds * self.examples * self.recipe.epochs, found.parameters

    def load(self, seeds: Tensor) -> Evaluate:
        def evaluate(proposal: Proposal) -> Results:
            archs = self.equivalents(proposal.archs)
            horizon = torch.full(archs.shape[:2], self.recipe.epochs)
            epochs = horizon if proposal.epochs is None else proposal.epochs
            if bool((epochs > horizon).any()):
                raise UserError(
                    f"The controller asks for {int(epochs.max())} epochs; the task trains {self.recipe.epochs}. "
                    f"Say --training-option epochs={int(epochs.max())}."
                )
            indices = _ops.whole_indices(archs, self.space.choices)
            keys = [TrainingKey(*key) for key in zip(indices, epochs.flatten().tolist())]
            self.cache.train(keys)
            score, cost = torch.tensor([self.cache.results[key][:2] for key in keys]).unbind(-1)
            return Results(score.view(epochs.shape), cost.view(epochs.shape))

        return evaluate

    def report(self, archs: Tensor) -> Tensor:
        tested = [self.final_network(arch).metrics["test_accuracy"] for arch in archs.flatten(0, -2)]
        return torch.tensor(tested).view(archs.shape[:-1])

    @property
    def validation_images(self) -> int:
        return len(self.data.y_valid)

    def watch(self, tell: Watch | None) -> None:
        for cache in (self.cache, *self._repeats.values()):
            cache.watch = tell

    def final_seconds(self) -> float:
        both = torch.cat([self.data.x_train, self.data.x_valid]), torch.cat([self.data.y_train, self.data.y_valid])
        recipe = self.final_recipe
        seconds = step_time.measure_alone(self.final_space, self.task, self.cache.images(*both), recipe, self.device)
        return seconds * len(both[1]) * recipe.epochs

    def cache_to(self, folder: Path) -> None:
        self.cache.cache_to(folder / FILE)

    def retrain(self, archs: Tensor, repeat: int) -> Tensor:
        cache, indices = self._repeat(repeat), _ops.whole_indices(self.equivalents(archs), self.space.choices)
        keys = [TrainingKey(index, self.recipe.epochs) for index in indices]
        cache.train(keys)
        return torch.tensor([cache.results[key].score for key in keys])

    def _repeat(self, number: int) -> TrainingCache:
        """The trainings with the other seed of that number, in a file of their own beside those of the search."""
        if number == 0:
            return self.cache
        if number not in self._repeats:
            recipe = _with_seed(self.recipe, number)
            self._repeats[number] = TrainingCache(self.space, self.task, self.data, recipe, self.examples, self.device)
        cache, beside = self._repeats[number], self.cache.file
        cache.watch = self.cache.watch
        if beside is not None and (file := beside.with_stem(f"{beside.stem}-{number}")) != cache.file:
            cache.cache_to(file)
        return cache

    def failures(self) -> list[str]:
        return self.cache.failures()

    def training_loss(self, arch: Tensor) -> list[float]:
        return self.cache.losses.get(_ops.whole_indices(self.equivalents(arch), self.space.choices)[0], [])

    def final_network(self, arch: Tensor, *, seed: int = 0) -> TrainedNetwork:
        equivalent = self.equivalents(arch)
        key = (self.final_space.describe(equivalent), seed)
        if key not in self._trained:
            self._trained[key] = self._train_fully(equivalent, _with_seed(self.final_recipe, seed))
        return self._trained[key]

    def reference(self, arch: Tensor) -> Tensor | None:
        cells = as_cell_space(self.space)
        return None if cells is None else cells.reference_arch

    def equivalents(self, archs: Tensor) -> Tensor:
        cells = as_cell_space(self.space)
        return cells.equivalents(archs, deep=True) if cells else self.space.canonical(archs)

    def _train_fully(self, arch: Tensor, recipe: Recipe) -> TrainedNetwork:
        data = self.data
        # The choice is made: the validation images may now be trained on. The test images are used once, below.
        both = torch.cat([data.x_train, data.x_valid]), torch.cat([data.y_train, data.y_valid])
        network = training.networks(self.final_space, arch[None], self.task, recipe.seed, self.device, alone=True)
        losses = []
        for loss in training.train(network, self.cache.images(*both), recipe):
            losses.append(loss.item())
            self._tell(arch, losses)
        answers = training.logits(network, self.cache.images(data.x_test, data.y_test))[0].cpu()
        # A copy: views would keep the batch of networks and its momentum in memory.
        weights = {
            name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
            for name, value in network.state_of(0).items()
        }
        measured = metrics.test_metrics(answers, data.y_test) | {"loss": losses}
        return TrainedNetwork(self.final_space.describe(arch), weights, data.mean, data.std, data.class_names, measured)

    def _tell(self, arch: Tensor, losses: list[float]) -> None:
        """Tell of the final training of `arch` `[D]`, by the losses of its epochs so far."""
        if self.cache.watch is None:
            return
        epoch, epochs = len(losses), self.final_recipe.epochs
        name = self.final_space.describe(arch)
        self.cache.watch(TrainingProgress((name,), epoch / epochs, 1, epoch, epochs, losses[-1], math.nan))


def _with_seed(recipe: Recipe, number: int) -> Recipe:
    """The recipe with the other training seed of that number; 0: its own."""
    return recipe._replace(seed=(recipe.seed + number * _SEED_STEP) % SEEDS)


def _mirrors(data: DataSet) -> bool:
    images = Images(data.x_train, data.y_train, data.mean, data.std)
    return augment.flip_is_label_preserving(images, len(data.class_names))


def _size(space: Space) -> str:
    cells = as_cell_space(space)
    if cells is None:
        return f"networks of {space.name} as they are"
    if cells.skeleton is None:
        return f"networks of {space.name}"
    channels, depth, _ = cells.skeleton
    return f"{channels} channels and {depth} cell{'s' * (depth > 1)} a stage"
