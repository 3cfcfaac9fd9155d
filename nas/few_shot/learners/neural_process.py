"""Conditional neural processes (Garnelo et al. 2018, arXiv:1807.01613), as they classify (section 4.3).

Equations 1 to 3: r_i = h(x_i, y_i) for each image of the support; r is their mean, so that their order does not matter;
phi = g(x, r) are the logits of a query. For classification the mean is taken class by class, and the means are joined.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from nas.few_shot import learner
from nas.few_shot.backbone import Network, Params
from nas.few_shot.episodes import Episodes
from nas.few_shot.learner import Gradient, Problem

__all__ = ["NeuralProcess"]

_H, _G = "h.", "g."
"""Before the names of the encoder's and the decoder's weights."""


@dataclass(frozen=True)
class NeuralProcess:
    """Learns to sum a support up in one vector, and to answer from it and the query."""

    problem: Problem
    lr: float = 1e-3
    tasks: int = 16
    train_way: int = 0
    train_shot: int = 0
    train_queries: int = 5
    hidden: int = 64
    """Numbers that a class is summed up in; not ablated."""

    optimizer = "adam"
    transductive = False
    fixed_way = True
    halving = "stride"
    """Of the default backbone. An image takes a quarter of the time, and this learner needs many steps: after 0.4 core-minutes
    on Omniglot (5-way 1-shot, validation classes) 52%, by max-pooling 49% after a whole one."""

    @cached_property
    def embedding(self) -> Network:
        return self.problem.backbone.embedding()

    @cached_property
    def networks(self) -> tuple[Network, Network]:
        """h, of an embedding; g, of a query's embedding beside the support's vector."""
        size, way, hidden = self.problem.backbone.size()[0], self.problem.way, self.hidden
        return (
            Network(lambda: nn.Sequential(nn.Linear(size, hidden), nn.ReLU(), nn.Linear(hidden, hidden))),
            Network(
                lambda: nn.Sequential(nn.Linear(size + way * hidden, 2 * hidden), nn.ReLU(), nn.Linear(2 * hidden, way))
            ),
        )

    def init(self, seed: int) -> Params:
        named = zip((_H, _G), self.networks, strict=True)
        return self.embedding.init(seed) | {p + n: w for p, net in named for n, w in net.init(seed).items()}

    def gradient(self, params: Params, episodes: Episodes, seed: int, step: int) -> Gradient:
        def loss(params: Params) -> tuple[Tensor, Params]:
            embedded = {n: params[n] for n in self.embedding.names}
            support, query, statistics = learner.train_together(self.embedding.train, embedded, episodes)
            logits = self._answer(params, self._summary(params, support), query)
            return learner.cross_entropy(logits, episodes.query), statistics

        return learner.gradient(loss, params, self.embedding.statistics)

    def adapt(self, params: Params, support: Tensor) -> Tensor:
        """The support's vector `[T, W hidden]`."""
        embedded = learner.over_tasks(self.embedding, self._embedding(params), learner.flat(support))
        return self._summary(params, embedded.unflatten(1, support.shape[1:3]))

    def logits(self, params: Params, adapted: Tensor, query: Tensor) -> Tensor:
        return self._answer(params, adapted, learner.over_tasks(self.embedding, self._embedding(params), query))

    def _embedding(self, params: Params) -> Params:
        return {name: params[name] for name in self.embedding.names}

    def _summary(self, params: Params, support: Tensor) -> Tensor:
        """Of embeddings `[T, W, K, E]`; the label of an image is the place of its class's mean."""
        return self.networks[0](learner.part(params, _H), support).mean(2).flatten(1)

    def _answer(self, params: Params, summary: Tensor, query: Tensor) -> Tensor:
        beside = summary[:, None].expand(-1, query.shape[1], -1)
        return self.networks[1](learner.part(params, _G), torch.cat([query, beside], -1))
