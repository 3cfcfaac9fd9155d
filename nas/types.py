"""The types of evaluators and of what they hand out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn

from controller import Prior, Proposal, Results
from search_spaces import Space, Task

Evaluate = Callable[[Proposal], Results]
"""Proposals `[S, B, D]` to scores and costs `[S, B]`; a pure function of the proposal and of the seeds it was loaded for."""


Memory = Any
"""A `NamedTuple` of tensors `[S, ...]`: all that changes while an evaluator with a memory answers."""
EvaluateWithMemory = Callable[[Proposal, Memory], tuple[Results, Memory]]
"""A pure function too: of the proposal, the memory and the seeds it was loaded for. The memory it is given stays as it is."""


@dataclass(frozen=True)
class Architecture:
    """One architecture as people's own code sees it."""

    space: Space = field(repr=False, compare=False)
    indices: tuple[int, ...]
    """The option of each decision."""
    epochs: int | None = None
    """How long it is to be trained, where the controller says so."""

    @classmethod
    def of(cls, space: Space, arch: Tensor, epochs: int | None = None) -> Architecture:
        """That of a row `[D]`."""
        return cls(space, tuple(arch.tolist()), epochs)

    @property
    def choices(self) -> dict[str, str]:
        """The option's name of each decision, by the decision's name."""
        named = zip(self.space.decisions, self.space.operations, self.indices)
        return {decision: names[at] for decision, names, at in named}

    @property
    def text(self) -> str:
        """As its space describes it."""
        return self.space.describe(self.tensor)

    @property
    def tensor(self) -> Tensor:
        """int64 `[D]`."""
        return torch.tensor(self.indices)

    def build(self, task: Task) -> nn.Module:
        """Its network, untrained: images `[N, *task.input_shape]` to logits `[N, task.num_classes]`."""
        return self.space.build(self.tensor, task)


class Defaults(NamedTuple):
    """How long a search is, and how wide, when the user does not say."""

    budget: int
    """Evaluations of each seed."""
    batch: int
    """Architectures evaluated at once."""
    leaders: int | None = None
    """How many of the best are trained again by the last evaluations; None: as many as the budget bears."""


_SPLITS = {"valid": "validation", "train": "training"}


class Objective(NamedTuple):
    """What stands behind the score of a task."""

    split: str | None
    """Of the examples: `valid`, `test`, `train`; None where the source names none."""
    training_seeds: int | None
    """Of each architecture, at most; None where the source does not say."""
    drawn: bool = False
    """The score is of one of them, drawn for each evaluation; else it is their mean."""

    @property
    def text(self) -> str:
        """The split and the seeds, in words."""
        return f"{self.split_text}, {self.seeds_text}"

    @property
    def split_text(self) -> str:
        return f"{_SPLITS.get(self.split, self.split)} split" if self.split else "no split named"

    @property
    def seeds_text(self) -> str:
        if self.training_seeds is None:
            return "one training seed, drawn" if self.drawn else "number of training seeds not stated"
        if self.training_seeds == 1:
            return "one training seed"
        return f"{'one drawn of' if self.drawn else 'mean of'} up to {self.training_seeds} training seeds"


# A `state_dict` and not a module: it outlives the classes that made it, and an export needs only names and tensors.
class TrainedNetwork(NamedTuple):
    """A network after its final training."""

    arch: str
    """As its space describes it."""
    state_dict: dict[str, Tensor]
    """Of `final_space.build(arch, task)`."""
    mean: Tensor
    """float32 `[C]` of pixels / 255: training subtracted `mean` and divided by `std`."""
    std: Tensor
    class_names: tuple[str, ...]
    metrics: dict[str, Any]
    """`test_accuracy` in percent, `interval` around it, `confusion` `[K, K]` (rows: true classes), `loss` of each epoch.

    Of each of the `N` test images `test_labels` and `test_predictions` (lists) and `test_probabilities`, a tensor float32
    `[N, K]`; networks of version 0.1 lack these three."""
    input_shape: tuple[int, int, int] | None = None
    """Channels, height, width of the images that it takes; None: those of its task."""
    mirror: bool = False
    """Its answer is the mean of the logits of an image and of its mirror image."""
    deep: tuple[int, int] | None = None
    """Black and white of image files with more than 8 bits a channel; None: it was trained on none."""
    seconds: float = math.nan
    """Of wall clock that its training took; not kept with it, so NaN where it was read from a file."""
    members: tuple[str, ...] = ()
    """Architectures of an ensemble, as their space describes them, `arch` the first: its logits are the mean of theirs, and
    `state_dict` has the weights of each under `members.0.` and on. Empty: it is one network."""

    @property
    def diverged(self) -> bool:
        """Whether it answers a test image with no finite number: such a network is good for nothing.

        Where its answers are not known, whether a weight is NaN. A buffer may be infinite by design, as that of a mask is.
        """
        answers = self.metrics.get("test_probabilities")
        if answers is not None:
            return not bool(answers.isfinite().all())
        return any(bool(one.isnan().any()) for one in self.state_dict.values())

    @property
    def tested(self) -> float:
        """Its test accuracy in percent; NaN where it diverged, as its answers are then the first class for every image."""
        return math.nan if self.diverged else self.metrics["test_accuracy"]


