"""Synthetic scores on which any search can be judged, and what it proposes of them in the end.

A score is what each option adds and what each pair of options adds. Weights are normal numbers of a seed, so that nothing about
them favors a controller.

Shapes: `S` seeds, `B` architectures a step, `D` decisions, `C` choices, `L` tasks, `T` evaluations.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from controller import Proposal, Results
from search_spaces import Space, Task

TASK = Task("synthetic", (3, 32, 32), 10, fidelities=(1, 4, 16))
"""What controllers are told of each."""
TASKS = 8
"""A search of seed `s` is on task `s` modulo this number."""
EVALS, BATCH = 60, 2
"""Trainings of full length that a search may spend; batches of two let a policy of the slowest learning rate that ships be told
from luck by 256 searches."""
_MEAN, _DEVIATION = 50.0, 10.0
"""Of scores: like percentages, in which some controllers have settings."""
_PAIRS = 0.5
"""Weight of a pair's effect beside an option's: the best option of a decision depends on the others, and still tells."""
_FULL = TASK.fidelities[-1]


class Late(NamedTuple):
    """What searches propose in the last quarter of their budget."""

    score: Tensor
    """float32 `[S]` the mean of those trained in full; NaN where all of them failed."""
    failed: Tensor
    """float32 `[S]` the share of those that failed."""


def evaluate(space: Space, seeds: Tensor, *, sign: float = 1.0, failing: bool = False) -> Callable[[Proposal], Results]:
    """Scores of the searches of these seeds; cost 1 for a training in full.

    Args:
        sign: -1 for the same tasks with worst and best exchanged.
        failing: whether one option of a decision fails: the first of the decision that has the task's number.
    """
    D, which_S = len(space.choices), seeds % TASKS
    final, early = _weights(space, 0), _weights(space, 1)

    def run(proposal: Proposal) -> Results:
        archs = proposal.archs
        share = torch.ones(archs.shape[:2]) if proposal.epochs is None else proposal.epochs / _FULL
        score = _total(final, which_S, archs)
        # Fewer epochs rank otherwise: their scores have a part of another task.
        score = _MEAN + _DEVIATION * sign * (score + 0.5 * (1 - share) * _total(early, which_S, archs))
        if failing:
            fails = archs.gather(-1, (which_S % D)[:, None, None].expand(-1, archs.shape[1], 1)).squeeze(-1) == 0
            score = score.where(~fails, torch.nan)
        return Results(score, share)

    return run


def walk(controller: Any, run: Callable[[Proposal], Results], seeds: Tensor) -> tuple[Tensor, Late]:
    """Architectures `[S, T, D]` of searches until every one has spent its budget, and their last quarter."""
    state, archs, score, cost = controller.begin(TASK, seeds), [], [], []
    while not cost or float(torch.cat(cost, 1).sum(1).min()) < EVALS:
        proposal = controller.propose(state, BATCH)
        results = run(proposal)
        state = controller.learn(state, proposal, results)
        archs.append(proposal.archs)
        score.append(results.score)
        cost.append(results.cost)
    score_ST, cost_ST = torch.cat(score, 1), torch.cat(cost, 1)
    spent_ST = cost_ST.cumsum(1)
    late_ST = (spent_ST > 0.75 * EVALS) & (spent_ST <= EVALS)
    full_ST = late_ST & (cost_ST == 1)
    failed_S = (full_ST & score_ST.isnan()).sum(1) / full_ST.sum(1).clamp_min(1)
    return torch.cat(archs, 1), Late(torch.where(full_ST, score_ST, torch.nan).nanmean(1), failed_S)


def _weights(space: Space, number: int) -> tuple[Tensor, Tensor]:
    """Of options `[L, D, C]` and of pairs `[L, D, D, C, C]`, so that scores of random architectures have variance 1."""
    D, C = len(space.choices), max(space.choices)
    generator = torch.Generator().manual_seed(number)
    pair = torch.randn(TASKS, D, D, C, C, generator=generator) * torch.ones(D, D).tril(-1)[..., None, None]
    scale = (D + _PAIRS**2 * D * (D - 1) / 2) ** -0.5
    return torch.randn(TASKS, D, C, generator=generator) * scale, pair * _PAIRS * scale


def _total(weights: tuple[Tensor, Tensor], which_S: Tensor, archs: Tensor) -> Tensor:
    single, pair = weights
    d, at = torch.arange(archs.shape[-1]), which_S[:, None, None]
    alone = single[at, d, archs].sum(-1)
    return alone + pair[at[..., None], d[:, None], d, archs[..., None], archs[..., None, :]].sum((-1, -2))
