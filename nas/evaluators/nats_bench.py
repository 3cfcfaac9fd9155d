"""Scores from people's own NATS-Bench files, through nats_bench's API: the same metrics as `tabular`, no import needed.

nats_bench would unpickle what it opens, and with that run whatever a file says. So it opens no file: `nats_files` reads them
without trust, and the API stands on the plain values that it verified. `nas table import nats` reads them once, and is then a
thousand times faster. Shapes: `S` searches, `B` architectures.
"""

from __future__ import annotations

import contextlib
import io
import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from controller import Proposal, Results
from nas import plugins
from nas.datasets import meta_features
from nas.tables import nats_files
from nas.tables.nats_files import Download
from nas.text import counted
from nas.types import Defaults, Evaluate, Objective
from search_spaces import Space, Task, UserError, _noise, _ops, unknown

__all__ = ["NatsBench"]

_DATA = {"cifar10": ((3, 32, 32), 10), "cifar100": ((3, 32, 32), 100), "ImageNet16-120": ((3, 16, 16), 120)}
_RECIPES = {"nasbench201": {12: "12", 200: "200"}, "natsbench-size": {1: "01", 12: "12", 90: "90"}}


class _Metrics(NamedTuple):
    """The results of one architecture after some epochs; percent and seconds."""

    valid: list[float]
    """Of each training seed that was measured."""
    seconds: float


@dataclass(frozen=True)
class _Files:
    """nats_bench's API over a download, an architecture at a time where the download is a folder."""

    download: Download

    @cached_property
    def index(self) -> dict[str, int]:
        """The row of each architecture in `meta_archs`."""
        return {text: row for row, text in enumerate(self.download.meta_archs)}

    @cached_property
    def api(self) -> Any:
        """From `nats_bench.create`, without any architecture yet."""
        import nats_bench

        nothing = {"meta_archs": self.download.meta_archs, "arch2infos": {}, "evaluated_indexes": []}
        with _quiet():
            return nats_bench.create(nothing, "tss" if "|" in self.download.meta_archs[0] else "sss", verbose=False)

    @cached_property
    def _everything(self) -> dict[int, dict[str, Any]]:
        """Of the single file, which has no order to look one up in: all architectures, in memory as with nats_bench."""
        return nats_files.load_all(self.download)

    @contextlib.contextmanager
    def holding(self, index: int) -> Iterator[Any]:
        """The API while it knows an architecture, of which the download may have nothing."""
        from nats_bench.api_utils import ArchResults

        folder = self.download.path.is_dir()
        infos = nats_files.infos(self.download, index) if folder else self._everything.get(index, {})
        with _quiet():
            self.api.arch2infos_dict[index] = {
                recipe: ArchResults.create_from_state_dict(state) for recipe, state in infos.items()
            }
            self.api.evaluated_indexes.add(index)
            try:
                yield self.api
            finally:
                # It would grow to the whole benchmark.
                del self.api.arch2infos_dict[index]


