"""Model-agnostic meta-learning (Finn, Abbeel & Levine 2017, arXiv:1703.03400).

Equation 1: theta_i = theta - alpha grad L_i(theta), on the support of task i. Training minimizes the sum over tasks of
L_i(theta_i) on the queries (algorithm 2), through the inner steps: second derivatives, unless `first_order` (section 5.2).
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

__all__ = ["Maml"]


@dataclass(frozen=True)
class Maml:
    """Learns weights from which a few steps of gradient descent on a support lead to a good classifier."""

    problem: Problem
    lr: float = 3e-3
    """The paper has 1e-3 for 60,000 steps; within minutes a larger one gets further."""
    tasks: int = 8
    """The paper's meta-batch of Omniglot is 32 (appendix A.1). On a CPU a step takes as long as it has images, and more steps are
    worth more: after 1.5 core-minutes on Omniglot (5-way 1-shot, validation classes) 86% with 16 tasks of 5 queries, 89% with 8
    of 5, 92% with 8 of 3 and with 4 of 3."""
    train_way: int = 0
    train_shot: int = 0
    train_queries: int = 3
    inner_lr: float = 0.4
    """Alpha for Omniglot, 5-way (appendix A.1)."""
    inner_steps: int = 1
    test_steps: int = 3
    """The paper's tests take 3 steps (appendix A.1)."""
    first_order: bool = False

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
        return self.network.init(seed)

    def gradient(self, params: Params, episodes: Episodes, seed: int, step: int) -> Gradient:
        def loss(params: Params) -> tuple[Tensor, Params]:
            adapted = self._adapted(params, episodes.support, self.inner_steps)
            logits = self.logits(params, adapted, learner.flat(episodes.query))
            return learner.cross_entropy(logits, episodes.query), {}

        return learner.gradient(loss, params)

    def adapt(self, params: Params, support: Tensor) -> Params:
        """Weights of each task, `[T, ...]` each."""
        return self._adapted(params, support, self.test_steps)

    def _adapted(self, params: Params, support: Tensor, steps: int) -> Params:
        network, target = self.network, learner.labels(support)

        def of_task(images: Tensor) -> Params:
            def loss(weights: Params) -> Tensor:
                return torch.nn.functional.cross_entropy(network(weights, images), target)

            return inner_loop.descend(loss, params, self.inner_lr, steps, first_order=self.first_order)

        return torch.func.vmap(of_task)(learner.flat(support))

    def logits(self, params: Params, adapted: Params, query: Tensor) -> Tensor:
        return torch.func.vmap(self.network)(adapted, query)
