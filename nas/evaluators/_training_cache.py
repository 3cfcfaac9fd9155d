"""The proxy networks of a search: trained in chunks, paused and resumed, each epoch of each network trained once.

Shapes: `P` networks of a chunk, `E` epochs.
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from controller.models import legacy
from nas import datasets, training
from nas.datasets import DataSet
from nas.training import Images, Recipe, metrics
from nas.training.recipe import Checkpoint
from nas.training.train import batch_limit
from nas.types import TrainingProgress, Watch
from search_spaces import Space, Task, UserError, _ops

FILE = "trainings.jsonl"
"""In a run's folder, a line for each training: index, epochs, score, seconds, and the mean loss of each epoch."""
_REASON = 200
"""Characters of an error's message that are kept."""
_GIVE_UP = 8
"""Trainings that raise an error, with none that succeeds, after which the search ends: half of a default batch, enough that the
fault is in the data, the space or the machine and not in an architecture."""


class TrainingKey(NamedTuple):
    """Which training: an architecture's index in its space, and the epochs it is trained."""

    index: int
    epochs: int


class TrainingResult(NamedTuple):
    """Its outcome."""

    score: float
    """By the metric of the search, on the validation images, in percent; NaN where training diverged."""
    seconds: float
    """Of this evaluation: epochs that were trained before cost nothing again."""
    error: str = ""
    """Why there is no score, where training raised an error."""


