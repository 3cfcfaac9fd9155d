"""Draws the tasks of a step of meta-training: a function of the training tasks, what is asked for, and a generator.

Shapes: `N` architectures of a space, `K` tasks, `n` rows drawn, `S` searches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from controller import Stage, TaskBatch, TaskRequest, TaskSample, TaskSet
from controller.models import features, task_features
from controller.models.task_pca import family_balance
from nas.meta.synthetic import synthetic, synthetic_log_cost
from search_spaces import Space

_FEWEST_ROWS, _SHARE_OF_ROWS = 256, 16
"""A sixteenth of a space is drawn, of a small one more: a few dozen architectures make a noisy loss. Not ablated."""
_GREED = 1.5
"""With Gumbel noise, how much rather a good architecture is drawn: exp(1.5) as likely for each deviation of its score."""
_GREEDS = torch.tensor([0.0, 0.7, 1.5, 3.0])
"""Of contexts: from those of random search (0) to those of a search that evaluates little but the best (3)."""
_LARGE_SPACE, _MANY_TASKS, _LARGE_SHARE = 10_000, 4, 0.6
"""A large space with many tasks is drawn more often than not: there is most to learn."""
_REAL_SHARE = 0.6
"""Of tasks, where a space has any: the rest are synthetic, so that a learner does not know all that it meets by heart."""
_CONTEXT = 48
"""Evaluations in a context at most."""
_LOG_COST = 0.3
"""Standard deviation of the logarithm of seconds. Learners read costs standardized, so that its size hardly matters."""


class _SpaceTasks(NamedTuple):
    """One space's share of the training tasks."""

    space: Space
    archs: Tensor
    """int64 `[N, D]`."""
    task_index: list[int]
    """Where its tasks are in the task set."""
    normal_scores: Tensor
    """float32 `[N, K]`."""
    log_cost: Tensor
    """float32 `[N, K]`."""
    weight: Tensor
    """float32 `[K]` so that a large family does not drown a small one."""
    task_features: Tensor
    """float32 `[K, F]`."""
    constrained: Tensor
    """bool `[K]`."""


@dataclass(frozen=True)
class TaskSampler:
    """Draws batches of a task set."""

    spaces: tuple[_SpaceTasks, ...]

    def batch(self, stage: Stage, step: int, seed: int) -> TaskBatch:
        """What a stage's step learns from, a pure function of its arguments."""
        # Another generator for each step and stream of seeds below 100; by the step, so that a stopped training draws the same.
        generator = torch.Generator().manual_seed(seed * 1_000_003 + stage.stream * 100_000_007 + step)
        return tuple(sample for request in stage.requests for sample in self._samples(request, generator))

    def _samples(self, request: TaskRequest, generator: torch.Generator) -> list[TaskSample]:
        if request.num_tasks is None:
            spaces = self.spaces if request.constrained else map(_without_constraints, self.spaces)
            return [_every_task(x, request, generator) for x in spaces if x.task_index]
        return [_drawn_tasks(self._space(generator), request, request.num_tasks, generator)]

    def _space(self, generator: torch.Generator) -> _SpaceTasks:
        """One of the spaces: the first large one with many tasks more often than not."""
        large = [x for x in self.spaces if len(x.archs) > _LARGE_SPACE and len(x.task_index) > _MANY_TASKS]
        if large and torch.rand(1, generator=generator) < _LARGE_SHARE:
            return large[0]
        return self.spaces[int(torch.randint(len(self.spaces), (1,), generator=generator))]


def build(known: TaskSet) -> TaskSampler:
    """The sampler of a task set."""
    return TaskSampler(tuple(_space_tasks(known, space) for space in known.spaces))


def _space_tasks(known: TaskSet, space: Space) -> _SpaceTasks:
    described = features.enumerate_valid(space)
    assert described is not None
    at = [i for i, x in enumerate(known.tasks) if x.space == space]
    if not at:
        none = torch.zeros(len(described.archs), 0)
        no_features = torch.zeros(0, task_features.NUM_TASK_FEATURES)
        return _SpaceTasks(
            space, described.archs, at, none, none, torch.zeros(0), no_features, torch.zeros(0, dtype=torch.bool)
        )
    weight = family_balance([known.tasks[i].family for i in at])
    return _SpaceTasks(
        space,
        described.archs,
        at,
        torch.stack([known.tasks[i].normal_scores for i in at], 1),
        torch.stack([known.tasks[i].log_cost for i in at], 1),
        weight / weight.mean(),
        torch.stack([task_features.task_features(known.tasks[i].task) for i in at]),
        torch.tensor([bool(known.tasks[i].task.constraints) for i in at]),
    )


def _without_constraints(x: _SpaceTasks) -> _SpaceTasks:
    free = ~x.constrained
    return x._replace(
        task_index=[i for i, kept in zip(x.task_index, free.tolist()) if kept],
        normal_scores=x.normal_scores[:, free],
        log_cost=x.log_cost[:, free],
        weight=x.weight[free],
        task_features=x.task_features[free],
        constrained=x.constrained[free],
    )


