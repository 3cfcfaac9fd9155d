"""What meta-learners of a policy's start share: independent logits, and their expected score over a whole table.

Shapes: `K` tasks, `D` decisions, `C` choices, `M` architectures drawn.
"""

from __future__ import annotations

import json
from typing import NamedTuple

import torch
from torch import Tensor

from controller._base import Prior, TaskBatch, TaskSet
from controller.models.task_pca import family_balance
from controller.policies import optim
from search_spaces import Space, UserError, _ops, _sampling


class State(NamedTuple):
    step: Tensor
    """int64 `[]`."""
    seeds: Tensor
    """int64 `[1]` of what is drawn in training."""
    logits: Tensor
    """float32 `[1, D, C]` the start of every search."""
    adam: optim.Adam


class Tables(NamedTuple):
    """Every training task over all combinations of the space's choices."""

    scores: Tensor
    """float32 `[K, *choices]` of mean 0 and deviation 1; 0, the mean, where nothing was measured or is valid."""
    weight: Tensor
    """float32 `[K]` of sum 1, so that a large family does not drown a small one."""


def begin(space: Space, seeds: Tensor) -> State:
    """A start that prefers nothing."""
    logits = torch.zeros(1, len(space.choices), max(space.choices))
    adam = optim.adam_begin({"logits": logits})
    # Copies: a file of a checkpoint takes no tensors that share memory, as fresh moments do.
    adam = adam._replace(square={"logits": logits.clone()}, decay_square=adam.decay_square.clone())
    return State(torch.tensor(0), seeds, logits, adam)


def space_of(tasks: TaskSet, name: str) -> Space:
    """The space of that name. Raises `UserError` where no task is on it."""
    found = {x.space.name: x.space for x in tasks.tasks}
    if name not in found:
        raise UserError(f"Setting space is '{name}'; there are tasks on: {', '.join(sorted(found))}.")
    return found[name]


def tables(tasks: TaskSet, space: Space, batch: TaskBatch) -> Tables:
    """The training tasks of a space, from a batch that has every task."""
    (sample,) = (x for x in batch if x.space == space)
    K, index = len(sample.scores), _ops.index(sample.archs, space.choices)
    scores = sample.scores.new_zeros(K, _ops.size(space.choices))
    scores[:, index] = sample.scores.nan_to_num(0.0)
    weight = family_balance([tasks.tasks[i].family for i in sample.tasks.tolist()]).to(scores.dtype)
    return Tables(scores.view(K, *space.choices), weight / weight.sum())


def expected(scores: Tensor, logits: Tensor, choices: tuple[int, ...]) -> Tensor:
    """The expected score `[K]` of architectures whose decisions are drawn each by its logits `[K, D, C]`.

    The exact sum over `scores` `[K, *choices]`, contracted from the last decision to the first; differentiable as often as asked.
    """
    probs = log_probs(logits, choices).exp()
    for d in reversed(range(len(choices))):
        prob = probs[:, d, : choices[d]]
        scores = (scores * prob.view(len(prob), *[1] * d, choices[d])).sum(-1)
    return scores


def log_probs(logits: Tensor, choices: tuple[int, ...]) -> Tensor:
    """Of each option, `[K, D, C]`; minus infinity beyond a decision's own."""
    return logits.masked_fill(_sampling.padding_mask(choices), -torch.inf).log_softmax(-1)


def entropy(logits: Tensor, choices: tuple[int, ...]) -> Tensor:
    """The mean over decisions of their entropy in nats, `[K]`."""
    found = log_probs(logits, choices)
    # 0 times minus infinity would be NaN.
    return -(found.exp() * found.masked_fill(found.isinf(), 0.0)).sum(-1).mean(-1)


def moved(state: State, gain: Tensor, lr: float) -> State:
    """The state after one step of Adam up the gradient `[D, C]` of what is to be raised."""
    params, adam = optim.adam({"logits": state.logits}, {"logits": -gain[None]}, state.adam, lr)
    return state._replace(step=state.step + 1, logits=params["logits"].detach(), adam=adam)


def prior(tasks: TaskSet, space: Space, params: dict[str, Tensor], controller: str) -> Prior:
    """For a controller that begins with these `params`, as `logits` `[1, D, C]`."""
    about = {
        "controller": controller,
        "space": space.name,
        "tasks": json.dumps([x.name for x in tasks.tasks if x.space == space]),
        "families": json.dumps(tasks.families),
    }
    return Prior(params, about)
