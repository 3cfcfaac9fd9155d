"""Scores at initialization: a zero-cost proxy of the network, by one batch of training images and without training."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from controller import Proposal, Results
from nas import datasets, plugins
from nas.datasets import DataSet, meta_features
from nas.evaluators import _settings
from nas.training import Images, zero_cost
from nas.types import Defaults, Evaluate, TrainingEvaluator
from search_spaces import Space, Task, UserError, _ops, as_cell_space, representatives, unknown

__all__ = ["ZeroCost"]

PROXY = "naswot"
"""Level with synflow, parameters and FLOPs in `runs/zero_cost.sh`, and the one of these that is no measure of size."""


class Value(NamedTuple):
    """Of one network."""

    score: float
    """NaN where it is not finite, or the network raised an error."""
    seconds: float


@dataclass(frozen=True)
class ZeroCost:
    """A proxy of `nas.training.zero_cost` of the network that evaluator `train` would train to the end; none is trained.

    Scores depend on neither the search's seed nor on what is scored together. The report is None: nothing is tested.
    """

    space: Space
    """Of the networks as they would be after the search."""
    task: Task
    data: DataSet = field(repr=False, compare=False)
    proxy: str
    batch: int
    """Images."""
    seed: int
    device: torch.device
    values: dict[int, Value] = field(default_factory=dict, repr=False, compare=False)
    """By the index of the architecture, what was worked out so far."""

    defaults = Defaults(budget=200, batch=8)
    training: TrainingEvaluator | None = None

    @classmethod
    def of(cls, name: str, **settings: str) -> ZeroCost:
        """That of a dataset. Takes `proxy` and the settings of `train`, of which those of a training change nothing.

        Raises `UserError` for a name that is none and a setting that does not exist.
        """
        given = dict(settings)
        proxy = given.pop("proxy", PROXY)
        if proxy not in zero_cost.PROXIES:
            raise unknown("zero-cost proxy", proxy, list(zero_cost.PROXIES))
        if given.get("space") == "pipeline":
            raise UserError(
                "--proxy scores networks; space 'pipeline' decides how they are trained. Say another space."
            )
        asked = _settings.read(given)
        data = datasets.load(name, asked.image_size)
        datasets.check(data)
        channels, height, width = data.x_train.shape[1:]
        features = meta_features.features(data.x_train, data.y_train)
        task = Task(name, (channels, height, width), len(data.class_names), features)
        space = plugins.load("space", asked.space)()
        if (cells := as_cell_space(space)) is not None:  # The size and the stem that `train` gives its final networks.
            space = cells.proxy(asked.final_channels, asked.final_cells, 2 if height > 16 else 1)
        device = _settings.usable_device(asked.device or ("cuda" if torch.cuda.is_available() else "cpu"))
        return cls(space, task, data, proxy, asked.batch, asked.seed, device)

    @property
    def description(self) -> str:
        return (
            f"score: the zero-cost proxy {self.proxy} at initialization, of {self.batch} training images; nothing is trained "
            "or tested"
        )

    @cached_property
    def data_digest(self) -> str:
        """Of the images as they were read, their splits and their classes; of no file's name."""
        return datasets.digest(self.data)

    def load(self, seeds: Tensor) -> Evaluate:
        def evaluate(proposal: Proposal) -> Results:
            archs = representatives(self.space, proposal.archs)
            indices = _ops.whole_indices(archs, self.space.choices)
            for index, arch in zip(indices, archs.flatten(0, -2)):
                if index not in self.values:
                    self.values[index] = self.value(arch)
            found = torch.tensor([self.values[index] for index in indices])
            return Results(*found.view(*archs.shape[:-1], 2).unbind(-1))

        return evaluate

    def report(self, archs: Tensor) -> Tensor | None:
        return None

    def value(self, arch: Tensor) -> Value:
        """The proxy of one architecture `[D]`, and the seconds that it took."""
        start = time.perf_counter()
        score = self.proxies(arch, (self.proxy,))[self.proxy]
        return Value(score, time.perf_counter() - start)

    def proxies(self, arch: Tensor, names: tuple[str, ...]) -> dict[str, float]:
        """Several proxies of one network, that of `arch` `[D]`; each as if it were computed alone."""
        data = Images(self.data.x_train, self.data.y_train, self.data.mean, self.data.std)
        images = data.normalised(slice(self.batch)).to(self.device)
        labels = self.data.y_train[: self.batch].to(self.device)
        found = {}
        cuda = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=cuda):
            torch.manual_seed(self.seed)
            network = self.space.build(arch, self.task).to(self.device).train()
            for name in names:
                torch.manual_seed(self.seed)
                score = zero_cost.PROXIES[name](network, images, labels)
                found[name] = score if math.isfinite(score) else math.nan
        return found