class Evaluator(Protocol):
    """Scores architectures on one task."""

    @property
    def space(self) -> Space: ...

    @property
    def task(self) -> Task: ...

    @property
    def defaults(self) -> Defaults: ...

    @property
    def description(self) -> str:
        """One line: which metric is the score, on which split and over how many training seeds; which is reported at the end."""
        ...

    # A field and not a type to test for: the evaluators that wrap another hand on what theirs has.
    @property
    def training(self) -> TrainingEvaluator | None:
        """The evaluator that trains the networks: itself, or the one that it wraps. None where scores are looked up."""
        ...

    def load(self, seeds: Tensor) -> Evaluate:
        """The objective column, for searches with `seeds` int64 `[S]`. Never a test metric."""
        ...

    def report(self, archs: Tensor) -> Tensor | None:
        """The test column of `archs` `[..., D]`, float32 `[...]`; None where the task has none. Read after the search."""
        ...


class TrainingEvaluator(Evaluator, Protocol):
    """An evaluator that trains networks: it caches them, and can train the best architecture to the end."""

    @property
    def final_space(self) -> Space:
        """The space of the final network: usually wider and deeper than the proxy that the search trains."""
        ...

    @property
    def data_notes(self) -> tuple[str, ...]:
        """Lines about the images: how many of each class are in each split, what is left out, what overlaps."""
        ...

    def cache_to(self, folder: Path) -> None:
        """Write each training into a run's `folder`, and take from there what earlier sessions trained."""
        ...

    def failures(self) -> list[str]:
        """Why trainings raised an error, a line for each, in the order in which they did."""
        ...

    def training_loss(self, arch: Tensor) -> list[float]:
        """The mean training loss after each epoch of the proxy of `arch` `[D]`; empty if it was not trained."""
        ...

    @property
    def validation_images(self) -> int:
        """How many images a score is the accuracy on; of another metric, how many an accuracy as uncertain would be on."""
        ...

    def equivalents(self, archs: Tensor) -> Tensor:
        """The one architecture `[..., D]` that is trained for all that compute the same."""
        ...

    def retrain(self, archs: Tensor, repeat: int) -> Tensor:
        """Validation accuracy in percent `[N]` of the proxies of `archs` `[N, D]`, trained with another seed.

        NaN where training failed. It is cached as every training is.

        Args:
            repeat: the number of the other seed, from 1; 0 is the search's own.
        """
        ...

    def final_network(self, arch: Tensor, *, seed: int = 0) -> TrainedNetwork:
        """The network of `arch` `[D]` in `final_space`, after its final training.

        Args:
            seed: the number of another training seed, from 1; 0 is the search's own.
        """
        ...

    def reference(self, arch: Tensor) -> Tensor | None:
        """The plain network, as large as that of `arch` `[D]` and trained alike: `[D]`; None where the space names none."""
        ...


@runtime_checkable
class HasMemory(Protocol):
    """An evaluator whose answers depend on those before, as the weights of a supernet do.

    The memory is explicit, as a controller's state is: a run stores both, and resumes bitwise. `load` of such an evaluator
    answers every proposal from the memory that `begin` gives.
    """

    def begin(self, seeds: Tensor) -> Memory:
        """The memory of `S` searches before the first evaluation; `seeds` int64 `[S]`."""
        ...

    def load_with_memory(self, seeds: Tensor) -> EvaluateWithMemory:
        """As `load`, with a memory that is handed in and handed back."""
        ...


