"""The baseline that is often forgotten: plain classification of all training classes, then the nearest centroid.

Chen et al. 2019 (arXiv:1904.04232) and Wang et al. 2019 (SimpleShot, arXiv:1911.04623, section 3) show that it is close to
methods which train by episodes. Embeddings are scaled to unit length, as SimpleShot's L2N.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import Tensor

from nas.few_shot import learner
from nas.few_shot.backbone import Network, Params
from nas.few_shot.episodes import Episodes
from nas.few_shot.learner import Gradient, Problem

__all__ = ["NearestCentroid"]


@dataclass(frozen=True)
class NearestCentroid:
    """Learns to tell all training classes apart; of a new task it compares embeddings."""

    problem: Problem
    lr: float = 2e-3
    tasks: int = 1
    train_way: int = 64
    """With `train_queries` and the support, the size of a batch: here an episode is only a way to draw images."""
    train_shot: int = 1
    train_queries: int = 2

    optimizer = "adam"
    transductive = False
    fixed_way = False

    @cached_property
    def network(self) -> Network:
        # Over all classes of the data: a class that does not train is never the right answer, and is soon given no weight.
        return self.problem.backbone.classifier(self.problem.classes)

    @cached_property
    def embedding(self) -> Network:
        return self.problem.backbone.embedding()

    def init(self, seed: int) -> Params:
        return self.network.init(seed)

    def gradient(self, params: Params, episodes: Episodes, seed: int, step: int) -> Gradient:
        def loss(params: Params) -> tuple[Tensor, Params]:
            images = torch.cat([episodes.support, episodes.query], 2)
            logits, statistics = self.network.train(params, images.flatten(0, 2))
            target = episodes.classes[..., None].expand(images.shape[:3]).flatten()
            return torch.nn.functional.cross_entropy(logits, target), statistics

        return learner.gradient(loss, params, self.network.statistics)

    def adapt(self, params: Params, support: Tensor) -> Tensor:
        """The centroids `[T, W, E]`, of unit length."""
        embedded = self._unit(params, learner.flat(support)).unflatten(1, support.shape[1:3])
        return torch.nn.functional.normalize(embedded.mean(2), dim=-1)

    def logits(self, params: Params, adapted: Tensor, query: Tensor) -> Tensor:
        """Cosines: of unit vectors the nearest has the largest."""
        return self._unit(params, query) @ adapted.mT

    def _unit(self, params: Params, images: Tensor) -> Tensor:
        return torch.nn.functional.normalize(
            learner.over_tasks(partial(learner.before_head, self.embedding), params, images), dim=-1
        )
