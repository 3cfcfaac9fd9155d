"""ANIL, almost no inner loop (Raghu, Raghu, Bengio & Vinyals 2020, arXiv:1909.09157, section 4): MAML whose inner loop moves the

classifier's last layer alone.

Section 4.1: of theta = (theta_1, ..., theta_l) only theta_l takes steps; the layers below are learned by the outer loop.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import Tensor

from nas.few_shot import inner_loop, learner
from nas.few_shot.backbone import Network, Params
from nas.few_shot.episodes import Episodes
from nas.few_shot.learner import Gradient, Problem

__all__ = ["Anil"]


@dataclass(frozen=True)
class Anil:
    """Learns an embedding and a linear layer that a few steps on the support adapt."""

    problem: Problem
    lr: float = 3e-3
    tasks: int = 16
    train_way: int = 0
    train_shot: int = 0
    train_queries: int = 5
    inner_lr: float = 0.1
    """The paper's for Omniglot (appendix B)."""
    inner_steps: int = 5
    test_steps: int = 10
    """As the paper; steps of one layer cost next to nothing."""

    optimizer = "adam"
    transductive = True
    fixed_way = True

    @cached_property
    def embedding(self) -> Network:
        return self.problem.backbone.embedding(batch_statistics=True)

    def init(self, seed: int) -> Params:
        return self.problem.backbone.classifier(self.problem.way, batch_statistics=True).init(seed)

    def gradient(self, params: Params, episodes: Episodes, seed: int, step: int) -> Gradient:
        def loss(params: Params) -> tuple[Tensor, Params]:
            adapted = self._adapted(params, episodes.support, self.inner_steps)
            logits = self.logits(params, adapted, learner.flat(episodes.query))
            return learner.cross_entropy(logits, episodes.query), {}

        return learner.gradient(loss, params)

    def adapt(self, params: Params, support: Tensor) -> Params:
        """The linear layer of each task: `weight` `[T, W, E]`, `bias` `[T, W]`."""
        return self._adapted(params, support, self.test_steps)

    def _adapted(self, params: Params, support: Tensor, steps: int) -> Params:
        target = learner.labels(support)
        head = {name: params[f"head.{name}"] for name in ("weight", "bias")}

        def of_task(embedded: Tensor) -> Params:
            def loss(head: Params) -> Tensor:
                return torch.nn.functional.cross_entropy(embedded @ head["weight"].mT + head["bias"], target)

            return inner_loop.descend(loss, head, self.inner_lr, steps)

        return torch.func.vmap(of_task)(self._embedded(params, learner.flat(support)))

    def logits(self, params: Params, adapted: Params, query: Tensor) -> Tensor:
        return self._embedded(params, query) @ adapted["weight"].mT + adapted["bias"][:, None]

    def _embedded(self, params: Params, images: Tensor) -> Tensor:
        # Task by task and not as one batch: the statistics of batch norm are those of a task.
        return torch.func.vmap(partial(learner.before_head, self.embedding, params))(images)