@dataclass(frozen=True)
class NatsBench:
    """Validation accuracy while the search lasts, test accuracy of the full training after it."""

    space: Space
    task: Task
    files: _Files
    data: str
    """`cifar10`, `cifar100` or `ImageNet16-120`."""
    drawn: bool = False
    """An evaluation gives one training seed, as `tabular` draws it; else the mean of the seeds."""
    _seen: dict[tuple[int, int], _Metrics] = field(default_factory=dict, repr=False, compare=False)

    defaults = Defaults(budget=100, batch=1)
    training = None

    @classmethod
    def of(cls, name: str, *, path: str, dataset: str, epochs: int | None = None, one_seed: bool = False) -> NatsBench:
        """The evaluator of the task called `name`, in its parts. Raises `UserError` for a part that leads nowhere."""
        if dataset not in _DATA:
            raise unknown("NATS-Bench task", dataset, sorted(_DATA))
        download = nats_files.open_download(Path(path))
        topology = "|" in download.meta_archs[0]
        space = plugins.load("space", "nasbench201" if topology else "natsbench_size")()
        recipes = _RECIPES[space.name]
        if epochs is not None and epochs not in recipes:
            there_are = ", ".join(map(str, recipes))
            raise UserError(f"Task '{name}' has no metrics after {epochs} epochs; there are: {there_are}.")
        fidelities = tuple(recipe for recipe in recipes if recipe <= (epochs or max(recipes)))
        task = Task(name, *_DATA[dataset], meta_features.known(dataset), fidelities)
        return cls(space, task, _Files(download), dataset, one_seed)

    @property
    def data_digest(self) -> str:
        return nats_files.digest(self.files.download)

    @property
    def epochs(self) -> int:
        return self.task.fidelities[-1]

    @property
    def description(self) -> str:
        epochs = counted(self.epochs, "epoch")
        return f"score: accuracy after {epochs}, {self.objective.text}; test: accuracy of the full training"

    @property
    def objective(self) -> Objective:
        return Objective("valid", None, self.drawn)

    def load(self, seeds: Tensor) -> Evaluate:
        def evaluate(proposal: Proposal) -> Results:
            rank_SB = _ops.index(proposal.archs, self.space.choices)
            epochs_SB = torch.full(rank_SB.shape, self.epochs) if proposal.epochs is None else proposal.epochs
            pairs = zip(proposal.archs.flatten(0, 1), epochs_SB.flatten().tolist())
            known = [self._metrics(arch, epochs) for arch, epochs in pairs]
            count_SB = torch.tensor([max(1, len(f.valid)) for f in known]).view(rank_SB.shape)
            which = _noise.draw(seeds, rank_SB, high=count_SB).flatten().tolist()
            score = [f.valid[i] if self.drawn and f.valid else _mean(f.valid) for f, i in zip(known, which)]
            cost = [f.seconds for f in known]
            return Results(torch.tensor(score).view(rank_SB.shape), torch.tensor(cost).view(rank_SB.shape))

        return evaluate

    def report(self, archs: Tensor) -> Tensor | None:
        # After the longest training, whatever the search used: it is what an architecture is chosen for.
        recipe = max(_RECIPES[self.space.name].items())[1]
        found = [_mean([i["test-accuracy"] for i in self._infos(a, self.data, recipe)]) for a in archs.flatten(0, -2)]
        return torch.tensor(found).view(archs.shape[:-1])

    def _metrics(self, arch: Tensor, epochs: int) -> _Metrics:
        if epochs not in self.task.fidelities:
            there_are = ", ".join(map(str, self.task.fidelities))
            raise UserError(
                f"The controller asks for {epochs} epochs; task '{self.task.name}' has metrics after: {there_are}. "
                "Leave out --controller-option epochs, or name one of these."
            )
        key = int(_ops.index(arch, self.space.choices)), epochs
        # nats_bench opens a file of its folder for each query: a repeated one comes from memory.
        if key not in self._seen:
            # CIFAR-10 was trained twice; only this one leaves half of the training images to validate on.
            data = "cifar10-valid" if self.data == "cifar10" else self.data
            infos = self._infos(arch, data, _RECIPES[self.space.name][epochs])
            valid = [i["valid-accuracy"] for i in infos if not math.isnan(i["valid-accuracy"])]
            seconds = [i["train-all-time"] for i in infos]
            self._seen[key] = _Metrics(valid, _mean(seconds) if seconds else 0.0)
        return self._seen[key]

    def _infos(self, arch: Tensor, data: str, recipe: str) -> list[dict[str, Any]]:
        """The results of each training seed in nats_bench; nothing for an architecture that is not in its files."""
        index = self.files.index.get(self.space.describe(arch))
        if index is None:
            return []
        with self.files.holding(index) as api:
            try:
                results = api.query_by_index(index, data, hp=recipe)
                return [api.get_more_info(index, data, hp=recipe, is_random=seed) for seed in results]
            # All that nats_bench raises for a dataset or recipe that its files lack.
            except (ValueError, KeyError, AssertionError):
                return []


def _mean(values: list[float]) -> float:
    known = [v for v in values if not math.isnan(v)]
    return sum(known) / len(known) if known else math.nan


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """nats_bench prints and warns while it works; a search prints its own lines."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
