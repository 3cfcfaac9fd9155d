"""Portfolio: every architecture's mean normalized rank over the tasks seen; the prior of the controller of that name.

Tasks are the longest trainings without constraints, and each family of them weighs by how many it has (`family_balance`). Of the
tasks of cells half are accuracies below a device's limit, and short trainings are ranks of their own: with all of them alike the
list for CIFAR-100, held out, had none of the best 0.1% among its first 150; so it has one at place 3.

Shapes: `N` architectures of the space, `T` training tasks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from controller._base import Prior, Stage, TaskBatch, TaskRequest, TaskSample, TaskSet
from controller.models.task_pca import family_balance
from search_spaces import Space, UserError, _ops

__all__ = ["Portfolio"]


class State(NamedTuple):
    step: Tensor
    """int64 `[]`."""
    total: Tensor
    """float32 `[N]` the weighted sum of an architecture's ranks over tasks."""
    count: Tensor
    """float32 `[N]` the weights of the tasks that measured it, 1 on average."""


@dataclass(frozen=True)
class Portfolio:
    """Averages ranks: within a task the best measured architecture has 0, the worst 1; families are balanced."""

    tasks: TaskSet
    space: str = "nasbench201"
    """The one space whose architectures are ranked."""
    quick_options: ClassVar[Mapping[str, Any]] = {"space": "transnas-micro"}

    @property
    def stages(self) -> tuple[Stage, ...]:
        return (Stage("rank", 1, (TaskRequest(num_tasks=None),)),)

    def init(self, seeds: Tensor) -> State:
        """Nothing known: every architecture's rank is NaN."""
        zero_N = torch.zeros(_ops.size(self._space.choices))
        return State(torch.tensor(0), zero_N, zero_N)

    def update(self, meta_state: State, batch: TaskBatch) -> tuple[State, dict[str, float]]:
        total_N, count_N, weight_T = meta_state.total, meta_state.count, self._weights()
        for sample in batch:
            weight_K = weight_T[sample.tasks].tolist() if sample.space == self._space else []
            for score_n, weight in zip(sample.scores, weight_K):
                if weight:
                    rank_N = self._normalized(sample, score_n)
                    total_N = total_N + weight * rank_N.nan_to_num(0.0)
                    count_N = count_N + weight * ~rank_N.isnan()
        return State(meta_state.step + 1, total_N, count_N), {"tasks": float((weight_T[:-1] > 0).sum())}

    def prior(self, meta_state: State) -> Prior:
        rank_1N = (meta_state.total / meta_state.count)[None]
        return Prior({"rank": rank_1N, "tasks": meta_state.count[None]}, {"controller": "portfolio"})

    def _weights(self) -> Tensor:
        """Of each training task, of mean 1 over those that are ranked and 0 for the others; the last is of tasks that are none
        of the set (-1), as a comparison ranks them: float32 `[T + 1]`."""
        ranked = [x.space == self._space and x.longest and not x.task.constraints for x in self.tasks.tasks]
        if ranked and not any(ranked):
            raise UserError(f"Setting space is '{self.space}', which has no training task without constraints.")
        balance = family_balance([x.family for x, used in zip(self.tasks.tasks, ranked) if used])
        weight_T = torch.zeros(len(ranked))
        weight_T[torch.tensor(ranked, dtype=torch.bool)] = balance / balance.mean()
        return torch.cat([weight_T, torch.ones(1)])

    @property
    def _space(self) -> Space:
        found = {space.name: space for space in self.tasks.spaces}
        if self.space not in found:
            raise UserError(f"Setting space is '{self.space}'; it takes one of {', '.join(sorted(found))}.")
        return found[self.space]

    def _normalized(self, sample: TaskSample, score_n: Tensor) -> Tensor:
        """The rank of each architecture in one task, float32 `[N]` from 0 to 1, equal scores the same; NaN where unknown."""
        choices, known_n = self._space.choices, ~score_n.isnan()
        index_n, score_n = _ops.index(sample.archs, choices)[known_n], score_n[known_n]
        total_N = torch.zeros(_ops.size(choices), dtype=torch.double).index_add(0, index_n, score_n.double())
        count_N = torch.zeros_like(total_N).index_add(0, index_n, torch.ones_like(score_n, dtype=torch.double))
        known_N = count_N > 0
        # Equal scores share a rank: many coarse tables have them, and their order in the file means nothing.
        levels, place = torch.unique(-(total_N[known_N] / count_N[known_N]), return_inverse=True)
        rank_N = torch.full(known_N.shape, torch.nan)
        rank_N[known_N] = place.float() / max(len(levels) - 1, 1)
        return rank_N
