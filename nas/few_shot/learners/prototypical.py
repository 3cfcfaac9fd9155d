"""Prototypical networks (Snell, Swersky & Zemel 2017, arXiv:1703.05175): the nearest mean of the support's embeddings.

Equation 1: the prototype of a class is c_w = mean over its support of f(x). Equation 2: p(w | x) = softmax over w of
-d(f(x), c_w), with the squared Euclidean distance d. Training minimizes -log p of the true class (algorithm 1).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from controller import Amount
from nas.few_shot import learner
from nas.few_shot.backbone import Network, Params
from nas.few_shot.episodes import Episodes
from nas.few_shot.learner import Gradient, Problem

__all__ = ["Prototypical"]


@dataclass(frozen=True)
class Prototypical:
    """Learns an embedding in which images lie near the mean of their class."""

    problem: Problem
    lr: float = 2e-3
    tasks: int = 1
    train_way: int = 40
    """More classes than in a test make training harder and the embedding better (section 2.6); the paper takes 60."""
    train_shot: int = 0
    train_queries: int = 5
    scale: Amount = 1.0
    """Of the distances before the softmax, the paper's; 0: one over the square root of the embedding's length E. With 1 a network
    begins far too sure of its answers where E is large: on Tiny ImageNet its first loss is 98, and a guess has 3.7. After 150
    steps of a small network there (5-way 1-shot, validation classes) 29% with 1, 36% with the root; after 120 on Omniglot 77% and
    85%. On Tiny ImageNet with Conv-4, after 380 steps, test classes: 30.8 and 36.9. Longer trainings were not compared."""

    optimizer = "adam"
    transductive = False
    fixed_way = False

    @cached_property
    def embedding(self) -> Network:
        return self.problem.backbone.embedding()

    def init(self, seed: int) -> Params:
        return self.embedding.init(seed)

    def gradient(self, params: Params, episodes: Episodes, seed: int, step: int) -> Gradient:
        def loss(params: Params) -> tuple[Tensor, Params]:
            support, query, statistics = learner.train_together(self.embedding.train, params, episodes)
            return learner.cross_entropy(self._logits(query, support.mean(2)), episodes.query), statistics

        return learner.gradient(loss, params, self.embedding.statistics)

    def adapt(self, params: Params, support: Tensor) -> Tensor:
        """The prototypes `[T, W, E]`."""
        embedded = learner.over_tasks(self.embedding, params, learner.flat(support))
        return embedded.unflatten(1, support.shape[1:3]).mean(2)

    def logits(self, params: Params, adapted: Tensor, query: Tensor) -> Tensor:
        return self._logits(learner.over_tasks(self.embedding, params, query), adapted)

    def _logits(self, query: Tensor, prototypes: Tensor) -> Tensor:
        return minus_distance(query, prototypes) * (self.scale or query.shape[-1] ** -0.5)


def minus_distance(query: Tensor, prototypes: Tensor) -> Tensor:
    """Minus the squared Euclidean distances, `[T, N, W]`, of `[T, N, E]` and `[T, W, E]`."""
    # By the binomial formula: all differences at once would take N W E numbers. |query|^2 is alike for all classes, and stays
    # for those who read the values as distances.
    wide = torch.promote_types(query.dtype, torch.float32)
    with torch.autocast("cpu", enabled=False):  # In bfloat16 the difference of such large numbers would be off by 10.
        query, prototypes = query.to(wide), prototypes.to(wide)
        squares = query.square().sum(-1)[:, :, None] + prototypes.square().sum(-1)[:, None]
        return 2 * query @ prototypes.mT - squares
