"""Which known tasks a new one is like, by a metric of few-shot learning: prototypical, matching, siamese, relation.

Classes are families of tasks; a task is what a few probes score on it and what is known of its data (`models/task_metrics.py`
has the metrics with their papers and equations). An episode takes every known task in turn as new, with noise in its scores and
now and then nothing known of its data; the others are the support. A search then copies from the tasks alike
(`controller/probed_portfolio.py`).

Shapes: `T` known tasks, `F` families, `P` probes, `N` architectures of the space, `M` of them ranked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from controller._base import Prior, Stage, TaskBatch, TaskRequest, TaskSet
from controller._settings_types import Amount, Count, Positive
from controller.meta import _params, _start
from controller.meta._params import State
from controller.models import features, rank_sources, source_tasks, task_metrics
from controller.models.source_ranks import SourceRanks
from controller.models.source_tasks import SourceTasks
from controller.models.task_features import task_features
from controller.models.task_metrics import Metric
from controller.policies import optim
from search_spaces import UserError, _noise, _ops

__all__ = ["TaskMetric"]

_INIT, _NOISE, _UNKNOWN = 109, 110, 111
"""Streams of random numbers."""


class _Known(NamedTuple):
    ranks: SourceRanks
    probes: Tensor
    """int64 `[P]` rows of the space."""
    score: Tensor
    """float32 `[T, P]` of the probes."""
    features: Tensor
    """float32 `[T, I - P]`."""
    family: Tensor
    """int64 `[T]`."""
    member: Tensor
    """float32 `[F, T]`."""


@dataclass(frozen=True)
class TaskMetric:
    """Learns a metric of tasks from what a few probes score on them."""

    tasks: TaskSet
    space: str = "nasbench201"
    """The one space whose tasks are compared."""
    metric: Metric = "prototypical"
    steps: Count = 300
    lr: Positive = 0.01
    probes: Count = 6
    """Evaluations that a search spends on them. Not ablated."""
    noise: Amount = 0.3
    """Deviation of what is added to the normal scores of probes in training: a new task is not a known one. Not ablated."""
    hidden: Count = 32
    quick_options: ClassVar[Mapping[str, Any]] = {"space": "transnas-micro", "steps": 60, "probes": 4}

    @property
    def stages(self) -> tuple[Stage, ...]:
        # Its episodes are made of the scores of probes; what is drawn besides is not looked at.
        return (Stage("metric", self.steps, (TaskRequest(num_tasks=None, rows=2),)),)

    def init(self, seeds: Tensor) -> State:
        """A metric by which all tasks are alike."""
        inputs, H = self._known.score.shape[1] + self._known.features.shape[1], self.hidden
        shapes = {"w1": (inputs, H), "w2": (H, H), "r1": (2 * H, H), "r2": (H,), "alpha": (H,)}
        wanted = {"siamese": ("w1", "w2", "alpha"), "relation": ("w1", "w2", "r1", "r2")}.get(self.metric, ("w1", "w2"))
        params = {
            n: (2 * _noise.uniform(seeds, i, *shapes[n], stream=_INIT) - 1) * shapes[n][0] ** -0.5
            for i, n in enumerate(wanted)
        }
        params |= {"b1": torch.zeros(1, H), "gain": torch.zeros(1)}
        if self.metric == "siamese":  # Pairs that differ are of two families: from there the differences learn.
            params |= {"bias": torch.zeros(1), "alpha": -params["alpha"].abs()}
        return _params.begin(params, seeds)

    def update(self, meta_state: State, batch: TaskBatch) -> tuple[State, dict[str, float]]:
        known, step, T = self._known, meta_state.step[None], len(self._known.score)
        noise_TP = self.noise * _noise.normal(meta_state.seeds, step, *known.score.shape, stream=_NOISE)[0]
        told_T1 = _noise.uniform(meta_state.seeds, step, T, 1, stream=_UNKNOWN)[0] < 0.5
        asked = source_tasks.inputs(known.score + noise_TP, known.features * told_T1)
        support = source_tasks.inputs(known.score, known.features)
        leaves = optim.leaves(meta_state.params)
        params = {n: p[0] for n, p in leaves.items()}
        loss = task_metrics.loss(self.metric, params, asked, support, self._others(), known.family).mean()
        metrics = {"loss": float(loss.detach()), "gain": float(meta_state.params["gain"])}
        return _params.raised(meta_state, leaves, -loss, self.lr), metrics

    def prior(self, meta_state: State) -> Prior:
        known, space = self._known, _start.space_of(self.tasks, self.space)
        every = features.enumerate_valid(space)
        assert every is not None
        found = SourceTasks(
            self.metric,
            {n: p[0] for n, p in meta_state.params.items()},
            source_tasks.inputs(known.score, known.features),
            known.member,
            known.ranks,
            _ops.index(every.archs[known.ranks.rows.long()], space.choices),
            _ops.index(every.archs[known.probes], space.choices),
        )
        made = _start.prior(self.tasks, space, source_tasks.pack(found), "probed_portfolio")
        return Prior(made.params, made.about | {"metric": self.metric})

    def _others(self) -> Tensor:
        """Which tasks support each as new, float32 `[T, F, T]`: not itself, unless its family has no other."""
        member_FT = self._known.member
        alone_T = (member_FT.T @ member_FT).sum(1) == 1
        apart_TT = 1 - torch.diag((~alone_T).float())
        return member_FT[None] * apart_TT[:, None]

    @cached_property
    def _known(self) -> _Known:
        space = _start.space_of(self.tasks, self.space)
        ranks = rank_sources.fit(space, self.tasks._replace(auxiliary=()))
        if ranks is None:
            raise UserError(f"No task on space '{self.space}' has a score to copy.")
        tasks = [self.tasks.tasks[k] for k in ranks.tasks.long().tolist()]
        score_TN = torch.stack([x.normal_scores for x in tasks]).nan_to_num(-3.0)
        rows_M = ranks.rows.long()
        probes_P = rows_M[_most_telling(score_TN[:, rows_M], self.probes)]
        names = list(dict.fromkeys(x.family for x in tasks))
        family_T = torch.tensor([names.index(x.family) for x in tasks])
        return _Known(
            ranks,
            probes_P,
            score_TN[:, probes_P],
            torch.stack([task_features(x.task) for x in tasks]),
            family_T,
            torch.nn.functional.one_hot(family_T, len(names)).float().T.contiguous(),
        )


def _most_telling(score_TM: Tensor, count: int) -> Tensor:
    """Architectures whose scores tell tasks apart, each by what those before it leave open, int64 `[count]`: the pivots of a
    Cholesky decomposition of their covariance over tasks. Only ranked ones, as probes are evaluations too."""
    left_TM, found = score_TM - score_TM.mean(0), []
    for _ in range(min(count, score_TM.shape[1])):
        found.append(int(left_TM.square().sum(0).argmax()))
        pivot_T = torch.nn.functional.normalize(left_TM[:, found[-1]], dim=0)
        left_TM = left_TM - pivot_T[:, None] * (pivot_T @ left_TM)
    return torch.tensor(found)
