"""Scores at initialization: a zero-cost proxy of the network, by one batch of training images and without training."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor, nn

from controller import Proposal, Results
from nas import datasets, plugins
from nas.datasets import DataSet, meta_features
from nas.evaluators import _settings, _trial
from nas.training import Images, zero_cost
from nas.training.cores import one_each
from nas.types import Defaults, Evaluate, TrainingEvaluator
from search_spaces import Space, Task, UserError, _ops, as_cell_space, representatives, unknown

__all__ = ["ZeroCost"]

PROXY = "naswot"
"""Level with synflow, parameters and FLOPs in `runs/zero_cost.sh`, and the one of these that is no measure of size."""


_BUILT = 4
"""Networks that are built at a time for each core: all of a large sample would fill the memory."""


class Proxies(NamedTuple):
    """Of one network."""

    values: dict[str, float]
    """By name; NaN where a proxy is not finite."""
    seconds: float


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

    errors: list[str] = field(default_factory=list, repr=False, compare=False)
    """Of networks that have no proxy because they raised an error, a line each."""

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
        _trial.refuse_broken(self.space, self.task)

        def evaluate(proposal: Proposal) -> Results:
            archs = representatives(self.space, proposal.archs)
            indices = _ops.whole_indices(archs, self.space.choices)
            missing = {i: arch for i, arch in zip(indices, archs.flatten(0, -2)) if i not in self.values}
            for index, found in zip(missing, self.proxies(list(missing.values()), (self.proxy,))):
                self.values[index] = Value(found.values[self.proxy], found.seconds)
            found = torch.tensor([self.values[index] for index in indices])
            return Results(*found.view(*archs.shape[:-1], 2).unbind(-1))

        return evaluate

    def report(self, archs: Tensor) -> Tensor | None:
        return None

    def failures(self) -> list[str]:
        """Why architectures have no score: what their networks raised, else that the proxy was no number."""
        none = any(math.isnan(value.score) for value in self.values.values())
        return self.errors or [f"proxy '{self.proxy}' was no finite number for its network"] * none

    def proxies(self, archs: Sequence[Tensor], names: tuple[str, ...]) -> Iterator[Proxies]:
        """Several proxies of the networks of `archs` `[D]`, in order; each as if it were computed alone.

        On a CPU as many networks at once as there are cores, one each.
        """
        cores = torch.get_num_threads() if self.device.type == "cpu" else 1
        for first in range(0, len(archs), cores * _BUILT):
            yield from self._part(archs[first : first + cores * _BUILT], names, cores)

    def _part(self, archs: Sequence[Tensor], names: tuple[str, ...], cores: int) -> list[Proxies]:
        data = Images(self.data.x_train, self.data.y_train, self.data.mean, self.data.std)
        # Not the first: a folder is read class after class.
        some = datasets.pick(len(self.data.y_train), self.batch)
        images = data.normalised(some).to(self.device)
        labels = self.data.y_train[some].to(self.device)

        def proxies(network: nn.Module | None) -> Proxies:
            began, found = time.perf_counter(), dict.fromkeys(names, math.nan)
            if network is None:
                return Proxies(found, 0.0)
            for name in names:
                with self._kept():
                    score = zero_cost.PROXIES[name](network, images, labels)
                    found[name] = score if math.isfinite(score) else math.nan
            return Proxies(found, time.perf_counter() - began)

        # Built one after the other, as there is one generator for all threads. What draws later begins by the seed set here.
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            networks: list[nn.Module | None] = []
            for arch in archs:
                torch.manual_seed(self.seed)
                networks.append(None)
                with self._kept():
                    networks[-1] = self.space.build(arch, self.task).to(self.device).train()
            torch.manual_seed(self.seed)
            with one_each(cores) as pool:
                return list(pool.map(proxies, networks))

    @contextmanager
    def _kept(self) -> Iterator[None]:
        """Keep what a network raises as the reason of a failure: those of somebody's own may raise anything."""
        try:
            yield
        except (UserError, OSError, MemoryError):
            raise
        except Exception as error:
            self.errors.append(" ".join(f"{type(error).__name__}: {error}".split())[:200].rstrip(" :"))
