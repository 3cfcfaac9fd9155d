"""Scores from real training: all distinct cells of a proposal at once, on the task's own data.

The search trains a small proxy network a few epochs and scores by validation accuracy; the winner is trained to the end as a
larger network on training and validation images, and tested once. Best epochs are picked nowhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from controller import Proposal, Results
from nas import datasets, plugins, training
from nas.datasets import DataSet, meta_features
from nas.evaluators import _settings, _trial
from nas.evaluators._distillation import DistilledTrainings, Teaching
from nas.evaluators._final_training import AT_ONCE, JUDGED_STEPS, FinalTrainings, for_least_steps, with_seed
from nas.evaluators._training_cache import FILE, TrainingCache, TrainingKey
from nas.text import counted
from nas.training import Images, Job, Recipe, augment, metrics, step_time
from nas.training.metrics import METRIC_NAMES
from nas.training.under_way import FOLDER
from nas.types import Defaults, Evaluate, FinalTraining, TrainedNetwork, TrainingEvaluator, Watch
from search_spaces import Space, Task, UserError, _ops, as_cell_space
from search_spaces._network_costs import network_cost

__all__ = ["Train"]

_FINAL_STEPS = 400
"""Of a final training, at least: the ResNet cell on 120 digits had 89.6% after 40 steps, 93.5% after 200 and 94.2% after 400.
Sets of 640 images and more have as many in 40 epochs."""


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
    metric: str = "accuracy"
    teaching: Teaching | None = field(default=None, compare=False)
    """What the final trainings learn from besides the labels, where it helps."""
    _repeats: dict[int, TrainingCache] = field(default_factory=dict, repr=False, compare=False)

    defaults = Defaults(budget=32, batch=16)

    @property
    def training(self) -> TrainingEvaluator:
        return self

    @cached_property
    def cache(self) -> TrainingCache:
        """What was trained so far for the search."""
        return self._cache_of(self.recipe)

    def _cache_of(self, recipe: Recipe) -> TrainingCache:
        return TrainingCache(self.space, self.task, self.data, recipe, self.examples, self.device, self.metric)

    @property
    def data_notes(self) -> tuple[str, ...]:
        return datasets.describe(self.data) + (self.teaching.notes if self.teaching else ())

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
        # numbers below is ablated. Nor are steps fewer than some, whatever the number of images.
        stem_stride = 2 if side > 16 else 1
        device = _settings.usable_device(asked.device or ("cuda" if torch.cuda.is_available() else "cpu"))
        recipe = Recipe(1, asked.batch, asked.lr, seed=asked.seed, **_settings.extras(asked))
        by_steps = for_least_steps(recipe)
        epochs = asked.epochs or max(3, min(12, round(24_000 / examples)), by_steps.epochs_for(JUDGED_STEPS, examples))
        shape, features = tuple(data.x_train.shape[1:]), meta_features.features(data.x_train, data.y_train)
        task = Task(name, shape, len(data.class_names), features, tuple(range(1, epochs + 1)))  # pyright: ignore
        final_epochs = asked.final_epochs or max(
            12, min(40, round(40_000 / count)), by_steps.epochs_for(_FINAL_STEPS, count + len(data.y_valid))
        )
        crop = max(1, side // 8) if asked.augment else 0
        # Mirrors only for color images that bear them: letters and digits change their class.
        flip = asked.augment and channels == 3 and _mirrors(data)
        recipe = recipe._replace(epochs=epochs)
        final_recipe = recipe._replace(epochs=final_epochs, crop=crop, flip=flip)
        space = plugins.load("space", asked.space)()
        cells = as_cell_space(space)
        # A space without proxies trains the same networks in the search and at the end.
        final = space if cells is None else cells.proxy(asked.final_channels, asked.final_cells, stem_stride)
        teaching = None
        if asked.teacher:
            teaching = Teaching.of(asked.teacher, asked.temperature, asked.teacher_share, final, data)
        if cells is None:
            return cls(space, task, space, data, recipe, final_recipe, examples, device, asked.metric, teaching)
        proxy = cells.proxy(asked.channels, asked.cells, stem_stride)
        return cls(proxy, task, final, data, recipe, final_recipe, examples, device, asked.metric, teaching)

    @property
    def description(self) -> str:
        C, H, W = self.task.input_shape
        searched, final = (counted(recipe.epochs, "epoch") for recipe in (self.recipe, self.final_recipe))
        return (
            f"score: validation {METRIC_NAMES[self.metric]} after {searched} of {self.examples} images, {W}x{H}x{C}, by "
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
        _trial.refuse_broken(self.space, self.task)

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
        tested = [self.final_network(arch).tested for arch in archs.flatten(0, -2)]
        return torch.tensor(tested).view(archs.shape[:-1])

    def test_images(self, places: Tensor) -> Tensor:
        return self.data.x_test[places]

    @property
    def validation_images(self) -> int:
        return metrics.effective_images(self.metric, self.data.y_valid)

    def watch(self, tell: Watch | None) -> None:
        for cache in (self.cache, *self._repeats.values()):
            cache.watch = tell

    def final_seconds(self, arch: Tensor | None = None) -> float:
        return self._seconds_in(self.final_space, None if arch is None else self.equivalents(arch)[None])

    def final_cores(self) -> int:
        return training.at_once(self.final_space, self.task, self.device)

    def beside_seconds(self) -> float:
        beside = min(AT_ONCE, self.final_cores())
        if beside <= 2:  # On so few cores the same code trains a network alone.
            return self.final_seconds()
        both = torch.cat([self.data.x_train, self.data.x_valid]), torch.cat([self.data.y_train, self.data.y_valid])
        recipe, archs = self.final_recipe, step_time.random_archs(self.final_space)
        largest = archs[network_cost(self.final_space, archs, self.task)[1].argmax()]
        job = Job(self.final_space, largest, self.task, self.cache.images(*both), recipe)
        return step_time.measure_side_by_side(job, beside, self.device) * recipe.passes(len(both[1])) * recipe.epochs

    def final_flops(self, arch: Tensor) -> float:
        flops = network_cost(self.final_space, self.equivalents(arch)[None], self.task)[1].item()
        return float(flops * (len(self.data.y_train) + len(self.data.y_valid)) * self.final_recipe.epochs)

    def _seconds_in(self, space: Space, archs: Tensor | None) -> float:
        """About how long the final recipe takes in another space's networks."""
        both = torch.cat([self.data.x_train, self.data.x_valid]), torch.cat([self.data.y_train, self.data.y_valid])
        images, recipe = self.cache.images(*both), self.final_recipe
        seconds = step_time.measure_alone(space, self.task, images, recipe, self.device, archs)
        return seconds * len(both[1]) * recipe.epochs

    def teaching_seconds(self) -> float:
        return 0.0 if self.teaching is None else self.teaching.seconds(self.final_space, self._seconds_in)

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
            recipe = with_seed(self.recipe, number)
            self._repeats[number] = self._cache_of(recipe)
        cache, beside = self._repeats[number], self.cache.file
        cache.watch = self.cache.watch
        if beside is not None and (file := beside.with_stem(f"{beside.stem}-{number}")) != cache.file:
            cache.cache_to(file)
        return cache

    def failures(self) -> list[str]:
        return self.cache.failures()

    def training_loss(self, arch: Tensor) -> list[float]:
        return self.cache.losses.get(_ops.whole_indices(self.equivalents(arch), self.space.choices)[0], [])

    @cached_property
    def _final(self) -> FinalTrainings | DistilledTrainings:
        plain = self._trainings_in(self.final_space)
        return plain if self.teaching is None else self.teaching.trainings(plain, self._trainings_in, self.metric)

    def _trainings_in(self, space: Space) -> FinalTrainings:
        kept_in = None if self.cache.file is None else self.cache.file.parent / FOLDER
        return FinalTrainings(space, self.task, self.data, self.final_recipe, self.device, kept_in=kept_in)

    def final_network(self, arch: Tensor, *, seed: int = 0) -> TrainedNetwork:
        return self.final_networks([FinalTraining(arch, seed)])[0]

    def each_final_network(self, trainings: Sequence[FinalTraining]) -> Iterator[tuple[int, TrainedNetwork]]:
        asked = [one._replace(arch=self.equivalents(one.arch)) for one in trainings]
        return self._final.each(asked, self.cache.watch)

    def final_networks(self, trainings: Sequence[FinalTraining]) -> list[TrainedNetwork]:
        made = dict(self.each_final_network(trainings))
        return [made[n] for n in range(len(trainings))]

    @property
    def images(self) -> dict[str, tuple[Tensor, Tensor]]:
        data = self.data
        return {
            "train": (data.x_train, data.y_train),
            "valid": (data.x_valid, data.y_valid),
            "test": (data.x_test, data.y_test),
        }

    def reference(self, arch: Tensor) -> Tensor | None:
        cells = as_cell_space(self.space)
        return None if cells is None else cells.reference_arch

    def equivalents(self, archs: Tensor) -> Tensor:
        cells = as_cell_space(self.space)
        return cells.equivalents(archs, deep=True) if cells else self.space.canonical(archs)


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
