"""Laws of meta-learners, on synthetic tasks.

A component is a class; what is built from it is `component(tasks, **quick_options)`. `quick_options` is an attribute that the
class may have: settings by which it learns enough in seconds, where those of its own make it learn for hours.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch

from controller import MetaLearner
from nas import plugins
from nas.meta import outer_loop
from nas.run import state_tree
from nas.testing import synthetic_tasks

LEAST_GAIN = 0.8
"""Evaluations with what was learned are at most this part of those without. On three sets of tasks portfolio
needs 0.02 of them, transfer_gp 0.1, rl2 0.3 to 0.4; a prior that is turned round, so that it ranks the worst first, more."""


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


def learning_shortens_searches(component: Any) -> None:
    """What it learned on some tasks makes searches of others shorter than what it knows untrained."""
    untrained, trained = evaluations(component, 0)
    assert trained <= LEAST_GAIN * untrained, (
        f"to one of the best 1% of tasks it was not trained on, searches take {trained:g} evaluations, and "
        f"{untrained:g} by its untrained prior (median); a law asks for {LEAST_GAIN:g} of them at most"
    )


def evaluations(component: Any, seed: int) -> tuple[float, float]:
    """Evaluations to one of the best of held-out tasks by the untrained and by the trained prior, on tasks made up by `seed`."""
    learner = _made(component, seed)
    first = outer_loop.untrained(learner, seed)
    *_, last = outer_loop.train(learner, first, seed)
    known = synthetic_tasks.scores(seed)
    untrained, trained = (synthetic_tasks.evaluations_to_top(learner.prior(s), known) for s in (first, last.state))
    return untrained, trained


LAWS = [
    fields_have_defaults,
    state_is_tensors,
    updates_are_functions_of_their_arguments,
    priors_name_their_controller,
    learning_shortens_searches,
]
