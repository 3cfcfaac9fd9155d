"""What the searches of a task are measured by: the best that its space has, on the same footing as what they are judged by.

Shapes: `S` seeds, `T` evaluations, `N` architectures of a space, `F` functions.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from nas.tasks import find, full_columns, test_scores, top
from nas.tasks.top import Top
from search_spaces import Space


class Yardstick(NamedTuple):
    """Of one task and its searches."""

    score_SN: Tensor
    """float32 `[S, N]`, or `[1, N]` for all seeds: what each architecture is judged by (`full_columns.judged`)."""
    top: Top
    """By the mean of the training seeds."""
    top_threshold_S: Tensor
    optimum_S: Tensor
    median_S: Tensor
    """float32 `[S]`: of each seed's `score_SN`, so that no luck of its draws is above the best or in the top."""

    def judge(self, index_ST: Tensor) -> Tensor:
        """What architectures by index are judged by, float32 `[S, T]`."""
        return self.score_SN.expand(len(index_ST), -1).gather(1, index_ST.long())


class HeldOut(NamedTuple):
    """The test scores of a task."""

    score_N: Tensor
    """float32 `[N]`, less the penalties of the constraints."""
    best_F: Tensor
    """float32 `[F]`: of each function, the best first."""


# As many as tasks that the controllers of a comparison come to in turn; each has up to hundreds of columns.
@lru_cache(maxsize=4)
def of(task: str, seeds: int) -> Yardstick | None:
    """The yardstick of searches with seeds 0 to `seeds - 1`; None where the task is no table's, or nothing was measured."""
    score_SN, mean_N = full_columns.judged(task, seeds), full_columns.everything(task)
    if score_SN is None or mean_N is None or bool(mean_N.isnan().all()):
        return None
    space = find(task).space
    found = [_of_column(score_N, space) for score_N in score_SN]
    threshold_S, optimum_S, median_S = (torch.tensor(values).expand(seeds) for values in zip(*found))
    return Yardstick(score_SN, top.top(mean_N, space), threshold_S, optimum_S, median_S)


def _of_column(score_N: Tensor, space: Space) -> tuple[float, float, float]:
    """The threshold of the top, the best and the median of the architectures."""
    best_F = top.best_of_functions(score_N, space)
    ordered = score_N[~score_N.isnan()].sort(descending=True).values
    return top.threshold(best_F), ordered[0].item(), ordered[len(ordered) // 2].item()


@lru_cache
def test_of(task: str) -> HeldOut | None:
    """None where the task has no test column, or is no table's."""
    score_N = test_scores.of(find(task))
    return None if score_N is None else HeldOut(score_N, top.best_of_functions(score_N, find(task).space))
