"""Laws of meta-learners, on synthetic tasks.

A component is a class; what is built from it is `component(tasks, **quick_options)`. `quick_options` is an attribute that the
class may have: settings by which it learns enough in seconds, where those of its own make it learn for hours.
"""

from __future__ import annotations

import inspect
from functools import lru_cache
from typing import Any, NamedTuple

import torch

from controller import MetaLearner, MetaState
from nas import plugins
from nas.meta import outer_loop
from nas.run import state_tree
from nas.testing import synthetic_tasks
from nas.testing.sign_test import ERROR, p_value


class _Training(NamedTuple):
    """A whole training on the synthetic tasks."""

    learner: MetaLearner
    untrained: MetaState
    stages: dict[str, MetaState]
    """By the name of a stage, the state after it."""


def _made(component: Any, seed: int = 0) -> MetaLearner:
    tasks = synthetic_tasks.task_set(synthetic_tasks.scores(seed))
    return component(tasks, **getattr(component, "quick_options", {}))


def fields_have_defaults(component: Any) -> None:
    """Its first field is the tasks; every other field has a default."""
    first, *others = inspect.signature(component).parameters.values()
    assert first.name == "tasks", f"the first field is '{first.name}', not 'tasks'"
    bare = [p.name for p in others if p.default is p.empty]
    assert not bare, f"field '{bare[0]}' has no default"


def state_is_tensors(component: Any) -> None:
    """Every leaf of its state is a tensor; `step` is int64 [] and counts the updates."""
    learner = _made(component)
    state = outer_loop.untrained(learner, 0)
    for path, leaf in state_tree.flatten(state).items():
        assert torch.is_tensor(leaf), f"state{path} is a {type(leaf).__name__}, not a tensor"
    after = next(outer_loop.train(learner, state, 0)).state
    for count, at in enumerate((state, after)):
        step = getattr(at, "step", None)
        assert step is not None, "the state has no 'step'"
        assert step.dtype == torch.int64, f"state.step is {step.dtype}, not int64"
        assert step.shape == (), f"state.step has shape {list(step.shape)}, not []"
        assert int(step) == count, f"state.step is {int(step)} after {count} updates"


def updates_are_functions_of_their_arguments(component: Any) -> None:
    """An update is a function of the state and the batch alone: made twice, it is the same."""
    learner = _made(component)
    state = outer_loop.untrained(learner, 0)
    before = {path: leaf.clone() for path, leaf in state_tree.flatten(state).items()}
    once, twice = (state_tree.flatten(next(outer_loop.train(learner, state, 0)).state) for _ in range(2))
    for path, leaf in state_tree.flatten(state).items():
        assert torch.equal(leaf.nan_to_num(-1), before[path].nan_to_num(-1)), f"an update changes state{path} in place"
    for path, leaf in once.items():
        assert torch.equal(leaf.nan_to_num(-1), twice[path].nan_to_num(-1)), f"state{path} differs between two updates"


def priors_name_their_controller(component: Any) -> None:
    """Its prior names a controller that there is, which begins a search with it."""
    learner = _made(component)
    prior = learner.prior(outer_loop.untrained(learner, 0))
    assert "controller" in prior.about, "the prior's header has no 'controller'"
    controller = plugins.load("controller", prior.about["controller"])(synthetic_tasks.SPACE)
    state = controller.begin(synthetic_tasks.TASKS["wide"], torch.arange(2), prior)
    assert synthetic_tasks.SPACE.valid(controller.propose(state, 3).archs).all(), "an architecture is not valid"


def every_stage_learns(component: Any) -> None:
    """Every stage of its training changes its prior."""
    training = _trained(component, 0)
    before = training.learner.prior(training.untrained).params
    for name, state in training.stages.items():
        after = training.learner.prior(state).params
        same = before.keys() == after.keys() and all(
            torch.equal(tensor.nan_to_num(-1), before[n].nan_to_num(-1)) for n, tensor in after.items()
        )
        assert not same, f"the prior is the same after stage '{name}' as before it"
        before = after


def learning_improves_searches(component: Any) -> None:
    """What it learned on some tasks improves searches of more others than luck explains, over its untrained prior."""
    better, worse = improved(component, 0)
    assert p_value(better, worse) < ERROR, (
        f"of tasks that it was not trained on, its prior improves the searches of {better} over its untrained prior and makes "
        f"those of {worse} worse; luck does as much once in {1 / p_value(better, worse):.0f} times"
    )


def improved(component: Any, seed: int) -> tuple[int, int]:
    """Of how many held-out tasks made up by `seed` training makes a search better, and of how many worse."""
    training, known = _trained(component, seed), synthetic_tasks.scores(seed)
    *_, last = training.stages.values()
    # A controller that may give its prior up would hide what the prior is worth.
    settings = getattr(component, "keeps_prior", {})
    untrained, trained = (
        synthetic_tasks.best_on_average(training.learner.prior(state), known, settings)
        for state in (training.untrained, last)
    )
    return int((trained > untrained).sum()), int((trained < untrained).sum())


@lru_cache(maxsize=1)
def _trained(component: Any, seed: int) -> _Training:
    learner = _made(component, seed)
    first, stages = outer_loop.untrained(learner, seed), {}
    for progress in outer_loop.train(learner, first, seed):
        stages[progress.stage] = progress.state
    return _Training(learner, first, stages)


LAWS = [
    fields_have_defaults,
    state_is_tensors,
    updates_are_functions_of_their_arguments,
    priors_name_their_controller,
    every_stage_learns,
    learning_improves_searches,
]