@dataclass
class TrainingCache:
    """All trainings of one task, in memory, and in a file if there is one."""

    space: Space
    task: Task
    data: DataSet
    recipe: Recipe
    examples: int
    device: torch.device
    metric: str = "accuracy"
    results: dict[TrainingKey, TrainingResult] = field(default_factory=dict)
    checkpoints: dict[int, Checkpoint] = field(default_factory=dict)
    """By index, trainings that were paused before their last epoch."""
    losses: dict[int, list[float]] = field(default_factory=dict)
    """By index, the mean training loss of each epoch."""
    file: Path | None = None
    watch: Watch | None = None
    """Who is told after each epoch of a chunk."""
    asked: list[TrainingKey] = field(default_factory=list)
    """What the last call of `train` was to train."""

    def cache_to(self, file: Path) -> None:
        """Append every training to `file` from now on, and know those in it. A line cut short by a kill is trained again."""
        self.file = file
        for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else []:
            # A kill can cut the last line short; the next session begins on a new line, so only that one is lost.
            try:
                row = legacy.training(json.loads(line))
            except ValueError:
                continue
            self.results[TrainingKey(row["index"], row["epochs"])] = TrainingResult(
                row["score"], row["seconds"], row.get("error", "")
            )
            if len(row["loss"]) > len(self.losses.get(row["index"], [])):
                self.losses[row["index"]] = row["loss"]

    def train(self, keys: list[TrainingKey]) -> None:
        """Train what is missing, in chunks. Ctrl-C loses one chunk at most.

        A chunk that raises an error, or does not fit in memory, is halved; a training that fails alone has a score of NaN and its
        reason. Raises `UserError` when nothing else happens, or when the device answers no more.
        """
        fits = batch_limit(self.device)
        # Short trainings first: longer ones of the same architecture then resume from them.
        missing = sorted(set(keys) - self.results.keys(), key=lambda key: (key.epochs, key.index))
        self.asked = list(missing)
        while missing:
            # Networks of a chunk share their batches of images, so they must start and end at the same epochs.
            alike = (self._start(missing[0]), missing[0].epochs)
            chunk = [key for key in missing if (self._start(key), key.epochs) == alike][:fits]
            try:
                self._train_chunk([key.index for key in chunk], *alike)
            except (UserError, OSError):  # Of the user, or of the disk: the architecture is not to blame.
                raise
            except Exception as error:  # A space's own networks may raise anything.
                if len(chunk) > 1:
                    # Until the call ends: chunks that are too large for memory all are.
                    fits = len(chunk) // 2
                else:
                    self._fail(chunk[0], error)
                self._check_device(error)
            missing = [key for key in missing if key not in self.results]

    def failures(self) -> list[str]:
        """Why trainings failed, in the order in which they did."""
        return [result.error for result in self.results.values() if result.error]

    def _fail(self, key: TrainingKey, error: Exception) -> None:
        """Keep that a training raised an error. Raises `UserError` where many did and none succeeded."""
        reason = (str(error).strip() or type(error).__name__).partition("\n")[0][:_REASON]
        reason = f"{type(error).__name__}: {reason}"
        self.results[key] = TrainingResult(math.nan, 0.0, reason)
        self.losses.setdefault(key.index, [])
        self.checkpoints.pop(key.index, None)
        self._write([key])
        failures = self.failures()
        if len(failures) == len(self.results) >= _GIVE_UP:
            raise UserError(
                f"All {len(failures)} trainings so far have failed; the last with {reason}. Nothing can be searched until "
                "that is mended; then start a new run."
            )

    def _check_device(self, error: Exception) -> None:
        """After an error that a GPU does not recover from, every later training would fail for no fault of its own."""
        try:
            torch.zeros(1, device=self.device).item()
        except RuntimeError:
            reason = str(error).partition("\n")[0][:_REASON]
            raise UserError(
                f"Device '{self.device}' answers no more after: {reason}. What was trained is stored; `nas resume` goes on."
            ) from None

    def _start(self, key: TrainingKey) -> int:
        """Epochs of it that are done and not more than asked for."""
        paused = self.checkpoints.get(key.index)
        return paused.epochs if paused is not None and paused.epochs <= key.epochs else 0

    def _train_chunk(self, indices: list[int], start: int, end: int) -> None:
        began = time.perf_counter()
        archs = _ops.from_whole_indices(indices, self.space.choices)
        picked = datasets.pick(len(self.data.y_train), self.examples)
        train = self.images(self.data.x_train[picked], self.data.y_train[picked])
        valid = self.images(self.data.x_valid, self.data.y_valid)
        networks = training.networks(self.space, archs, self.task, self.recipe.seed, self.device)
        for p, index in enumerate(indices if start else []):
            training.restore(networks, p, self.checkpoints[index])
        epochs = training.train(networks, train, self.recipe, start)
        # The schedule is that of the full training even where few epochs are asked: few epochs are the beginning of many.
        losses = []
        self._tell(archs, start, start, end, None)
        for epoch in range(start + 1, end + 1):
            losses.append(next(epochs).cpu())
            self._tell(archs, start, epoch, end, losses[-1])
        losses_EP = torch.stack(losses)
        seen_PN = training.predictions(networks, valid)
        score_P = (
            metrics.score(self.metric, seen_PN, valid.y, self.task.num_classes)
            .cpu()
            .masked_fill(losses_EP[-1].isnan(), torch.nan)
        )
        seconds = (time.perf_counter() - began) / len(indices)
        for p, index in enumerate(indices):
            self.losses[index] = self.losses.get(index, [])[:start] + losses_EP[:, p].tolist()
            # A finished training cannot resume: its weights would only fill memory.
            if end < self.recipe.epochs:
                self.checkpoints[index] = training.checkpoint(networks, p, end)
            else:
                self.checkpoints.pop(index, None)
            self.results[TrainingKey(index, end)] = TrainingResult(score_P[p].item(), seconds)
        self._write([TrainingKey(index, end) for index in indices])

    def _tell(self, archs: Tensor, start: int, epoch: int, end: int, loss_P: Tensor | None) -> None:
        """Tell that `archs` `[P, D]`, which began at epoch `start`, have come to `epoch` of `end`."""
        if self.watch is None:
            return
        ended = [self.results[key] for key in self.asked if key in self.results]
        best = max((result.score for result in ended if not math.isnan(result.score)), default=math.nan)
        done = len(ended) + len(archs) * (epoch - start) / (end - start)
        names = tuple(self.space.describe(arch) for arch in archs)
        loss = math.nan if loss_P is None else loss_P.nanmean().item()
        self.watch(TrainingProgress(names, done, len(self.asked), epoch, end, loss, best))

    def _write(self, keys: list[TrainingKey]) -> None:
        if self.file is None:
            return
        rows = [{**key._asdict(), **self.results[key]._asdict(), "loss": self.losses[key.index]} for key in keys]
        with self.file.open("a") as file:
            # The line break comes first, so that a line cut short by a kill does not spoil the next.
            file.write("".join(f"\n{json.dumps(row)}" for row in rows))

    def images(self, x: Tensor, y: Tensor) -> Images:
        """Images and their classes, on the device that trains."""
        return Images(*(t.to(self.device) for t in (x, y, self.data.mean, self.data.std)))
