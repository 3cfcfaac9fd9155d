"""Siamese networks (Koch, Zemel & Salakhutdinov 2015, "Siamese neural networks for one-shot image recognition").

Section 3.1: p(x1, x2) = sigmoid(sum over j of alpha_j |f(x1)_j - f(x2)_j|) is the probability that two images are of one
class. Section 3.2: training minimizes its binary cross-entropy. The pairs are those of an episode, each query with each
support image; the few of one class weigh as much together as the many of two. A query has the class whose support images are
likeliest in the mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from nas.few_shot import learner
from nas.few_shot.backbone import Network, Params
from nas.few_shot.episodes import Episodes
from nas.few_shot.learner import Gradient, Problem

__all__ = ["Siamese"]

_ALPHA, _BIAS = "pair.alpha", "pair.bias"
_SLOPE, _BORDER = 8.0, 0.5
"""Before training the logit is `_SLOPE` times how far the mean difference of two embeddings is below `_BORDER`. Embeddings are
maxima of normalized numbers, whose mean difference is about 0.8 where two images have nothing in common. Adam moves the bias by a
learning rate a step: from 0 it would take thousands of steps to where a pair can be sure to be alike. After 0.4 core-minutes on
Omniglot (5-way 1-shot, validation classes) 93%; from a slope of 1 and a bias of 0 it was 65%."""


@dataclass(frozen=True)
class Siamese:
    """Learns an embedding and weights of its components by which two images are alike."""

    problem: Problem
    lr: float = 2e-3
    tasks: int = 1
    train_way: int = 40
    train_shot: int = 0
    train_queries: int = 5

    optimizer = "adam"
    transductive = False
    fixed_way = False

    @cached_property
    def embedding(self) -> Network:
        return self.problem.backbone.embedding()

    def init(self, seed: int) -> Params:
        size = self.problem.backbone.size()[0]
        pair = {_ALPHA: torch.full((size,), -_SLOPE / size), _BIAS: torch.full((1,), _SLOPE * _BORDER)}
        return self.embedding.init(seed) | pair

    def gradient(self, params: Params, episodes: Episodes, seed: int, step: int) -> Gradient:
        def loss(params: Params) -> tuple[Tensor, Params]:
            support, query, statistics = learner.train_together(self.embedding.train, self._embedding(params), episodes)
            logits = pair_logits(params[_ALPHA], params[_BIAS], query, support)
            way = support.shape[1]
            same = torch.nn.functional.one_hot(learner.labels(episodes.query), way).to(logits.dtype)[None, :, :, None]
            weight = torch.where(same > 0, 0.5 * way, 0.5 * way / (way - 1))
            value = torch.nn.functional.binary_cross_entropy_with_logits(
                logits, same.expand_as(logits), weight.expand_as(logits)
            )
            return value, statistics

        return learner.gradient(loss, params, self.embedding.statistics)

    def adapt(self, params: Params, support: Tensor) -> Tensor:
        """The support's embeddings `[T, W, K, E]`."""
        embedded = learner.over_tasks(self.embedding, self._embedding(params), learner.flat(support))
        return embedded.unflatten(1, support.shape[1:3])

    def logits(self, params: Params, adapted: Tensor, query: Tensor) -> Tensor:
        """The log of the mean probability of being alike."""
        embedded = learner.over_tasks(self.embedding, self._embedding(params), query)
        logits = pair_logits(params[_ALPHA], params[_BIAS], embedded, adapted)
        # In logarithms: far pairs have probabilities that a float32 rounds to 0.
        return torch.nn.functional.logsigmoid(logits).logsumexp(-1) - torch.tensor(float(adapted.shape[2])).log()

    def _embedding(self, params: Params) -> Params:
        return {name: params[name] for name in self.embedding.names}


def pair_logits(alpha: Tensor, bias: Tensor, query: Tensor, support: Tensor) -> Tensor:
    """Of each query with each support image `[T, N, W, K]`; query `[T, N, E]`, support `[T, W, K, E]`."""
    difference = (query[:, :, None, None] - support[:, None]).abs()
    return difference @ alpha + bias
