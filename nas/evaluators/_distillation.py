"""Final trainings with a teacher, where validation images say that it helps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from nas.datasets import DataSet
from nas.evaluators import _teacher
from nas.evaluators._final_training import FinalTrainings
from nas.evaluators._teacher import Teacher
from nas.training import Images, metrics
from nas.types import FinalTraining, TrainedNetwork, Watch
from search_spaces import Space

HELD_OUT = 0.8
"""Of the time of a final training, one on the training images alone: the validation images are a fifth of both."""
COMPARED = 2 * HELD_OUT
"""Final trainings that the comparison of networks with and without a teacher takes."""
KEY = "distillation"
"""Of a trained network's metrics: what the teacher was worth."""


Targets = Callable[[Images, bool, Watch | None], Tensor]
"""From images, and whether the validation images are held out, to shares of classes `[N, K]`."""


class Trainings(Protocol):
    """Final trainings on one dataset."""

    def networks(self, trainings: list[FinalTraining], watch: Watch | None = None, /) -> list[TrainedNetwork]:
        """The trained networks, in order."""
        ...

    def each(
        self, trainings: list[FinalTraining], watch: Watch | None = None, /
    ) -> Iterator[tuple[int, TrainedNetwork]]:
        """The trained networks with their places, as each ends."""
        ...


class Teaching(NamedTuple):
    """What final trainings learn from besides the labels."""

    teacher: str
    """`wide`, or what `_teacher.given` takes."""
    temperature: float
    share: float
    """Of the targets; the labels have the rest."""
    known: Teacher | None = None
    """One of somebody's, loaded; None: the wide one."""
    notes: tuple[str, ...] = ()
    """Lines on how it sees the images."""

    @classmethod
    def of(cls, name: str, temperature: float, share: float, space: Space, data: DataSet) -> Teaching:
        """Raises `UserError` for a teacher that is none, or that cannot answer to the images: before the search, not after it."""
        if name == _teacher.WIDE:
            _teacher.wide(space)
            return cls(name, temperature, share)
        known = _teacher.given(name, data.class_names)
        known.logits(Images(data.x_train[:2], data.y_train[:2], data.mean, data.std), True, None)
        return cls(name, temperature, share, known, _teacher.notes(known, data.x_train.shape[-1]))

    def seconds(self, space: Space, seconds_in: Callable[[Space, Tensor | None], float]) -> float:
        """What it adds to the final training of a network of `space`: the comparison, and the training of the wide teacher.

        Args:
            seconds_in: of the final recipe by the networks of a space; of one architecture, `[1, D]`, if it is given.
        """
        compared = COMPARED * seconds_in(space, None)
        if self.known is not None:
            return compared
        wide = _teacher.wide(space)
        return compared + (1 + HELD_OUT) * seconds_in(wide, wide.reference_arch[None])

    def trainings(
        self, plain: FinalTrainings, trainings_in: Callable[[Space], FinalTrainings], metric: str
    ) -> DistilledTrainings:
        """Those of `plain`, with or without the teacher.

        Args:
            trainings_in: makes the trainings of networks of another space.
            metric: by which the validation images decide.
        """
        teacher = self.known or _teacher.WideTeacher(trainings_in(_teacher.wide(plain.space)))
        taught = replace(plain, targets=self.targets_of(teacher), _done={})
        return DistilledTrainings(plain, taught, teacher, self.teacher, metric)

    def targets_of(self, teacher: Teacher) -> Targets:
        """What final trainings learn from `teacher`."""

        def targets(images: Images, held_out: bool, watch: Watch | None) -> Tensor:
            return _teacher.targets(teacher.logits(images, held_out, watch), images.y, self.temperature, self.share)

        return targets


@dataclass(frozen=True)
class DistilledTrainings:
    """As `Trainings`: by a teacher's targets or by the labels alone, whichever gives the better network."""

    plain: Trainings
    taught: Trainings
    teacher: Teacher
    name: str
    metric: str
    """By which they are compared on the validation images."""
    _worth: dict[str, float] = field(default_factory=dict)

    def networks(self, trainings: list[FinalTraining], watch: Watch | None = None) -> list[TrainedNetwork]:
        """The trained networks, in order."""
        made = dict(self.each(trainings, watch))
        return [made[n] for n in range(len(trainings))]

    def each(self, trainings: list[FinalTraining], watch: Watch | None = None) -> Iterator[tuple[int, TrainedNetwork]]:
        """The trained networks with their places, as each ends.

        The last architecture of the first call decides for all whether they are taught.
        """
        if not self._worth:
            self._compare(FinalTraining(trainings[-1].arch, held_out=True), watch)
        helps = self._worth["with"] > self._worth["without"]
        about = {"teacher": self.name, "used": helps, **self._worth, "metric": self.metric}
        spent = self.teacher.seconds if helps else 0.0
        for n, one in (self.taught if helps else self.plain).each(trainings, watch):
            yield n, one._replace(metrics=one.metrics | {KEY: about}, seconds=one.seconds + spent)

    def _compare(self, asked: FinalTraining, watch: Watch | None) -> None:
        """The score on the validation images after training on the training images, with and without the teacher."""
        for name, trainings in (("with", self.taught), ("without", self.plain)):
            (made,) = trainings.networks([asked], watch)
            seen, truth = (torch.tensor(made.metrics[key]) for key in ("test_predictions", "test_labels"))
            score = metrics.score(self.metric, seen[None], truth, len(made.class_names)).item()
            self._worth[name] = 0.0 if made.diverged else score
