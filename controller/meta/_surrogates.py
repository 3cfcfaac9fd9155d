"""What meta-learners of a surrogate share: evaluations of training tasks to learn from, and what a search begins with.

Shapes: `K` tasks, `R` of them drawn, `n` architectures of each, `P` one-hot places, `N` architectures of the space.
"""

from __future__ import annotations

import torch
from torch import Tensor

from controller._base import Prior, TaskBatch, TaskRequest, TaskSet
from controller.meta import _params, _start
from controller.meta._params import State
from controller.models import features
from controller.models.task_pca import family_balance
from search_spaces import Space, _noise, _ops

REQUEST = TaskRequest(num_tasks=None, rows=512, constrained=False)
"""Half of the rows at random and half among the best of a task: it is there that a search spends its evaluations. Without
constraints, as a surrogate reads architectures and scores, which do not tell of a device's limit. With `meta_surrogate` 75% of 20
searches on digits find one of the best 0.1% so, and 25% where it learns from constrained tasks too."""
_NUM_FIRST = 4
"""Architectures that a search begins with. Not ablated."""
_ROWS = 105
"""Stream of random numbers."""


def evaluations(
    tasks: TaskSet, space: Space, batch: TaskBatch, state: State, count: int, size: int
) -> tuple[Tensor, Tensor]:
    """`size` evaluations of each of `count` tasks drawn: one-hot `[R, n, P]` and scores `[R, n]`, NaN where they failed."""
    (sample,) = (x for x in batch if x.space == space)
    weight = family_balance([tasks.tasks[i].family for i in sample.tasks.tolist()])
    task_R = _params.draw_tasks(state, weight, count)
    noise_Rm = _noise.uniform(state.seeds, state.step[None], count, sample.scores.shape[1], stream=_ROWS)[0]
    row_Rn = noise_Rm.argsort(1)[:, :size]
    return _ops.one_hot(sample.archs, space.choices)[row_Rn], sample.scores[task_R].gather(1, row_Rn)


def drawn(seeds: Tensor, stream: int, shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Weights `[1, *shape]` of each name, uniform within the root of 3 over their number of inputs: variance-preserving."""
    return {
        name: (2 * _noise.uniform(seeds, i, *shape, stream=stream) - 1) * (3 / shape[0]) ** 0.5
        for i, (name, shape) in enumerate(shapes.items())
    }


def prior(tasks: TaskSet, space: Space, state: State) -> Prior:
    """For `surrogate_bo`; before training a search begins at random."""
    first_LD = _first(tasks, space)[: _NUM_FIRST * bool(state.step > 0)]
    return _start.prior(tasks, space, state.params | {"first": first_LD[None].float()}, "surrogate_bo")


def _first(tasks: TaskSet, space: Space) -> Tensor:
    """Each next architecture raises the weighted mean of the best normal scores most (Wistuba et al. 2015), `[L, D]`."""
    ours = [x for x in tasks.tasks if x.space == space and not x.task.constraints]
    every = features.enumerate_valid(space)
    assert every is not None
    score_KN = torch.stack([x.normal_scores for x in ours]).nan_to_num(-torch.inf)
    weight_K = family_balance([x.family for x in ours]).float()
    best_K, rows = torch.full((len(ours),), -9.0), []
    for _ in range(_NUM_FIRST):
        rows.append(int((weight_K @ torch.maximum(score_KN, best_K[:, None])).argmax()))
        best_K = torch.maximum(best_K, score_KN[:, rows[-1]])
    return every.archs[rows]
