"""Known tasks with their scores of a few probes, and the metric that compares a new task with them: what `task_metric` makes.

Shapes: `P` probes, `T` known tasks, `F` families, `I` inputs of the metric, `M` architectures kept, `D` decisions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor

from controller._base import Prior
from controller.models import features, pretrained, scores, task_metrics
from controller.models.source_ranks import SourceRanks
from controller.models.task_metrics import Metric, Params
from search_spaces import Space, UserError, _ops

_METRIC, _RANKS = "metric/", "ranks/"


@dataclass(frozen=True, eq=False)
class SourceTasks:
    """What a prior knows of a space."""

    metric: Metric
    params: Params
    """Of the metric."""
    known: Tensor
    """float32 `[T, I]` the known tasks as the metric reads them."""
    member: Tensor
    """float32 `[F, T]` 1 where a task is of a family."""
    ranks: SourceRanks
    archs: Tensor
    """int64 `[M]` indices of the architectures ranked."""
    probes: Tensor
    """int64 `[P]` indices of the probes."""

    def weigh(self, score: Tensor, known: Tensor) -> Tensor:
        """How much each known task counts, `[Q, T]`, by scores `[Q, P]` of the probes and task features of `Q` searches."""
        with torch.no_grad():
            found = task_metrics.similarity(
                self.metric, self.params, inputs(score, known), self.known, self.member[None].expand(len(score), -1, -1)
            )
        return found + 1e-6  # Where nothing is alike at all, all count alike.


def inputs(score: Tensor, task_features: Tensor) -> Tensor:
    """What the metric reads of tasks, float32 `[Q, I]`: normal scores of the probes among themselves, and the features."""
    return torch.cat([scores.normal_scores(score).float(), task_features], 1)


def pack(found: SourceTasks) -> dict[str, Tensor]:
    """The tensors of a prior."""
    params = {_METRIC + n: t for n, t in found.params.items()} | {
        _RANKS + n: t for n, t in found.ranks._asdict().items()
    }
    return params | {"known": found.known, "member": found.member, "probes": found.probes.float()}


def unpack(space: Space, prior: Prior) -> SourceTasks:
    """The reverse of `pack`. Raises `UserError` for a prior of another space or of something else."""
    metric = next((m for m in get_args(Metric) if m == prior.about.get("metric")), None)
    every = features.enumerate_valid(space)
    if prior.about.get("space") != space.name or metric is None or every is None:
        raise UserError(
            f"The prior's tasks are on '{prior.about.get('space', 'another space')}', and the search is in '{space.name}'; train "
            f"one by nas meta-train --learner task_metric --learner-option space={space.name}."
        )
    groups = {g: {n.removeprefix(g): t for n, t in prior.params.items() if n.startswith(g)} for g in (_METRIC, _RANKS)}
    ranks = SourceRanks(**groups[_RANKS])
    return SourceTasks(
        metric,
        groups[_METRIC],
        prior.params["known"],
        prior.params["member"],
        ranks,
        _ops.index(every.archs[ranks.rows.long()], space.choices),
        prior.params["probes"].long(),
    )


def register(space: Space, prior: Prior) -> int:
    """The fingerprint by which `find` finds what a prior knows, for as long as the process lives."""
    fingerprint = int.from_bytes(pretrained.digest(prior).digest()[:6], "big")
    if fingerprint not in _registered:
        _registered[fingerprint] = unpack(space, prior)
    return fingerprint


def find(fingerprint: int) -> SourceTasks:
    """Raises `UserError` where the process has not registered it."""
    if fingerprint not in _registered:
        raise UserError("This search began with a prior that is not loaded; call `begin` with it, then go on.")
    return _registered[fingerprint]


_registered: dict[int, SourceTasks] = {}
