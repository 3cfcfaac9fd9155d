"""What a trial is worth: accuracy on validation classes, or searches of validation tasks. Nothing that tests is ever asked."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch

from controller import Prior, Results, TaskScores, TaskSet
from controller.models import features
from nas import plugins, settings
from nas.few_shot import run, training
from nas.few_shot.run import Config
from nas.meta import held_apart, outer_loop, task_distribution
from nas.text import counted
from search_spaces import UserError

Report = Callable[[int, float], bool]
"""Told of a value on the way; says whether to give up."""

_MOST_TASKS = 12
"""Validation tasks: more make a value surer, and a trial as much longer."""


class Pruned(Exception):
    """A trial was given up."""


class Objective(Protocol):
    """Picklable: other processes measure too."""

    @property
    def what(self) -> str:
        """In words, what a value is."""
        ...

    def value(self, options: dict[str, str], report: Report) -> float:
        """The higher the better. Raises `Pruned` where `report` says so."""
        ...

    def check_data(self) -> None:
        """Raises `UserError` where nothing could be measured, whatever the settings, as where the data are gone."""
        ...


@dataclass(frozen=True)
class FewShot:
    """A few-shot learner after its training: the best accuracy on validation classes, in percent."""

    config: Config

    @property
    def what(self) -> str:
        c = self.config
        return f"accuracy on validation classes, {c.way}-way {c.shot}-shot, after {c.steps} steps"

    def value(self, options: dict[str, str], report: Report) -> float:
        setup = run.prepare(dataclasses.replace(self.config, options=self.config.options | options))
        state = training.begin(setup.learner, setup.config.seed)
        for step in training.train(setup.learner, setup.source, setup.config.plan, state):
            state = step.state
            if step.accuracy is not None and report(state.step, state.best_accuracy) and state.step < self.config.steps:
                raise Pruned
        return state.best_accuracy

    def check_data(self) -> None:
        run.prepare(self.config)


@dataclass(frozen=True)
class MetaTrain:
    """A prior: how good searches of a family of tasks are that it was not trained on."""

    learner: str
    split: str
    validate: str
    """The family."""
    options: dict[str, str]
    evals: int
    searches: int
    """Of each task."""
    seed: int
    digest: str = ""
    """Of the tables, and of the learner's file where it is not ours: a study goes on with no other. Empty: not looked at."""

    @property
    def what(self) -> str:
        searches = "1 search" if self.searches == 1 else f"{self.searches:,} searches"
        return (
            f"best score so far in standard deviations, mean over {counted(self.evals, 'evaluation')} of {searches} of each "
            f"task of family '{self.validate}'"
        )

    def value(self, options: dict[str, str], report: Report) -> float:
        component, (rest, apart) = plugins.load("meta-learner", self.learner), self.tasks()
        learner = component(rest, **settings.typed(self.learner, component, self.options | options))
        state = outer_loop.untrained(learner, self.seed)
        for progress in outer_loop.train(learner, state, self.seed):
            state = progress.state
        prior = learner.prior(state)
        ours = [task for task in apart if task.space.name == prior.about.get("space", task.space.name)][:_MOST_TASKS]
        if not ours:
            raise UserError(f"Family '{self.validate}' has no task on space '{prior.about['space']}'.")
        return sum(searched(prior, task, self.evals, self.searches) for task in ours) / len(ours)

    def check_data(self) -> None:
        self.tasks()

    def tasks(self) -> tuple[TaskSet, list[TaskScores]]:
        """What is trained on, and the family that validates, in an order drawn by the seed.

        Raises `UserError` for a split or a family that there is not, and where nothing else is left to train on.
        """
        known = task_distribution.task_set(self.split)
        apart = [task for task in known.tasks if task.family == self.validate]
        if not apart:
            raise UserError(f"--validate is '{self.validate}'; the split's families: {', '.join(known.families)}.")
        order = torch.randperm(len(apart), generator=torch.Generator().manual_seed(self.seed)).tolist()
        rest = held_apart.without(known, apart)
        if not rest.tasks:
            raise UserError(
                f"Every task of split '{self.split}' is of a table or of a dataset of family '{self.validate}', which validates; "
                f"set NAS_TABLES to a folder of more tables, or let another family validate: {', '.join(known.families)}."
            )
        return rest, [apart[i] for i in order]


def searched(prior: Prior, task: TaskScores, evals: int, searches: int) -> float:
    """The best normal score so far, mean over evaluations and searches, of the prior's controller on a task."""
    controller = plugins.load("controller", prior.about["controller"])(task.space)
    state, found = controller.begin(task.task, torch.arange(searches), prior), []
    for _ in range(evals):
        proposal = controller.propose(state, 1)
        score = task.normal_scores[features.row_of(task.space, proposal.archs)]
        state = controller.learn(state, proposal, Results(score, torch.ones_like(score)))
        found.append(score[:, 0])
    return float(torch.stack(found, 1).cummax(1).values.mean())
