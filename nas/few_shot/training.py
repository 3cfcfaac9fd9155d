"""Training of a learner over episodes: a state that a step turns into the next, the same bits however often it was stopped."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import NamedTuple

import torch

from controller.policies import optim
from controller.policies.optim import Adam
from nas.few_shot import evaluate
from nas.few_shot.backbone import Params
from nas.few_shot.classes import SPLITS
from nas.few_shot.episodes import Size, Source
from nas.few_shot.learner import Learner

VALIDATIONS = 10
"""Of a training: each costs about as much as 20 steps, and the best of ten is near the best of all."""
_VALID_EPISODES = 100
_TIMED = 3


@dataclasses.dataclass(frozen=True)
class Plan:
    """How a learner is trained and tested."""

    way: int
    shot: int
    queries: int
    """Images of a class that an episode which validates or tests asks about."""
    seed: int
    steps: int
    precision: str = "float32"
    """`bf16` computes the layers of training in bfloat16."""


class State(NamedTuple):
    """Everything that a training is, between two steps."""

    step: int
    params: Params
    adam: Adam
    best: Params
    """The weights with the best accuracy on validation classes so far."""
    best_accuracy: float
    """Of the best, in percent; -1 before any."""


class Step(NamedTuple):
    """What one step has come to."""

    state: State
    loss: float
    accuracy: float | None
    """On validation classes in percent, where the step ended with a validation."""


def begin(learner: Learner, seed: int) -> State:
    """Before the first step."""
    params = learner.init(seed)
    moments = optim.adam_begin({name: p[None] for name, p in params.items()})
    return State(0, params, moments, params, -1.0)


def train(learner: Learner, source: Source, plan: Plan, state: State) -> Iterator[Step]:
    """The steps from `state` to the plan's end."""
    due = {math.ceil(plan.steps * (i + 1) / VALIDATIONS) for i in range(VALIDATIONS)}
    while state.step < plan.steps:
        state, loss = advance(learner, source, plan, state)
        found = None
        if state.step in due:
            size = Size(_VALID_EPISODES, plan.way, plan.shot, plan.queries)
            found = 100 * float(evaluate.correct(learner, state.params, source, "valid", size).mean())
            if found >= state.best_accuracy:
                state = state._replace(best=state.params, best_accuracy=found)
        yield Step(state, loss, found)


def advance(learner: Learner, source: Source, plan: Plan, state: State) -> tuple[State, float]:
    """The state after one step, and the step's loss."""
    episodes = source.draw("train", train_size(learner, source, plan), plan.seed, state.step)
    half = torch.autocast("cpu", torch.bfloat16) if plan.precision == "bf16" else nullcontext()
    with half:
        found = learner.gradient(state.params, episodes, plan.seed, state.step)
    rate = learner.lr * (0.5 + 0.5 * math.cos(math.pi * state.step / plan.steps))
    params = state.params | found.statistics
    if learner.optimizer == "sgd":
        params |= {name: params[name] - rate * g for name, g in found.by_name.items()}
        return state._replace(step=state.step + 1, params=params), float(found.loss)
    # Adam as searches have it: its tensors lead with the seeds, of which there is one.
    learned = {name: params[name][None] for name in found.by_name}
    moments = Adam(
        {name: state.adam.mean[name] for name in learned}, {name: state.adam.square[name] for name in learned},
        state.adam.decay_mean, state.adam.decay_square,
    )  # fmt: skip
    moved, moments = optim.adam(learned, {n: g[None].float() for n, g in found.by_name.items()}, moments, rate)
    params |= {name: p[0] for name, p in moved.items()}
    return state._replace(step=state.step + 1, params=params, adam=moments), float(found.loss)


def train_size(learner: Learner, source: Source, plan: Plan) -> Size:
    """Of the episodes of a step: what the learner wants, as far as the training classes have it. Queries give way first."""
    wanted = wanted_size(learner, plan)
    least = int(source.data.count[source.data.split == SPLITS.index("train")].min())
    shot = min(wanted.shot, least - 1)
    return wanted._replace(
        way=min(wanted.way, len(source.data.classes("train"))), shot=shot, queries=min(wanted.queries, least - shot)
    )


def wanted_size(learner: Learner, plan: Plan) -> Size:
    """Of the episodes of a step, whatever the data have."""
    return Size(learner.tasks, learner.train_way or plan.way, learner.train_shot or plan.shot, learner.train_queries)


def seconds_of_step(
    learner: Learner, source: Source, plan: Plan, clock: Callable[[], float] = time.perf_counter
) -> float:
    """About how long a step takes here and now, by a clock: the least of a few, after a first that warms up."""
    state, found = begin(learner, plan.seed), []
    plan = dataclasses.replace(plan, steps=1 + _TIMED)
    for _ in range(1 + _TIMED):
        start = clock()
        state, _ = advance(learner, source, plan, state)
        found.append(clock() - start)
    return min(found[1:])
