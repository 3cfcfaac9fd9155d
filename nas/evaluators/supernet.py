"""Scores by shared weights: one supernet holds every cell of the space, and evaluations train it as they go.

The first `shared_evals` evaluations of a search train the weights: each takes `shared_steps` steps of SGD along what is proposed,
a mixture or a single path, then is scored by one batch of validation images. From then on the weights rest, and an evaluation is
the one-shot accuracy on all validation images. The winner is trained to the end by itself, as evaluator `train` does.

Shapes: `S` seeds, `B` architectures, `D` decisions, `C` choices, `P` shared parameters, `T` batches, `N` images.
"""

from __future__ import annotations

import math
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from controller import Prior, Proposal, Results
from nas import plugins
from nas.datasets import DataSet
from nas.evaluators import _settings
from nas.evaluators._settings import SupernetSettings
from nas.evaluators._supernet_images import SupernetImages
from nas.training import Recipe, metrics, supernet, supernet_start
from nas.training.metrics import METRIC_NAMES
from nas.training.supernet_program import Weights
from nas.training.supernet_slope import Batches, second_order
from nas.training.supernet_start import geometry
from nas.training.train import learning_rate
from nas.types import Defaults, Evaluate, EvaluateWithMemory, TrainingEvaluator
from search_spaces import Skeleton, Space, Task, UserError, as_cell_space

__all__ = ["Supernet"]


class Memory(NamedTuple):
    """What a search's supernet has become."""

    seeds: Tensor
    """int64 `[S]`."""
    evaluations: Tensor
    """int64 `[S]` so far."""
    weights: Tensor
    """float32 `[S, P]`."""
    momentum: Tensor
    """float32 `[S, P]` of the optimizer."""


class Alone(TrainingEvaluator, Protocol):
    """Evaluator `train`: its data are a supernet's, and it trains what is handed out."""

    @property
    def data(self) -> DataSet: ...
    @property
    def data_digest(self) -> str: ...
    @property
    def recipe(self) -> Recipe: ...
    @property
    def examples(self) -> int: ...
    @property
    def device(self) -> torch.device: ...
    @property
    def metric(self) -> str: ...


