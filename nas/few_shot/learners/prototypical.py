"""Prototypical networks (Snell, Swersky & Zemel 2017, arXiv:1703.05175): the nearest mean of the support's embeddings.

Equation 1: the prototype of a class is c_w = mean over its support of f(x). Equation 2: p(w | x) = softmax over w of
-d(f(x), c_w), with the squared Euclidean distance d. Training minimizes -log p of the true class (algorithm 1).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

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
            return learner.cross_entropy(minus_distance(query, support.mean(2)), episodes.query), statistics

        return learner.gradient(loss, params, self.embedding.statistics)

    def adapt(self, params: Params, support: Tensor) -> Tensor:
        """The prototypes `[T, W, E]`."""
        embedded = learner.over_tasks(self.embedding, params, learner.flat(support))
        return embedded.unflatten(1, support.shape[1:3]).mean(2)

    def logits(self, params: Params, adapted: Tensor, query: Tensor) -> Tensor:
        return minus_distance(learner.over_tasks(self.embedding, params, query), adapted)


def minus_distance(query: Tensor, prototypes: Tensor) -> Tensor:
    """Minus the squared Euclidean distances, `[T, N, W]`, of `[T, N, E]` and `[T, W, E]`."""
    # By the binomial formula: all differences at once would take N W E numbers. |query|^2 is alike for all classes, and stays
    # for those who read the values as distances.
    squares = query.square().sum(-1)[:, :, None] + prototypes.square().sum(-1)[:, None]
    return 2 * query @ prototypes.mT - squares
