"""Scores of whole pipelines from real training, at levels of compute; and the winner's final training.

A search asks for levels: each is a training with so many multiply-accumulates, by the pipeline's own recipe. The final training
is one more level, the highest, on training and validation images together.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from controller import Proposal, Results
from nas import datasets, training
from nas.datasets import DataSet, meta_features
from nas.evaluators import _settings
from nas.evaluators._distillation import COMPARED, DistilledTrainings, Teaching, Trainings
from nas.evaluators._final_training import AT_ONCE, JUDGED_STEPS
from nas.evaluators._pipeline_final import FinalKey, PipelineFinals
from nas.evaluators._pipeline_trainings import FILE, Key, PipelineTrainings
from nas.evaluators._settings import PipelineSettings
from nas.training import metrics, step_time
from nas.training.recipe import PRECISIONS, Recipe
from nas.types import Defaults, Evaluate, FinalTraining, TrainedNetwork, TrainingEvaluator, Watch
from search_spaces import Task
from search_spaces.nasbench201 import NasBench201
from search_spaces.pipeline import Pipeline, Settings

__all__ = ["PipelineTraining"]

LEVELS = (1, 3)
"""Levels of compute of a search, the second three times the first, as in Hyperband (Li et al. 2018, section 3.6: 3 or 4 change
little). Only two: at a third, lower one the smallest networks win everywhere, and so they did in the end (`grocery_coarse`: 42%
of the test images after three minutes, where an ordinary network had 62%)."""
_COUNTS = (12, 4)
"""Trainings of each level that the time of a search is divided by: half of it goes to each. In three minutes of two cores, the
final training then has twice the compute of the highest level."""
_WARM_COUNTS = (9, 3)
"""The same of a search with a prior, whose first nine are good ones. With three cores or more there are more, in as
many steps."""
_MOST_AT_ONCE = 8
"""Trainings of a search side by side, however many cores there are: each takes some hundred megabytes. Not ablated."""
_BATCHES = 4, 1
"""Of a level each, that a search has time for at least. A batch goes on when it is the best third of what was trained. So three
would do; the fourth is for pipelines that come twice, and for steps that take longer than planned."""
_LEAST_UNITS = 6
"""Of the lower level's time: three batches on it, and one on the higher."""
_LEAST_EPOCHS = 2
"""Of the lowest level, of the yardstick, at least: after one, all pipelines were at chance on `fer2013`. With too few minutes for
that, a search makes fewer trainings."""
_EPOCHS = 6
"""The same where no minutes are given, and so many steps besides as a judged training has at least."""
_FINAL = 9
"""Units of the final training, where no minutes are given: three times the highest level, as between the others."""
_FASTER = 0.9
"""Of float32's time for the yardstick, from which on bfloat16 is taken: a step's time is known to some percent."""
_YARDSTICK = NasBench201(16, 1, 2)
"""The network by which compute is measured: its ResNet cell."""
_TIMED = Settings(cells=0, stem=2, crop=0.125, smoothing=0.1, average=0.3)
"""The pipeline that is timed, with the ResNet cell: what most searches hand out. Its multiply-accumulates take a fifth more than
the yardstick's, as its steps are smaller; crops and averages take time too."""
_AUGMENTED = 0.79
"""Of a network's epochs, those that it has time for with RandAugment: on ten sets it took 1.19 to 1.38 times as long
(`runs/pipeline_ends.sh`)."""
_G = 1e9
_WITH_WHOLE_IMAGE, _WIDER = 100, 200
"""Epochs that a network with a stem of stride 1, and a wider one, must have in the final training to take the place of what was
found. By development sets (`runs/pipeline_ends.sh --sizes`)."""
_MIRRORS_FROM = 0.9
"""What is right on mirror images, as a share of what is right, from which final trainings have them. By development sets."""


