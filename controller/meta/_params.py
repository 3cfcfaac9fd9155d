"""What meta-learners of many named numbers share: their state, and one step of Adam up a gain.

Shapes: `K` tasks, `R` of them drawn, `B` architectures of a turn, `D` decisions, `C` choices.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from controller.policies import nets, optim, update_rules
from controller.policies.optim import Params
from search_spaces import Space, _noise

_MAX_NORM = 1.0
"""Of the gradient, so that one odd batch does not undo many; as in `_descent`."""
_DRAW, _SEARCHES = 101, 102
"""Streams of random numbers."""


class State(NamedTuple):
    step: Tensor
    """int64 `[]`."""
    seeds: Tensor
    """int64 `[1]` of what is drawn in training."""
    params: Params
    """float32 `[1, ...]` each."""
    adam: optim.Adam


def begin(params: Params, seeds: Tensor) -> State:
    """Before the first step."""
    adam = optim.adam_begin(params)
    # Copies: a file of a checkpoint takes no tensors that share memory, as fresh moments do.
    square = {n: p.clone() for n, p in adam.square.items()}
    return State(torch.tensor(0), seeds, params, adam._replace(square=square, decay_square=adam.decay_square.clone()))


def raised(state: State, leaves: Params, gain: Tensor, lr: float | dict[str, float]) -> State:
    """The state after a step of Adam up the gradient of `gain` `[]` by `leaves`, which are `optim.leaves(state.params)`.

    Args:
        lr: one number, or one by the name of each.
    """
    slopes = torch.autograd.grad(-gain, list(leaves.values()))
    norm = torch.stack([g.norm() for g in slopes]).norm()
    slope = {n: g * (_MAX_NORM / norm.clamp_min(_MAX_NORM)) for n, g in zip(leaves, slopes)}
    moved, adam = optim.adam(state.params, slope, state.adam, 1.0)
    rate = lr if isinstance(lr, dict) else dict.fromkeys(moved, lr)
    after = {n: (p + rate[n] * (moved[n] - p)).detach() for n, p in state.params.items()}
    return state._replace(step=state.step + 1, params=after, adam=adam)


def draw_tasks(state: State, weight: Tensor, count: int) -> Tensor:
    """`count` tasks drawn by their weights `[K]`, int64 `[R]`, a function of the step."""
    noise = _noise.uniform(state.seeds, state.step[None], count, stream=_DRAW)[0]
    return torch.searchsorted(weight.cumsum(0), noise * weight.sum()).clamp(max=len(weight) - 1)


class Turn(NamedTuple):
    """A batch of evaluations of searches `R` side by side."""

    archs: Tensor
    """int64 `[R, B, D]`."""
    score: Tensor
    """float32 `[R, B]`."""
    before: Tensor
    """float32 `[R, D, C]` the logits that drew them, and those after them; differentiable."""
    after: Tensor


def play(
    space: Space, params: Params, tables: Tensor, tasks: Tensor, seeds: Tensor, turns: int, batch: int
) -> Iterator[Turn]:
    """Searches of tasks by a rule of `update_rules`.

    Args:
        params: `[1, ...]` each, differentiable.
        tables: `[K, *choices]`.
        tasks: int64 `[R]` which task each searches.
        seeds: int64 `[R]`.
    """
    R = len(tasks)
    own = params | {"logits": params["logits"].expand(R, -1, -1)}
    rule, score = update_rules.rule(space, own), tables.new_zeros(R, 0)
    memory = rule.begin(own)
    for turn in range(turns):
        before = memory["logits"]
        archs = nets.Independent(space).sample({"logits": before.detach()}, seeds, torch.full_like(seeds, turn), batch)
        found = tables[(tasks[:, None], *archs.unbind(-1))]
        score = torch.cat([score, found], 1)
        memory = rule.learn(own, memory, archs, update_rules.signals(score, batch))
        yield Turn(archs, found, before, memory["logits"])


def search_seeds(state: State, count: int) -> Tensor:
    """Seeds of the searches of a step, int64 `[R]`."""
    return _noise.bits(state.seeds, state.step[None], count, stream=_SEARCHES)[0]
