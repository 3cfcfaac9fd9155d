"""The small networks of a search: trained in chunks, left off and taken up again, each epoch of each trained once.

Shapes: `P` cells of a chunk.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from nas import datasets, training
from nas.datasets import DataSet
from nas.training import Begun, Images, Recipe
from search_spaces import Space, Task, _ops

KEPT = "trainings.jsonl"
"""In a run's folder, a line for each training: rank, epochs, score, seconds, and the mean loss of each epoch."""
CHUNK = 256
"""Cells trained together at most: as many as a GPU holds, where memory that runs out halves it."""
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory")


class Want(NamedTuple):
    """An architecture's rank, and the epochs it is to be trained."""

    rank: int
    epochs: int


class Found(NamedTuple):
    """What came of it."""

    score: float
    """Validation accuracy in percent; NaN where training diverged."""
    seconds: float
    """That this evaluation took: epochs trained before cost nothing again."""


@dataclass
class Proxies:
    """All that was trained for one task, in memory."""

    space: Space
    task: Task
    data: DataSet
    recipe: Recipe
    examples: int
    device: torch.device
    found: dict[Want, Found] = field(default_factory=dict)
    begun: dict[int, Begun] = field(default_factory=dict)
    """By rank, trainings left off before their last epoch."""
    curves: dict[int, list[float]] = field(default_factory=dict)
    """By rank, the mean training loss of each epoch."""
    file: Path | None = None

    def remember(self, file: Path) -> None:
        """Keep every training in `file` from now on, and know those that are there; a line cut short is trained again."""
        self.file = file
        for line in file.read_text().splitlines() if file.exists() else []:
            try:
                kept = json.loads(line)
            except ValueError:
                continue
            self.found[Want(kept["rank"], kept["epochs"])] = Found(kept["score"], kept["seconds"])
            if len(kept["loss"]) > len(self.curves.get(kept["rank"], [])):
                self.curves[kept["rank"]] = kept["loss"]

    def train(self, wanted: list[Want]) -> None:
        """Train what is not yet known, in chunks; one that does not fit in memory is halved. Ctrl-C loses one chunk at most."""
        fitting = min(CHUNK, training.together(self.device))
        waiting = sorted(set(wanted) - self.found.keys(), key=lambda want: (want.epochs, want.rank))
        while waiting:
            alike = (self._start(waiting[0]), waiting[0].epochs)
            chunk = [want for want in waiting if (self._start(want), want.epochs) == alike][:fitting]
            try:
                self._train_chunk([want.rank for want in chunk], *alike)
            except (RuntimeError, MemoryError) as error:
                if len(chunk) == 1 or not any(words in str(error) for words in _OUT_OF_MEMORY):
                    raise
                fitting = len(chunk) // 2
                continue
            waiting = [want for want in waiting if want not in self.found]

    def _start(self, want: Want) -> int:
        """Epochs of it that are done and not beyond what is wanted."""
        left = self.begun.get(want.rank)
        return left.epochs if left is not None and left.epochs <= want.epochs else 0

    def _train_chunk(self, ranks: list[int], start: int, end: int) -> None:
        began = time.perf_counter()
        archs = _ops.from_index(torch.tensor(ranks), self.space.choices)
        picked = datasets.pick(len(self.data.y_train), self.examples)
        train = self.images(self.data.x_train[picked], self.data.y_train[picked])
        valid = self.images(self.data.x_valid, self.data.y_valid)
        cells = training.networks(self.space, archs, self.task, self.recipe.seed, self.device)
        for p, rank in enumerate(ranks if start else []):
            training.take_up(cells, p, self.begun[rank])
        epochs = training.train(cells, train, self.recipe, start)
        losses_EP = torch.stack([next(epochs).cpu() for _ in range(start, end)])
        score_P = training.accuracy(cells, valid).cpu().masked_fill(losses_EP[-1].isnan(), torch.nan)
        seconds = (time.perf_counter() - began) / len(ranks)
        for p, rank in enumerate(ranks):
            self.curves[rank] = self.curves.get(rank, [])[:start] + losses_EP[:, p].tolist()
            if end < self.recipe.epochs:
                self.begun[rank] = training.begun(cells, p, end)
            else:
                self.begun.pop(rank, None)
            self.found[Want(rank, end)] = Found(score_P[p].item(), seconds)
        self._write([Want(rank, end) for rank in ranks])

    def _write(self, wanted: list[Want]) -> None:
        if self.file is None:
            return
        rows = [{**want._asdict(), **self.found[want]._asdict(), "loss": self.curves[want.rank]} for want in wanted]
        with self.file.open("a") as file:
            file.write("".join(f"\n{json.dumps(row)}" for row in rows))

    def images(self, x: Tensor, y: Tensor) -> Images:
        """Pictures and their classes on the device that trains."""
        return Images(*(t.to(self.device) for t in (x, y, self.data.mean, self.data.std)))
