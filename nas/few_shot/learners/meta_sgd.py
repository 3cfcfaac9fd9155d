"""Meta-SGD (Li, Zhou, Chen & Li 2017, arXiv:1707.09835): MAML that learns the step size of each weight as well.

Equation 3: theta_i = theta - alpha * grad L_i(theta), one step, with alpha as large as theta and its sign free. Algorithm 1
learns theta and alpha together.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from nas.few_shot import inner_loop, learner
from nas.few_shot.backbone import Network, Params
from nas.few_shot.episodes import Episodes
from nas.few_shot.learner import Gradient, Problem

__all__ = ["MetaSgd"]

_RATE = "rate:"
"""Before the name of a weight: its step size."""


@dataclass(frozen=True)
class MetaSgd:
    """Learns weights and, for each weight, how far one step of gradient descent goes."""

    problem: Problem
    lr: float = 3e-3
    tasks: int = 8
    """As of MAML. After 1.5 core-minutes on Omniglot (5-way 1-shot, validation classes) 82% with 16 tasks of 5 queries, 90%
    with 8 of 3."""
    train_way: int = 0
    train_shot: int = 0
    train_queries: int = 3
    inner_lr: float = 0.4
    """Every alpha before training: MAML's. The paper draws them from 0.005 to 0.1, and trains far longer."""

    former = {"tasks": "16", "train_queries": "5"}

    optimizer = "adam"
    transductive = True
    fixed_way = True

    @cached_property
    def network(self) -> Network:
        return self.problem.backbone.classifier(self.problem.way, batch_statistics=True)

    @cached_property
    def embedding(self) -> Network:
        return self.problem.backbone.embedding(batch_statistics=True)

    def init(self, seed: int) -> Params:
        weights = self.network.init(seed)
        return weights | {_RATE + name: torch.full_like(w, self.inner_lr) for name, w in weights.items()}

    def gradient(self, params: Params, episodes: Episodes, seed: int, step: int) -> Gradient:
        def loss(params: Params) -> tuple[Tensor, Params]:
            logits = self.logits(params, self.adapt(params, episodes.support), learner.flat(episodes.query))
            return learner.cross_entropy(logits, episodes.query), {}

        return learner.gradient(loss, params)

    def adapt(self, params: Params, support: Tensor) -> Params:
        """Weights of each task, `[T, ...]` each."""
        weights = {name: p for name, p in params.items() if not name.startswith(_RATE)}
        rates = {name: params[_RATE + name] for name in weights}
        network, target = self.network, learner.labels(support)

        def of_task(images: Tensor) -> Params:
            def loss(weights: Params) -> Tensor:
                return torch.nn.functional.cross_entropy(network(weights, images), target)

            return inner_loop.descend(loss, weights, rates, 1)

        return torch.func.vmap(of_task)(learner.flat(support))

    def logits(self, params: Params, adapted: Params, query: Tensor) -> Tensor:
        return torch.func.vmap(self.network)(adapted, query)
