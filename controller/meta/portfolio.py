"""Portfolio: every architecture's mean normalised rank over the tasks seen; the prior of the controller of that name.

Shapes: `S` seeds of the meta-learner, `N` architectures of the space.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from controller._base import Controller, Episode, Prior
from search_spaces import _ops

__all__ = ["Portfolio"]


@dataclass(frozen=True)
class Portfolio:
    """Averages ranks: within a task the best measured architecture has 0, the worst 1; tasks weigh alike."""

    controller: Controller

    def init(self, seeds: Tensor) -> Prior:
        """Nothing known: `rank` is NaN, and `tasks`, how many measured an architecture, 0."""
        shape = (len(seeds), _ops.size(self.controller.space.choices))
        return Prior({"rank": torch.full(shape, torch.nan), "tasks": torch.zeros(shape)}, {"controller": "portfolio"})

    def update(self, prior: Prior, episodes: list[Episode]) -> Prior:
        """The mean with the episodes' tasks counted in; an episode's searches of one task count as one."""
        rank_SN, tasks_SN = prior.params["rank"], prior.params["tasks"]
        total_SN = torch.where(tasks_SN > 0, rank_SN * tasks_SN, 0.0)
        for episode in episodes:
            found_N = self._normalised(episode)
            known_N = ~found_N.isnan()
            total_SN = total_SN + torch.where(known_N, found_N, 0.0)
            tasks_SN = tasks_SN + known_N
        return prior._replace(params={"rank": total_SN / tasks_SN, "tasks": tasks_SN})

    def _normalised(self, episode: Episode) -> Tensor:
        """The rank of each architecture in one task, float32 `[N]` from 0 to 1, equal scores the same; NaN where unknown."""
        choices = self.controller.space.choices
        index, score = _ops.index(episode.archs, choices).flatten(), episode.score.flatten()
        index, score = index[~score.isnan()], score[~score.isnan()]
        total = torch.zeros(_ops.size(choices), dtype=torch.double).index_add(0, index, score.double())
        count = torch.zeros_like(total).index_add(0, index, torch.ones_like(score, dtype=torch.double))
        known = count > 0
        levels, place = torch.unique(-(total[known] / count[known]), return_inverse=True)
        ranks = torch.full(known.shape, torch.nan)
        ranks[known] = place.float() / max(len(levels) - 1, 1)
        return ranks