def _every_task(x: _SpaceTasks, request: TaskRequest, generator: torch.Generator) -> TaskSample:
    """All training tasks of a space, at some of its architectures."""
    N = len(x.archs)
    if request.rows is None:
        rows = torch.arange(N)
    else:
        rows = _greedy_rows(x, min(request.rows, max(_FEWEST_ROWS, N // _SHARE_OF_ROWS)), generator)
    cost = (x.log_cost[rows].T * _LOG_COST).exp()
    tasks = torch.tensor(x.task_index)
    return TaskSample(x.space, rows, x.archs[rows], x.normal_scores[rows].T, cost, x.task_features, tasks)


def _greedy_rows(x: _SpaceTasks, count: int, generator: torch.Generator) -> Tensor:
    """Half of them uniform, half among the best of one task: it is there that a search spends its evaluations."""
    N, half = len(x.archs), count // 2
    task = int(torch.multinomial(x.weight, 1, generator=generator))
    sort_key = _GREED * x.normal_scores[:, task] + _gumbel((N,), generator)
    return torch.cat([torch.randint(N, (half,), generator=generator), sort_key.topk(half).indices])


def _drawn_tasks(x: _SpaceTasks, request: TaskRequest, count: int, generator: torch.Generator) -> TaskSample:
    """Mixtures of training tasks, synthetic tasks and both, with noise."""
    N, length = len(x.archs), 0
    if request.search_lengths is not None:
        length = int(torch.randint(*request.search_lengths, (1,), generator=generator))
    rows = torch.arange(N) if request.rows is None else torch.randint(N, (request.rows,), generator=generator)
    synthetic_NK = synthetic(x.space, rows, count, generator)
    scores, task_features = [], []
    log_cost_NK = synthetic_log_cost(x.space, rows, count, generator)
    for k in range(count):
        score, known = synthetic_NK[:, k], torch.zeros(x.task_features.shape[1])
        real = x.task_index and (not request.synthetic or torch.rand(1, generator=generator) < _REAL_SHARE)
        if real:
            # Mixtures of one to three tasks, so that there are more tasks than tables. Not ablated.
            parts = int(torch.randint(1, 4, (1,), generator=generator))
            chosen = torch.multinomial(x.weight, parts, replacement=True, generator=generator)
            share = torch.rand(parts, generator=generator) + 0.05
            extra = torch.rand(1, generator=generator) * 0.6 * (torch.rand(1, generator=generator) < 0.6)
            score = x.normal_scores[rows][:, chosen] @ (share / share.norm()) + extra * score * request.synthetic
            known = x.task_features[chosen[0]]
            log_cost_NK[:, k] = x.log_cost[rows, chosen[0]]
        # Mostly little, now and then much: a search does not know how noisy its task is. Not ablated.
        noise = 0.02 + 0.3 * torch.rand(1, generator=generator).square()
        scores.append(score + noise * torch.randn(len(rows), generator=generator))
        task_features.append(known)
    score = torch.stack(scores)
    score = (score - score.mean(1, keepdim=True)) / score.std(1, keepdim=True).clamp_min(1e-6)
    cost, mixed = (log_cost_NK * _LOG_COST).T.exp(), torch.full((count,), -1)
    sample = TaskSample(x.space, rows, x.archs[rows], score, cost, torch.stack(task_features), mixed)
    if request.num_query:
        sample = _with_context(sample, request.num_query, generator)
    if length:
        shape = (count * request.searches, 1, x.archs.shape[1], max(x.space.choices))
        sample = sample._replace(noise=torch.stack([torch.rand(shape, generator=generator) for _ in range(length)]))
    return sample


def _with_context(sample: TaskSample, num_query: int, generator: torch.Generator) -> TaskSample:
    """With architectures whose scores are given, as a search of some greed would have found them; half of those to predict are
    drawn like them, half at random. And one of the best eight of each task."""
    score, K = sample.scores, len(sample.scores)
    n = int(torch.randint(1, _CONTEXT + 1, (1,), generator=generator))
    greed = _GREEDS[torch.randint(len(_GREEDS), (K, 1), generator=generator)]
    sort_key = greed * score + _gumbel(score.shape, generator)
    pick = sort_key.topk(n + num_query // 2, 1).indices
    pick = pick.gather(1, torch.rand(pick.shape, generator=generator).argsort(1))
    pick = torch.cat([pick, torch.randint(score.shape[1], (K, num_query // 2), generator=generator)], 1)
    top = score.topk(8, 1).indices.gather(1, torch.randint(8, (K, 1), generator=generator))
    return sample._replace(context=pick[:, :n], query=pick[:, n:], top=top.squeeze(1))


def _gumbel(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Gumbel noise of the step's generator and not `_noise`'s: with other numbers a prior would come out otherwise."""
    return -torch.log(-torch.log(torch.rand(shape, generator=generator) + 1e-9))
