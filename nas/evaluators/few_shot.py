"""Scores of backbones for few-shot learning: a learner is trained on training classes and asked about validation classes.

The best backbone is trained for longer and asked about test classes, once. What it learned is exported with the run.
"""

from __future__ import annotations

import dataclasses
import math
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from controller import Proposal, Results
from nas import plugins, settings
from nas.datasets import meta_features
from nas.evaluators import _few_shot_outcomes
from nas.evaluators._few_shot_outcomes import Outcome
from nas.evaluators._few_shot_settings import Settings
from nas.few_shot import classes, evaluate, final, load, named, run, training
from nas.few_shot.backbone import Backbone
from nas.few_shot.episodes import Size, Source
from nas.few_shot.learner import Problem
from nas.few_shot.run import Config, Setup
from nas.text import counted
from nas.types import Defaults, Evaluate, TrainingEvaluator
from search_spaces import Space, Task, UserError, _ops, _sampling, as_cell_space, representatives, unknown

__all__ = ["FewShot"]

_GIVE_UP = 8
"""Evaluations that fail, with none that succeeds, after which the search ends: as for other trainings."""


@dataclass(frozen=True)
class FewShot:
    """Trains one learner on backbones of a space. Scores depend on neither the search's seed nor on what is scored together.

    With `asked.seconds` they depend on how fast the processor was.
    """

    space: Space
    task: Task
    config: Config
    """Of a training; the architecture and the steps are those of each."""
    asked: Settings
    source: Source = field(repr=False, compare=False)
    outcomes: dict[int, Outcome] = field(default_factory=dict, repr=False, compare=False)
    """By the index of the architecture."""
    _finals: dict[int, float] = field(default_factory=dict, repr=False, compare=False)
    """Accuracy on test classes in percent, likewise."""
    _folder: list[Path] = field(default_factory=list, repr=False, compare=False)

    defaults = Defaults(budget=32, batch=4)
    training: TrainingEvaluator | None = None

    @classmethod
    def of(cls, name: str, **given: str) -> FewShot:
        """That of few-shot data as `nas few-shot --data` takes. Settings are those of `Settings` and of the learner.

        Raises `UserError` for a name that leads nowhere and a setting that does not exist.
        """
        learner = given.get("learner", Settings.learner).replace("-", "_")
        of_learner = {f.name for f in dataclasses.fields(named.component(learner))[1:]}
        own = {f.name for f in dataclasses.fields(Settings)[1:]}
        for key in given:
            if key not in own | of_learner:
                raise unknown(f"setting of few-shot learning with '{learner}'", key, sorted(own | of_learner))
        typed = settings.typed("few_shot", Settings, {k: v for k, v in given.items() if k in own})
        asked = Settings(name, **typed)
        data = load.load(name, asked.image_size or None, asked.rotated, asked.split_seed)
        classes.check(data, asked.way, asked.shot + asked.queries)
        options = named.recorded(learner) | {k: v for k, v in given.items() if k not in own}
        config = Config(
            name, learner, asked.way, asked.shot, asked.queries, asked.seed, options=options, space=asked.space,
            image_size=asked.image_size or None, rotations=data.rotations, split_seed=asked.split_seed,
            precision=asked.precision, digest=classes.digest(data),
        )  # fmt: skip
        space = plugins.load("space", asked.space)()
        channels, height, width = data.images.shape[1:]
        if (cells := as_cell_space(space)) is not None:
            space = cells.proxy(asked.channels, asked.cells, 2 if height > 16 else 1)
        train = (data.split == 0).repeat_interleave(data.count)
        labels = torch.arange(len(data.names)).repeat_interleave(data.count)[train]
        features = meta_features.features(data.images[train], labels)
        task = Task(f"few_shot:{name}", (channels, height, width), asked.way, features)
        made = cls(space, task, config, asked, run.source_of(data))
        # A space without an embedding, or a setting that the learner has not, is refused before a run is made.
        setup = made._setup(_sampling.sample(space, torch.tensor([0]), 0, 1)[0, 0])
        setup.learner.problem.backbone.size()
        return made

    @property
    def data_digest(self) -> str:
        """Of the images, their classes and splits."""
        return self.config.digest

    @property
    def description(self) -> str:
        c, asked = self.config, self.asked
        return (
            f"score: accuracy on {counted(asked.episodes, 'episode')} of validation classes, {c.way}-way {c.shot}-shot, after "
            f"{self._length()} of {c.learner}; report: on {final.EPISODES} episodes of test classes, "
            f"after {self._length(final=True)}"
        )

    def cache_to(self, folder: Path) -> None:
        """Append every evaluation to a file of a run's folder, know those in it; keep the final trainings there too."""
        self._folder[:] = [folder]
        self.outcomes.update(_few_shot_outcomes.read(folder))

    def load(self, seeds: Tensor) -> Evaluate:
        def evaluate(proposal: Proposal) -> Results:
            archs = representatives(self.space, proposal.archs)
            indices = _ops.whole_indices(archs, self.space.choices)
            for index, arch in zip(indices, archs.flatten(0, -2)):
                if index not in self.outcomes:
                    self._keep(index, self._outcome(arch))
            found = torch.tensor([self.outcomes[index][:2] for index in indices])
            return Results(*found.view(*archs.shape[:-1], 2).unbind(-1))

        return evaluate

    def report(self, archs: Tensor) -> Tensor:
        archs = representatives(self.space, archs)
        return torch.tensor([self._final(arch) for arch in archs.flatten(0, -2)]).view(archs.shape[:-1])

    def failures(self) -> list[str]:
        """Why evaluations failed, in the order in which they did."""
        return [outcome.error for outcome in self.outcomes.values() if outcome.error]

    def _final(self, arch: Tensor) -> float:
        """Accuracy on test classes, in percent, after the final training; one that was done is not done again."""
        (index,) = _ops.whole_indices(arch[None], self.space.choices)
        if index not in self._finals:
            folder = self._folder[0] / final.FOLDER / str(index) if self._folder else None
            self._finals[index] = final.train(self._timed(self._setup(arch), final=True), folder)
        return self._finals[index]

    def _outcome(self, arch: Tensor) -> Outcome:
        began, setup = time.perf_counter(), self._setup(arch)
        try:
            setup = self._timed(setup)
            state = training.begin(setup.learner, setup.config.seed)
            loss = math.nan
            for _ in range(setup.config.steps):
                state, loss = training.advance(setup.learner, setup.source, setup.config.plan, state)
            size = Size(self.asked.episodes, self.config.way, self.config.shot, self.config.queries)
            right = 100 * float(evaluate.correct(setup.learner, state.params, setup.source, "valid", size).mean())
        except (UserError, OSError, MemoryError):
            raise
        except Exception as error:  # A space's own networks may raise anything.
            return Outcome(math.nan, time.perf_counter() - began, f"{type(error).__name__}: {error}".partition("\n")[0])
        return Outcome(right if math.isfinite(loss) else math.nan, time.perf_counter() - began)

    def _setup(self, arch: Tensor) -> Setup:
        channels, height, width = self.task.input_shape
        backbone = Backbone(self.space, arch, (channels, height, width))
        problem = Problem(backbone, self.config.way, self.config.shot, self.source.data.num_classes)
        config = dataclasses.replace(self.config, steps=1, arch=self.space.describe(arch))
        return Setup(config, named.make(config.learner, problem, config.options), self.source)

    def _timed(self, setup: Setup, *, final: bool = False) -> Setup:
        """With the steps of an evaluation, or of the final training."""
        asked, steps = self.asked, self.asked.steps
        if asked.seconds:
            each = training.seconds_of_step(setup.learner, setup.source, setup.config.plan, time.process_time)
            steps = max(1, round(asked.seconds * (asked.longer if final else 1) / each))
        elif final:
            steps *= asked.longer
        steps = asked.final_steps if final and asked.final_steps else steps
        return setup._replace(config=dataclasses.replace(setup.config, steps=steps))

    def _length(self, *, final: bool = False) -> str:
        asked, times = self.asked, self.asked.longer if final else 1
        if final and asked.final_steps:
            return counted(asked.final_steps, "step")
        return f"{asked.seconds * times:g} core-seconds" if asked.seconds else counted(asked.steps * times, "step")

    def _keep(self, index: int, outcome: Outcome) -> None:
        self.outcomes[index] = outcome
        if self._folder:
            _few_shot_outcomes.append(self._folder[0], index, outcome)
        failures = self.failures()
        if len(failures) == len(self.outcomes) >= _GIVE_UP:
            raise UserError(
                f"All {len(failures)} trainings so far have failed; the last with {failures[-1]}. Nothing can be searched until "
                "that is mended; then start a new run."
            )