@dataclass(frozen=True)
class Supernet:
    """One-shot accuracy by weights that all cells share; mixtures of operations are scored with their slope."""

    alone: Alone
    settings: SupernetSettings
    net: supernet.Supernet = field(repr=False, compare=False)
    prior: Prior | None = field(default=None, repr=False, compare=False)
    """Whose weights a search begins with, where they fit."""
    prior_share: float = field(default=0.0, repr=False, compare=False)
    """Of the first weights, how many are the prior's; the head's never are."""

    defaults = Defaults(budget=224, batch=1, leaders=0)

    @classmethod
    def of(cls, name: str, **settings: str) -> Supernet:
        """That of a dataset. Raises `UserError` for a setting that does not exist, and for a space without shared cells."""
        own = {key: settings.pop(key) for key in SupernetSettings._fields if key in settings}
        alone: Alone = plugins.load("evaluator", "train").of(name, **settings)
        given, space = _settings.read(own, SupernetSettings), alone.space
        skeleton, partial = _skeleton(space), given.partial_channels
        if skeleton.channels % partial:
            raise UserError(
                f"--training-option partial_channels is {partial}; it takes a divisor of the {skeleton.channels} channels."
            )
        return cls(alone, given, supernet.make(space.operations, alone.task, skeleton, alone.device, partial=partial))

    @property
    def space(self) -> Space:
        return self.alone.space

    @cached_property
    def task(self) -> Task:
        # Shared weights have no epochs of one architecture's own.
        return replace(self.alone.task, fidelities=())

    @property
    def training(self) -> TrainingEvaluator:
        return self.alone

    @property
    def description(self) -> str:
        given = self.settings
        start = f" ({self.prior_share:.1%} of them a prior's at first)" if self.prior is not None else ""
        return (
            f"score: one-shot validation {METRIC_NAMES[self.alone.metric]} of shared weights{start}, trained by the first "
            f"{given.shared_evals} evaluations with {given.shared_steps} steps each; {self.alone.description.split('; ')[-1]}"
        )

    @property
    def data_digest(self) -> str:
        """Of the images as they were read, their splits and their classes; of no file's name."""
        return self.alone.data_digest

    @property
    def engine(self) -> str:
        return supernet.engine(self.alone.device)

    def from_prior(self, prior: Prior) -> Supernet:
        """The evaluator whose searches begin with a prior's weights: stem and cells where they fit, a fresh head.

        Raises `UserError` where none fits.
        """
        made = replace(self, prior=prior)
        params, fitted = made._started(torch.tensor([0]))
        if fitted == 0:
            then, now = prior.about.get("geometry", "another network"), geometry(self.task, self.net.programs.skeleton)
            raise UserError(
                f"The prior's shared weights are of {then}; here they would be of {now}. "
                "-t channels=N, -t cells=N and -t image_size=N make the same network."
            )
        return replace(made, prior_share=fitted / params.shape[1])

    def _started(self, seeds: Tensor) -> tuple[Tensor, int]:
        """The first weights, and how many of them are a prior's."""
        net = self.net.programs
        params = supernet.initial(net.operations, self.task, net.skeleton, seeds, net.partial)
        return supernet_start.placed(net, params, {} if self.prior is None else self.prior.params)

    def begin(self, seeds: Tensor) -> Memory:
        params = self._started(seeds)[0]
        return Memory(seeds, torch.zeros_like(seeds), params, torch.zeros_like(params))

    def load(self, seeds: Tensor) -> Evaluate:
        def evaluate(proposal: Proposal) -> Results:
            return self.load_with_memory(seeds)(proposal, self.begin(seeds))[0]

        return evaluate

    def load_with_memory(self, seeds: Tensor) -> EvaluateWithMemory:
        def evaluate(proposal: Proposal, memory: Memory) -> tuple[Results, Memory]:
            mixtures = proposal.weights
            if mixtures is None:
                mixtures = torch.nn.functional.one_hot(proposal.archs, max(self.space.choices)).float()
            slopes = proposal.weights is not None
            resting = (
                torch.zeros(mixtures.shape[:2], dtype=torch.bool) if proposal.resting is None else proposal.resting
            )
            read = torch.full_like(resting, slopes) if proposal.slopes is None else proposal.slopes
            searches = [
                (int(seed), int(done), Weights(params, momentum), mixtures_BDC, resting_B.tolist(), read_B.tolist())
                for seed, done, params, momentum, mixtures_BDC, resting_B, read_B in zip(
                    *memory, mixtures.detach(), resting, read
                )
            ]
            answered = self._each(lambda search: self._search(*search), searches)
            score, cost, slope, weights = zip(*answered)
            B = proposal.archs.shape[1]
            number_SB = memory.evaluations[:, None] + torch.arange(B)
            provisional = (number_SB < self.settings.shared_evals) | slopes
            results = Results(
                torch.tensor(score),
                torch.tensor(cost),
                slope=torch.stack(slope) if slopes else None,
                provisional=provisional,
            )
            params, momentum = (torch.stack(parts) for parts in zip(*weights))
            return results, Memory(memory.seeds, memory.evaluations + B, params, momentum)

        return evaluate

    def accuracy(self, memory: Memory, mixture: Tensor) -> float:
        """The search's metric of a mixture `[D, C]` on all validation images, by the weights of the first seed; in percent."""
        x, y, new = self.images.validation(None)
        seen = self.net.score(Weights(memory.weights[0], memory.momentum[0]), mixture, x, y, slope=False)
        return self._value(seen.logits, y, new)

    def report(self, archs: Tensor) -> Tensor | None:
        return self.alone.report(archs)

    def _each(self, work: Any, searches: list[Any]) -> list[Any]:
        """Searches side by side: compiled code keeps each on one core."""
        threads = min(torch.get_num_threads(), len(searches))
        if threads < 2 or not isinstance(self.net, supernet.CompiledSupernet):
            return [work(search) for search in searches]
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(work, searches))

    def _search(
        self, seed: int, done: int, weights: Weights, mixtures: Tensor, resting: list[bool], read: list[bool]
    ) -> tuple[list[float], list[float], Tensor, Weights]:
        """Scores, seconds and slopes `[B, D, C]` of one search's mixtures, one after the other, and its weights then.

        A slope that nobody reads is NaN: computing it takes longer than the score.
        """
        score, cost, slope = [], [], []
        for number, (mixture, rests, sloped) in enumerate(zip(mixtures, resting, read), done):
            began = time.perf_counter()
            training = number < self.settings.shared_evals and not rests
            if training:
                weights = self._train(seed, number, weights, mixture)
            x, y, new = self.images.validation(number if training else None)
            seen = self.net.score(weights, mixture, x, y, slope=sloped)
            # The mean of all images says nothing where training diverged.
            value = math.nan if seen.loss.isnan().any() else self._value(seen.logits, y, new)
            score.append(value)
            found = seen.slope
            if found is not None and training and self.settings.slope_order == 2:
                found = self._second_order(seed, number, weights.params, mixture)
            # Minus: the slope is that of what is to be raised.
            slope.append(torch.full_like(mixture, torch.nan) if found is None else -found.float())
            cost.append(time.perf_counter() - began)
        return score, cost, torch.stack(slope), weights

    def _value(self, logits: Tensor, y: Tensor, new: Tensor) -> float:
        """The metric of the search, in percent."""
        predictions = logits.argmax(-1)[new]
        return metrics.score(self.alone.metric, predictions[None], y[new], self.task.num_classes).item()

    def _train(self, seed: int, number: int, weights: Weights, mixture: Tensor) -> Weights:
        """The weights after the steps of evaluation `number`: which images they see is a function of seed and step."""
        recipe, each = self._recipe, self._steps(number)
        x, y = self.images.training(seed, each)
        rates = [self._rate(step) for step in each]
        return self.net.learn(weights, mixture, x, y, rates, recipe.momentum, recipe.weight_decay)[0]

    def _second_order(self, seed: int, number: int, params: Tensor, mixture: Tensor) -> Tensor:
        """The slope of the loss after one more step on the last images that the weights have learned from."""
        last = self._steps(number)[-1:]
        train, valid = Batches(*self.images.training(seed, last)), Batches(*self.images.validation(number)[:2])
        return second_order(self.net, params, mixture, train, valid, self._rate(last[0]))

    def _steps(self, number: int) -> range:
        """The steps of SGD of evaluation `number`."""
        steps = self.settings.shared_steps
        return range(number * steps, (number + 1) * steps)

    def _rate(self, step: int) -> float:
        return learning_rate(self._recipe, step, self.settings.shared_steps * self.settings.shared_evals)

    @property
    def _recipe(self) -> Recipe:
        return self.alone.recipe._replace(lr=self.settings.shared_lr)

    @cached_property
    def images(self) -> SupernetImages:
        """What the weights learn from and are scored by."""
        return SupernetImages(self.alone.data, self.alone.examples, self.alone.recipe.batch, self.alone.recipe.seed)


def _skeleton(space: Space) -> Skeleton:
    cells = as_cell_space(space)
    if cells is None or cells.skeleton is None:
        raise UserError(
            f"--evaluator supernet shares the weights of cells in one network; space '{space.name}' has no such network. "
            "It takes nasbench201 or transnas_micro."
        )
    return cells.skeleton