@dataclass(frozen=True)
class PipelineTraining:
    """Trains the proposed pipelines. Scores depend neither on the search's seed nor on what is trained side by side."""

    space: Pipeline
    task: Task
    data: DataSet = field(repr=False, compare=False)
    unit: float
    """Multiply-accumulates of level 1."""
    final: float
    """Multiply-accumulates of the final training."""
    seed: int
    device: torch.device
    metric: str = "accuracy"
    """What the score is on the validation images: one of `nas.training.metrics.METRICS`."""
    ensemble: bool = True
    """Whether the mean of two networks may be handed out."""
    precision: str = "float32"
    """Of training."""
    precisions: tuple[str, ...] = PRECISIONS
    """By the faster of which the minutes of a run are planned: that which was asked for, else all."""
    balanced: bool = False
    """Whether every training weighs its classes."""
    teaching: Teaching | None = field(default=None, compare=False)
    """What the final trainings learn from besides the labels, where it helps."""
    _measured: dict[int, float] = field(default_factory=dict, init=False, repr=False, compare=False)
    """Seconds, by how many are trained side by side."""

    # No leaders: the levels of compute tell them apart.
    defaults = Defaults(budget=sum(_COUNTS), batch=2, leaders=0)

    @property
    def training(self) -> TrainingEvaluator:
        return self

    @classmethod
    def of(cls, name: str, **settings: str) -> PipelineTraining:
        """The evaluator of a dataset. Raises `UserError` for a setting that does not exist."""
        asked = _settings.read(settings, PipelineSettings)
        data = datasets.load(name, asked.image_size)
        datasets.check(data)
        shape = (data.x_train.shape[1], data.x_train.shape[2], data.x_train.shape[3])
        features = meta_features.features(data.x_train, data.y_train)
        task = Task(name, shape, len(data.class_names), features, LEVELS)
        device = _settings.usable_device(asked.device)
        # As many images as pass through the yardstick.
        passes = max(_EPOCHS * len(data.y_train), JUDGED_STEPS * min(Recipe(1).batch, len(data.y_train)))
        unit = asked.unit * _G if asked.unit else passes * _flops_of_yardstick(task)
        final = asked.final * _G if asked.final else _FINAL * unit
        space, teaching = Pipeline(), None
        if asked.teacher:
            teaching = Teaching.of(asked.teacher, asked.temperature, asked.teacher_share, space, data)
        return cls(
            space,
            task,
            data,
            unit,
            final,
            asked.seed,
            device,
            asked.metric,
            asked.ensemble,
            asked.precision,
            (asked.precision,) if "precision" in settings else PRECISIONS,
            asked.balanced,
            teaching,
        )

    def at_once(self, seeds: int) -> int:
        return max(self.defaults.batch, min(_MOST_AT_ONCE, self.final_cores() // seeds))

    def final_cores(self) -> int:
        space, task = NasBench201(*self.space.skeleton_of(self._timed)), self.space.sized(self._timed, self.task)
        return training.at_once(space, task, self.device, self.precision)

    def beside_seconds(self) -> float:
        return self.final_seconds()

    def timed(
        self, search: float, final: float, *, warm: bool = False, seeds: int = 1, batch: int | None = None
    ) -> dict[str, str]:
        batch = self.at_once(seeds) if batch is None else batch
        most = self.final_cores()
        cores, flops = min(most, seeds * batch), int(self.space.cost(self._timed, self.task)[1])
        # A training has one core, beside others; no more than a step of the searches has.
        speed = flops / self._seconds_beside(cores)
        counts = (
            max(few, times * batch) for few, times in zip(_WARM_COUNTS if warm else _COUNTS, _BATCHES, strict=True)
        )
        units = seeds * sum(level * count for level, count in zip(LEVELS, counts, strict=True)) / cores
        # A step of more trainings than cores takes several rounds.
        unit = search * speed / max(units, math.ceil(seeds * batch / cores) * _LEAST_UNITS)
        unit = max(unit, _LEAST_EPOCHS * len(self.data.y_train) * _flops_of_yardstick(self.task))
        # The end may have more trainings beside one another than a step of the search.
        if (beside := min(AT_ONCE, most)) > cores:
            speed = flops / self._seconds_beside(beside)
        found = {"unit": f"{unit / _G:.4g}", "final": f"{max(final * speed, unit) / _G:.4g}"}
        return found if self.precision == "float32" else found | {"precision": self.precision}

    def in_faster_precision(self) -> PipelineTraining:
        return self._in_faster_precision

    @cached_property
    def _in_faster_precision(self) -> PipelineTraining:
        each = {one: replace(self, precision=one, precisions=(one,)) for one in self.precisions}
        if len(each) == 1:
            return next(iter(each.values()))
        cores = {name: min(_MOST_AT_ONCE, one.final_cores()) for name, one in each.items()}
        shares = {name: one._seconds_beside(cores[name]) / cores[name] for name, one in each.items()}
        return each["bf16" if shares["bf16"] < _FASTER * shares["float32"] else "float32"]

    def _seconds_beside(self, copies: int) -> float:
        """Of the pipeline that is timed, beside others, for an image and an epoch; measured once."""
        if copies not in self._measured:
            job = self.trainings.job(self.space.describe(self._timed), self.unit)
            self._measured[copies] = step_time.measure_side_by_side(job, copies, self.device)
        return self._measured[copies]

    def lengthened(self, final: float) -> dict[str, str]:
        return {"final": f"{max(self.final * final / self.planned_seconds(), self.unit) / _G:.4g}"}

    @cached_property
    def trainings(self) -> PipelineTrainings:
        """What was trained so far for the search."""
        return PipelineTrainings(
            self.space,
            self.task,
            self.data,
            self.seed,
            self.device,
            LEVELS,
            self.unit,
            self.metric,
            precision=self.precision,
            balanced=self.balanced,
        )

    @property
    def final_space(self) -> Pipeline:
        return self.space

    @property
    def data_notes(self) -> tuple[str, ...]:
        return datasets.describe(self.data) + (self.teaching.notes if self.teaching else ())

    @property
    def description(self) -> str:
        C, H, W = self.task.input_shape
        levels = ", ".join(f"{level * self.unit / _G:.3g}" for level in LEVELS)
        return (
            f"score: validation {metrics.METRIC_NAMES[self.metric]} of whole pipelines, images of at most {W}x{H}x{C}, after "
            f"{levels} x 10^9 multiply-accumulates; report: test accuracy after {self.final / _G:.3g} x 10^9"
        )

    @cached_property
    def data_digest(self) -> str:
        """Of the images as they were read, their splits and their classes; of no file's name."""
        return datasets.digest(self.data)

    @property
    def engine(self) -> str:
        return training.engine(_YARDSTICK, self.task, self.device, self.precision)

    def load(self, seeds: Tensor) -> Evaluate:
        def evaluate(proposal: Proposal) -> Results:
            S, B = proposal.archs.shape[:2]
            levels = torch.full((S, B), LEVELS[-1]) if proposal.epochs is None else proposal.epochs
            keys = self._keys(proposal.archs, levels.flatten().tolist())
            self.trainings.train(keys)
            found = [self.trainings.results[key] for key in keys]
            score, cost = (torch.tensor([values[i] for values in found]).view(S, B) for i in (0, 1))
            return Results(score, cost)

        return evaluate

    def _keys(self, archs: Tensor, levels: Sequence[int], repeat: int = 0) -> list[Key]:
        distinct = self._trained_as(archs).reshape(-1, archs.shape[-1])
        return [Key(self.space.describe(arch), level, repeat) for arch, level in zip(distinct, levels, strict=True)]

    def report(self, archs: Tensor) -> Tensor:
        finals = [self.final_arch(arch, twice=False, larger=False) for arch in archs.flatten(0, -2)]
        tested = [self.final_network(arch).tested for arch in finals]
        return torch.tensor(tested).view(archs.shape[:-1])

    @property
    def validation_images(self) -> int:
        """Those of the highest level."""
        y = torch.cat([self.data.y_train, self.data.y_valid])
        return metrics.effective_images(self.metric, y[self.trainings.validating(LEVELS[-1])])

    def watch(self, tell: Watch | None) -> None:
        self.trainings.watch = tell

    def cache_to(self, folder: Path) -> None:
        self.trainings.cache_to(folder / FILE)

    def retrain(self, archs: Tensor, repeat: int) -> Tensor:
        keys = self._keys(archs, [LEVELS[-1]] * len(archs), repeat)
        self.trainings.train(keys)
        return torch.tensor([self.trainings.results[key].score for key in keys])

    def failures(self) -> list[str]:
        return [found.error for found in self.trainings.results.values() if found.error]

    def training_loss(self, arch: Tensor) -> list[float]:
        """Of its training at the highest level that it came to."""
        name = self.space.describe(self._trained_as(arch))
        levels = [found for key, found in self.trainings.results.items() if key.arch == name and not key.repeat]
        return list(levels[-1].loss) if levels else []

    def equivalents(self, archs: Tensor) -> Tensor:
        return self.space.canonical(archs)

    def _trained_as(self, archs: Tensor) -> Tensor:
        """Those that stand for all that have the same training on these images; names do without, as they know no images."""
        return self.space.with_one_size(self.equivalents(archs), self.task)

    def reference(self, arch: Tensor) -> Tensor:
        return self.space.with_reference_cell(arch)

    @property
    def images(self) -> dict[str, tuple[Tensor, Tensor]]:
        data = self.data
        return {
            "train": (data.x_train, data.y_train),
            "valid": (data.x_valid, data.y_valid),
            "test": (data.x_test, data.y_test),
        }

    def test_images(self, places: Tensor) -> Tensor:
        return self.data.x_test[places]

    @cached_property
    def _finals(self) -> PipelineFinals:
        return PipelineFinals(self.trainings, self.final)

    @cached_property
    def _taught(self) -> Trainings:
        """The final trainings, with a teacher where there is one and it helps."""
        if self.teaching is None or self.teaching.known is None:
            return self._finals
        teacher = self.teaching.known
        taught = replace(self._finals, targets=self.teaching.targets_of(teacher), _done={})
        return DistilledTrainings(self._finals, taught, teacher, self.teaching.teacher, self.metric)

    @property
    def mirrored_share(self) -> float | None:
        share = self.trainings.mirrored_share()
        return None if math.isnan(share) else round(min(share, 1.0), 4)

    def final_arch(self, arch: Tensor, *, twice: bool, larger: bool) -> Tensor:
        """With mirror images, where networks that never saw any have nearly as much right on them; larger, where there is time.

        Short trainings do not show what mirror images are worth: images are new for long without them. Nor do they show what a
        large network is worth, which sees its images less often for the same compute.
        """
        if not self.space.settings_of(arch).mirror and (self.mirrored_share or 0.0) >= _MIRRORS_FROM:
            arch = self.space.with_mirrors(arch, twice=twice)
        return self._grown(arch) if larger else arch

    def _grown(self, arch: Tensor) -> Tensor:
        """`arch` `[D]` in the largest network that still sees its images often enough, and with which the plain one does."""
        images = len(self.data.y_train) + len(self.data.y_valid)
        for larger, epochs in (self.space.with_whole_image(arch), _WITH_WHOLE_IMAGE), (self.space.wider(arch), _WIDER):
            if larger is None:
                continue
            seen = [self.trainings.seen(one, self.final) for one in (larger, self.space.with_reference_cell(larger))]
            if min(seen) >= epochs * images:
                return self._grown(larger)
        return arch

    def second(self, arch: Tensor) -> FinalTraining:
        """With RandAugment where `arch` has none, without it where it has: two networks that saw other images err apart.

        On six development sets the ensemble of such a pair has 2.6 +- 1.0 points more right than one network; with another seed
        alone it was 1.5 +- 1.5 on three (`runs/pipeline_ends.sh`, validation images).
        """
        other = self.space.with_other_augmentation(arch)
        return FinalTraining(other, 1, _AUGMENTED if self.space.settings_of(other).augment else 1.0)

    def teaching_seconds(self) -> float:
        return self.teaching_trainings * self.final_seconds() if self.teaching else 0.0

    @property
    def teaching_trainings(self) -> float:
        return COMPARED if self.teaching else 0.0

    def final_seconds(self, arch: Tensor | None = None) -> float:
        return self._finals.seconds(self._timed if arch is None else self.equivalents(arch))

    def planned_seconds(self) -> float:
        return self._finals.seconds(self._timed, whole=True)

    def longest_seconds(self) -> float:
        return min(self._finals.seconds(self._grown(self._timed)), self.planned_seconds())

    @property
    def _timed(self) -> Tensor:
        return self.space.arch_of(self.space.cell_of(self.space.reference_arch), _TIMED)

    def final_flops(self, arch: Tensor) -> float:
        """All pipelines have the same, but for whole epochs and for the most epochs that there are."""
        job = self._finals.job(FinalKey(self.space.describe(self.equivalents(arch))))
        return float(self.space.cost(arch, self.task)[1]) * job.recipe.passes(len(job.images.y)) * job.recipe.epochs

    def final_network(self, arch: Tensor, *, seed: int = 0) -> TrainedNetwork:
        return self.final_networks([FinalTraining(arch, seed)])[0]

    def each_final_network(self, trainings: Sequence[FinalTraining]) -> Iterator[tuple[int, TrainedNetwork]]:
        asked = [one._replace(arch=self.equivalents(one.arch)) for one in trainings]
        return self._taught.each(asked, self.trainings.watch)

    def final_networks(self, trainings: Sequence[FinalTraining]) -> list[TrainedNetwork]:
        made = dict(self.each_final_network(trainings))
        return [made[n] for n in range(len(trainings))]


def _flops_of_yardstick(task: Task) -> int:
    return int(_YARDSTICK.cost(_YARDSTICK.reference_arch, task)[1])
