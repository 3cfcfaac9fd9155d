"""The trainings of pipelines at levels of compute; kept in memory and in a file.

A level of compute is a multiple of a unit of multiply-accumulates: the network's of one image, times the images that pass through
it. So a larger network sees fewer images, and pipelines are compared at equal compute. Each level has its own whole schedule.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch

from nas import training
from nas.evaluators._jobs_progress import JobsProgress
from nas.evaluators._pipeline_jobs import PipelineJobs
from nas.training import Job, metrics
from nas.types import Watch
from search_spaces import UserError

FILE = "pipelines.jsonl"
"""In a run's folder, a line for each training."""
_REASON = 200
"""Characters of an error's message that are kept."""
_GIVE_UP = 8
"""Trainings that raise an error, with none that succeeds, after which the search ends, as in the other evaluator."""


class Key(NamedTuple):
    """Which training."""

    arch: str
    """As the space describes it."""
    level: int
    repeat: int = 0
    """Number of the training seed, and of the split where the data bear several; 0: the search's own."""


class Trained(NamedTuple):
    """The outcome of a training."""

    score: float
    """By the metric of the search, on the validation images, in percent; NaN where training failed."""
    seconds: float
    error: str = ""
    """Why there is no score, where training raised an error."""
    loss: tuple[float, ...] = ()
    """Mean training loss of each epoch."""
    mirrored: float = math.nan
    """As `score`, on the mirror images of the validation images: of a network that was trained without mirror images, and is
    better than chance."""


@dataclass
class PipelineTrainings(PipelineJobs):
    """All trainings of one search, with what came of them."""

    unit: float
    """Multiply-accumulates of level 1."""
    metric: str = "accuracy"
    """Of the score."""
    results: dict[Key, Trained] = field(default_factory=dict)
    file: Path | None = None
    watch: Watch | None = None

    def cache_to(self, file: Path) -> None:
        """Append every training to `file` from now on, and know those in it. A line cut short by a kill is trained again."""
        self.file = file
        for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else []:
            try:
                row = json.loads(line)
                key = Key(row["arch"], row["level"], row["repeat"])
                # A cache of an earlier version has no figure of mirror images.
                score, mirrored = (math.nan if x is None else x for x in (row["score"], row.get("mirrored")))
                found = Trained(score, row["seconds"], row["error"], (*row["loss"],), mirrored)
            except (ValueError, KeyError, TypeError):
                continue
            self.results[key] = found

    def train(self, keys: Sequence[Key]) -> None:
        """Train what is missing, as many side by side as there are cores. Ctrl-C loses what is under way."""
        missing = [key for key in dict.fromkeys(keys) if key not in self.results]
        jobs = [self._job_of(key) for key in missing]
        progress = None
        if self.watch is not None and jobs:
            progress = JobsProgress([key.arch for key in missing], jobs, self.device, self.watch)
        for n, outcome in training.train_each(jobs, self.device, progress):
            self.results[missing[n]] = found = _validated(outcome, jobs[n], self.metric)
            self._write(missing[n], found)
            if progress is not None:
                progress.best = max(
                    (one for one in (progress.best, found.score) if not math.isnan(one)), default=math.nan
                )
                progress.ended(n)
        failures = [found.error for found in self.results.values() if found.error]
        if len(failures) == len(self.results) >= _GIVE_UP:
            raise UserError(
                f"All {len(failures)} trainings so far have failed; the last with {failures[-1]}. Nothing can be searched until "
                "that is mended; then start a new run."
            )

    def mirrored_share(self) -> float:
        """What networks that were trained without mirror images have right on mirror images, as a share of what they have right.

        Over the trainings at the highest level that has such; NaN before there are any.
        """
        known = {
            key: found for key, found in self.results.items() if found.score > 0 and not math.isnan(found.mirrored)
        }
        highest = [found for key, found in known.items() if key.level == max(key.level for key in known)]
        return sum(found.mirrored for found in highest) / sum(found.score for found in highest) if known else math.nan

    def _job_of(self, key: Key) -> Job:
        job = self.job(key.arch, key.level * self.unit, key.repeat, key.level)
        job = self.with_valid(job, key.level, key.repeat)
        if job.recipe.flip:
            return job
        assert job.scored is not None
        x, y = job.scored.x, job.scored.y
        return job._replace(scored=job.scored._replace(x=torch.cat([x, x.flip(-1)]), y=torch.cat([y, y])))

    def _write(self, key: Key, found: Trained) -> None:
        if self.file is None:
            return
        row = key._asdict() | found._asdict()
        for name in ("score", "mirrored"):
            row[name] = None if math.isnan(row[name]) else row[name]
        row["loss"] = [round(loss, 5) for loss in found.loss if not math.isnan(loss)]
        with self.file.open("a", encoding="utf-8") as file:
            # The line break comes first, so that a line cut short by a kill does not spoil the next.
            file.write(f"\n{json.dumps(row, allow_nan=False)}")


def _validated(outcome: training.Trained, job: Job, metric: str) -> Trained:
    """The score of a training, or the reason why there is none. Raises what is of the user or of the disk."""
    error = outcome.error
    if error is not None:
        if isinstance(error, UserError | OSError):
            raise error
        reason = (str(error).strip() or type(error).__name__).partition("\n")[0][:_REASON]
        return Trained(math.nan, outcome.seconds, f"{type(error).__name__}: {reason}")
    assert outcome.logits is not None
    assert job.scored is not None
    score = mirrored = math.nan
    if not math.isnan(outcome.losses[-1]):
        classes, halves = outcome.logits.shape[-1], 1 if job.recipe.flip else 2
        pairs = list(zip(outcome.logits.argmax(-1).chunk(halves), job.scored.y.cpu().chunk(halves), strict=True))
        score, *rest = (metrics.score(metric, seen[None], y, classes).item() for seen, y in pairs)
        mirrored = rest[0] if rest and metrics.beats_chance(*pairs[0], classes) else math.nan
    return Trained(score, outcome.seconds, "", tuple(outcome.losses), mirrored)