@runtime_checkable
class TakesPrior(Protocol):
    """An evaluator that may begin with a prior, as a supernet does with learned weights."""

    @property
    def prior(self) -> Prior | None: ...

    def from_prior(self, prior: Prior) -> Evaluator:
        """The evaluator that begins with it. Raises `UserError` where nothing of it fits."""
        ...


@runtime_checkable
class KeepsFiles(Protocol):
    """An evaluator that keeps what it has evaluated in the folder of a run."""

    def cache_to(self, folder: Path) -> None:
        """Write each evaluation into a run's `folder`, and take from there what earlier sessions evaluated."""
        ...


@runtime_checkable
class Concurrent(Protocol):
    """An evaluator that works at several architectures at once and says of each when it has ended."""

    @property
    def concurrency(self) -> int:
        """How many at once; 1: it would rather be asked by `load`."""
        ...

    def submit(self, ticket: int, arch: Tensor, epochs: int | None, seed: int) -> None:
        """Begin to evaluate `arch` `[D]`, after `epochs` (None: the task's own), for the search of `seed`."""
        ...

    def wait(self) -> tuple[int, float, float]:
        """The ticket of one that has ended, its score (NaN: it failed) and its seconds."""
        ...

    def abandon(self) -> None:
        """End what has not ended."""
        ...


@runtime_checkable
class CompletesResults(Protocol):
    """An evaluator around another that adds something to each result, as a penalty or further objectives."""

    def completed(self, proposal: Proposal, results: Results, seeds: Tensor) -> Results:
        """The results `[S, B]` of a proposal of searches with `seeds` `[S]`, from those of the innermost evaluator."""
        ...


@runtime_checkable
class HasDataDigest(Protocol):
    """An evaluator whose data can be told from any other: a run keeps the digest, and goes on with no other data."""

    @property
    def data_digest(self) -> str | None:
        """Of all that scores depend on: images and labels, or the columns of a table. None: it cannot say."""
        ...


@runtime_checkable
class HasEngine(Protocol):
    """An evaluator that knows what trains its networks: a run keeps it, and says when it goes on by another."""

    @property
    def engine(self) -> str:
        """In words, with all versions: one line that is the same where trainings are the same bitwise."""
        ...


class TrainingProgress(NamedTuple):
    """Where trainings stand that an evaluator was asked for together; told after each epoch."""

    archs: tuple[str, ...]
    """What is trained at this moment, as its space describes it."""
    done: float
    """Trainings, those under way in part."""
    total: int
    """Trainings that were asked for and not known before."""
    epoch: int
    """Epochs that what is trained at this moment has behind it."""
    epochs: int
    """It will have so many in the end."""
    loss: float
    """The mean training loss of the last epoch; NaN before the first, and where all diverged."""
    best: float
    """The highest accuracy in percent among those that ended; NaN before the first."""
    share: float | None = None
    """Of the time that all of them take, what is over, from 0 to 1; None: as much as are done."""


class Watch(Protocol):
    """Whoever is told of trainings while they run."""

    def __call__(self, progress: TrainingProgress, /) -> None: ...


@runtime_checkable
class Watched(Protocol):
    """A training evaluator that tells how its trainings go on, and says beforehand how long the final one takes."""

    def watch(self, tell: Watch | None) -> None:
        """Tell of every epoch from now on; None: of none."""
        ...

    def final_seconds(self, arch: Tensor | None = None) -> float:
        """About how many seconds the final training of `arch` `[D]` takes on this machine, measured by a few steps.

        None: of an architecture that is not known yet.
        """
        ...


@runtime_checkable
class Timed(Protocol):
    """A training evaluator whose trainings are as long as the minutes of a run allow."""

    @property
    def teaching_trainings(self) -> float:
        """Final trainings that a teacher adds; 0 without one."""
        ...

    def in_faster_precision(self) -> Timed:
        """The same, trained in that precision in which this machine is faster: by it minutes are planned."""
        ...

    def at_once(self, seeds: int) -> int:
        """How many architectures of each of `seeds` searches are trained side by side on this machine: the batch of a search."""
        ...

    def timed(
        self, search: float, final: float, *, warm: bool = False, seeds: int = 1, batch: int | None = None
    ) -> dict[str, str]:
        """The settings by which searches take so many seconds on this machine, and one final training so many.

        With `warm` they begin with a prior, and need fewer trainings. The settings are kept with the run, so that it resumes
        with them.

        Args:
            seeds: searches side by side.
            batch: architectures of each that are trained side by side; None: `at_once`.
        """
        ...

    def lengthened(self, final: float) -> dict[str, str]:
        """The settings by which one final training takes so many seconds on this machine, the search as it is."""
        ...


