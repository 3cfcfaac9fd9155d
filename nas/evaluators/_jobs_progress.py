"""Where trainings side by side stand: told after each epoch of any of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from threading import Lock

import torch

from nas.training import Job, at_once
from nas.training.train import work
from nas.types import TrainingProgress, Watch


class JobsProgress:
    """Of `jobs`, which `nas.training.train_each` trains; it is what that function tells of each epoch."""

    def __init__(self, names: Sequence[str], jobs: Sequence[Job], device: torch.device, watch: Watch):
        """`watch` is told by the thread that trains, by one at a time."""
        self._names, self._watch, self._lock = names, watch, Lock()
        self._epochs = [job.recipe.epochs for job in jobs]
        self._lengths = [_length(job, device) for job in jobs]
        first = jobs[0]
        self._cores = at_once(first.space, first.task, device, first.recipe.precision)
        self._losses: list[list[float]] = [[] for _ in jobs]
        self._shares = [0.0 for _ in jobs]
        self.best = math.nan
        """As of `TrainingProgress`; whoever knows it sets it."""

    def __call__(self, place: int, losses: list[float]) -> None:
        """An epoch of the job at `place` has ended; `losses` are those of all its epochs so far."""
        self._tell(place, losses, len(losses) / self._epochs[place])

    def ended(self, place: int) -> None:
        """The job at `place` has ended, in whatever way."""
        self._tell(place, self._losses[place], 1.0)

    def _tell(self, place: int, losses: list[float], share: float) -> None:
        with self._lock:
            self._losses[place], self._shares[place] = losses, share
            others = (n for n, one in enumerate(self._shares) if 0 < one < 1 and n != place)
            self._watch(
                TrainingProgress(
                    # The one that the epoch and the loss are of comes first.
                    tuple(self._names[n] for n in (place, *others)),
                    sum(self._shares),
                    len(self._shares),
                    len(losses),
                    self._epochs[place],
                    losses[-1] if losses else math.nan,
                    self.best,
                    self._share_of_time(),
                )
            )

    def _share_of_time(self) -> float:
        """Of the time of all, what is over: the cores share what is left, and no job has more than one of them."""
        left = [length * (1 - share) for length, share in zip(self._lengths, self._shares)]
        whole, rest = (max(max(each), sum(each) / self._cores) for each in (self._lengths, left))
        return 1 - rest / whole


def _length(job: Job, device: torch.device) -> float:
    """Of a training, to be compared with that of others beside it."""
    flops = work(job.space, job.arch, job.task, device, job.recipe.precision) or 1
    return float(flops) * len(job.images.y) * job.recipe.epochs
