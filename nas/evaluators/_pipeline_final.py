"""The trainings of pipelines that follow a search: longer ones, each tested once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from nas import datasets, training
from nas.evaluators._final_training import AT_ONCE
from nas.evaluators._jobs_progress import JobsProgress
from nas.evaluators._pipeline_trainings import PipelineTrainings
from nas.training import Images, Job, Trained, metrics, step_time
from nas.training.under_way import FOLDER
from nas.types import FinalTraining, TrainedNetwork, TrainingProgress, Watch


class FinalKey(NamedTuple):
    """Which training; fields as in `FinalTraining`, the architecture as its space describes it."""

    arch: str
    seed: int = 0
    share: float = 1.0
    held_out: bool = False


@dataclass
class PipelineFinals:
    """The final trainings on one dataset; one that was done is not done again."""

    trainings: PipelineTrainings
    """Of the search: its images, its recipes, whoever watches."""
    final: float
    """Multiply-accumulates of a training."""
    targets: Callable[[Images, bool, Watch | None], Tensor] | None = None
    """As in `FinalTrainings`: a teacher's, of images at the data's own size; None: the labels."""
    _done: dict[FinalKey, TrainedNetwork] = field(default_factory=dict)

    def seconds(self, arch: Tensor, *, whole: bool = False) -> float:
        """About how many seconds the training of `arch` `[D]` takes here, by a few steps.

        Args:
            whole: with all the compute that there is, also where images pass a network of this size no more often.
        """
        job, device = self.job(FinalKey(self.trainings.space.describe(arch))), self.trainings.device
        # Beside the network that it is compared with, and those by which both are judged: a core each.
        beside = min(AT_ONCE, training.at_once(job.space, job.task, device, job.recipe.precision))
        seconds = step_time.measure_side_by_side(job, beside, device)
        passes = job.recipe.passes(len(job.images.y)) * job.recipe.epochs
        return seconds * (self.trainings.seen(arch, self.final) if whole else passes)

    def networks(self, asked: Sequence[FinalTraining], watch: Watch | None = None) -> list[TrainedNetwork]:
        """The trained networks, in order."""
        made = dict(self.each(asked, watch))
        return [made[n] for n in range(len(asked))]

    def each(self, asked: Sequence[FinalTraining], watch: Watch | None = None) -> Iterator[tuple[int, TrainedNetwork]]:
        """The trained networks with their places, as each ends. Of pipelines that compute the same, the caller asks for one.

        Args:
            watch: is told of every epoch; None: whoever watches the search.
        """
        describe, device = self.trainings.space.describe, self.trainings.device
        keys = [FinalKey(describe(one.arch), one.seed, one.share, one.held_out) for one in asked]
        missing = [key for key in dict.fromkeys(keys) if key not in self._done]
        yield from ((n, self._done[key]) for n, key in enumerate(keys) if key not in missing)
        targets = {held_out: self._targets(held_out, watch) for held_out in {key.held_out for key in missing}}
        jobs = [self.job(key, targets[key.held_out]) for key in missing]
        if len(missing) == 1 and not any(one.beside for one in asked):
            outcome = self._alone(missing[0], jobs[0], watch or self.trainings.watch)
            yield from self._ended(keys, missing[0], outcome)
        else:
            tell = watch or self.trainings.watch
            progress = None if tell is None else JobsProgress([key.arch for key in missing], jobs, device, tell)
            for n, outcome in training.train_each(jobs, device, progress):
                if outcome.error is not None:
                    raise outcome.error
                yield from self._ended(keys, missing[n], outcome)

    def _ended(self, keys: list[FinalKey], key: FinalKey, outcome: Trained) -> Iterator[tuple[int, TrainedNetwork]]:
        """The network of a training, at each place that asks for it."""
        self._done[key] = network = self._network(key, outcome)
        yield from ((n, network) for n, other in enumerate(keys) if other == key)

    def _targets(self, held_out: bool, watch: Watch | None) -> Tensor | None:
        """Of all images of training and then validation, `[N, K]`; None: their labels."""
        if self.targets is None:
            return None
        data = self.trainings.data
        x, y = torch.cat([data.x_train, data.x_valid]), torch.cat([data.y_train, data.y_valid])
        return self.targets(self.trainings.images(x, y), held_out, watch).cpu()

    def job(self, key: FinalKey, targets: Tensor | None = None) -> Job:
        """The training, with the images that it is tested on: the validation images where those were held out.

        Args:
            targets: as `PipelineJobs.job` has them.
        """
        own = self.trainings
        # One split whatever the seed: another would train on some of the images that judge it.
        job = own.job(key.arch, key.share * self.final, final=not key.held_out, targets=targets)
        job = job._replace(recipe=job.recipe._replace(seed=own.seed_of(key.seed)))
        x, y = self._judged(key)
        # Under way in the run's folder, where the trainings of the search have their file.
        kept_in = None if own.file is None else own.file.parent / FOLDER
        return job._replace(scored=own.images(datasets.resize(x, job.task.input_shape[1]), y), kept_in=kept_in)

    def _judged(self, key: FinalKey) -> tuple[Tensor, Tensor]:
        data = self.trainings.data
        return (data.x_valid, data.y_valid) if key.held_out else (data.x_test, data.y_test)

    def _alone(self, key: FinalKey, job: Job, watch: Watch | None) -> Trained:
        """A training that has all cores, and tells of each epoch."""

        def tell(losses: list[float]) -> None:
            if watch is not None:
                epoch, epochs = len(losses), job.recipe.epochs
                watch(TrainingProgress((key.arch,), epoch / epochs, 1, epoch, epochs, losses[-1], math.nan))

        return training.train_alone(job, self.trainings.device, tell)

    def _network(self, key: FinalKey, outcome: Trained) -> TrainedNetwork:
        own, (_, y) = self.trainings, self._judged(key)
        data, arch = own.data, own.space.parse(key.arch)
        assert outcome.logits is not None
        measured = metrics.test_metrics(outcome.logits, y) | {"loss": outcome.losses}
        shape, mirror = own.space.sized(arch, own.task).input_shape, own.space.settings_of(arch).twice
        return TrainedNetwork(
            key.arch,
            outcome.weights,
            data.mean,
            data.std,
            data.class_names,
            measured,
            shape,
            mirror,
            data.deep,
            outcome.seconds,
        )