class FinalTraining(NamedTuple):
    """A training by the final recipe that somebody asks for."""

    arch: Tensor
    """int64 `[D]`."""
    seed: int = 0
    """The number of another training seed, from 1; 0 is the search's own."""
    share: float = 1.0
    """Of the epochs of the final recipe; above 1 more of them."""
    held_out: bool = False
    """Train on the training images alone: all that is called `test` is then measured on the validation images."""
    beside: bool = False
    """Train as beside others, also where those have ended before: with all cores it may round otherwise."""


@runtime_checkable
class Taught(Protocol):
    """A training evaluator whose final trainings may have a teacher."""

    def teaching_seconds(self) -> float:
        """About how many seconds a teacher adds to a final training on this machine; 0 without one."""
        ...


@runtime_checkable
class Comparable(Watched, Protocol):
    """A training evaluator that says what simpler models need to be compared with its networks."""

    @property
    def metric(self) -> str:
        """Which of `nas.training.metrics.METRICS` the score is, on the validation images."""
        ...

    @property
    def images(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Of `train`, `valid` and `test` the images, uint8 `[N, C, H, W]`, and their classes, int64 `[N]`."""
        ...

    def final_flops(self, arch: Tensor) -> float:
        """Multiply-accumulates of the final training of `arch` `[D]`, those of the forward pass alone."""
        ...

    def each_final_network(self, trainings: Sequence[FinalTraining]) -> Iterator[tuple[int, TrainedNetwork]]:
        """As `final_networks`, each with its place as it ends: it can be kept while others are trained."""
        ...

    def final_networks(self, trainings: Sequence[FinalTraining]) -> list[TrainedNetwork]:
        """The trained networks, in order; side by side where the machine has the cores."""
        ...


@runtime_checkable
class SideBySide(Protocol):
    """A training evaluator that says whether its final trainings have a core each."""

    def final_cores(self) -> int:
        """How many this machine has side by side at most; 1 where one takes all cores."""
        ...

    def beside_seconds(self) -> float:
        """As `Watched.final_seconds()`, of a training beside the others of a comparison."""
        ...


class ComparableTraining(TrainingEvaluator, Comparable, Protocol):
    """Both at once."""


def as_comparable(training: TrainingEvaluator | None) -> ComparableTraining | None:
    """The evaluator where its networks can be compared with simpler models, else None: the one place that asks."""
    # Not a Protocol of both that is asked for at once: Python would work out every property, and some look at all images.
    return cast("ComparableTraining", training) if isinstance(training, Comparable) else None


@runtime_checkable
class Averages(Protocol):
    """A training evaluator of whose networks a search may hand out an ensemble of two."""

    @property
    def ensemble(self) -> bool: ...

    @property
    def mirrored_share(self) -> float | None:
        """What the search's networks without mirror images have right on mirror images, as a share, at most 1, of what they have
        right; None where there were none."""
        ...

    def final_arch(self, arch: Tensor, *, twice: bool, larger: bool) -> Tensor:
        """How `arch` `[D]` is trained in the end, `[D]`: as it is, or by what short trainings cannot judge.

        Args:
            twice: it may answer by the mean over an image and its mirror image, which takes twice the time.
            larger: it may be a larger network.
        """
        ...

    def longest_seconds(self) -> float:
        """As `final_seconds()`, where the network may be a larger one."""
        ...

    def planned_seconds(self) -> float:
        """What the minutes of a run leave for a final training."""
        ...

    def second(self, arch: Tensor) -> FinalTraining:
        """What is trained beside `arch` `[D]` where that is the plain network already, for as long: it should err otherwise."""
        ...


@runtime_checkable
class HasTestImages(Protocol):
    """A training evaluator that shows the images its networks are tested on: the page of a run has the worst and the best."""

    def test_images(self, places: Tensor) -> Tensor:
        """The test images at `places` int64 `[N]`, counted from 0, as they were read: uint8 `[N, C, H, W]`."""
        ...
