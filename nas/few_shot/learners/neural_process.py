"""Conditional neural processes (Garnelo et al. 2018, arXiv:1807.01613), as they classify (section 4.3).

Equations 1 to 3: r_i = h(x_i, y_i) for each image of the support; r is their mean, so that their order does not matter;
phi = g(x, r) are the logits of a query. For classification the mean is taken class by class.

The paper joins the means of all classes, and g answers for all classes at once (`joined`): it has to learn for each place anew
what it is to be like the class there, and only for one number of classes. By default the logit of class k is g(h(x), r_k, r),
where r is the mean of all classes: the same for each place, and for any number of classes.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

import torch
from torch import Tensor, nn

from controller import Range
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
    lr: float = 3e-3
    tasks: int = 16
    train_way: int = 0
    train_shot: int = 0
    train_queries: int = 5
    hidden: Annotated[int, Range(1)] = 64
    """Numbers that a class is summed up in; not ablated."""
    joined: bool = False
    """Whether g sees the classes side by side, as the paper's does. After 0.75 core-minutes on Omniglot (5-way 1-shot,
    validation classes, another training beside it) 51% so, and 83% with one g for each class."""

    former = {"joined": "true", "lr": "0.001"}
    """Of runs and exports that do not name them."""
    optimizer = "adam"
    transductive = False
    halving = "stride"
    """Of the default backbone. An image takes a quarter of the time, and this learner needs many steps: after 0.75
    core-minutes, as said at `joined`, 83%, by max-pooling 64%."""

    @property
    def fixed_way(self) -> bool:
        return self.joined

    @cached_property
    def embedding(self) -> Network:
        return self.problem.backbone.embedding()

    @cached_property
    def networks(self) -> tuple[Network, Network]:
        """h, of an embedding; g, of a query beside what the support is summed up in."""
        size, way, hidden = self.problem.backbone.size()[0], self.problem.way, self.hidden
        if self.joined:
            return (
                Network(lambda: perceptron(size, hidden, hidden)),
                Network(lambda: perceptron(size + way * hidden, 2 * hidden, way)),
            )
        wide = (4 * hidden,) * 3
        return Network(lambda: perceptron(size, hidden)), Network(lambda: perceptron(3 * hidden, *wide, 1))

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
        """The means of h over the images of each class `[T, W, hidden]`."""
        embedded = learner.over_tasks(self.embedding, self._embedding(params), learner.flat(support))
        return self._summary(params, embedded.unflatten(1, support.shape[1:3]))

    def logits(self, params: Params, adapted: Tensor, query: Tensor) -> Tensor:
        return self._answer(params, adapted, learner.over_tasks(self.embedding, self._embedding(params), query))

    def _embedding(self, params: Params) -> Params:
        return {name: params[name] for name in self.embedding.names}

    def _summary(self, params: Params, support: Tensor) -> Tensor:
        """Of embeddings `[T, W, K, E]`; the label of an image is the place of its class's mean."""
        return self.networks[0](learner.part(params, _H), support).mean(2)

    def _answer(self, params: Params, classes: Tensor, query: Tensor) -> Tensor:
        """Of summaries `[T, W, hidden]` and embeddings `[T, N, E]`: `[T, N, W]`."""
        (h, g), shape = self.networks, (-1, query.shape[1], -1, -1)
        if self.joined:
            beside = classes.flatten(1)[:, None].expand(shape[:-1])
            return g(learner.part(params, _G), torch.cat([query, beside], -1))
        asked = h(learner.part(params, _H), query)[:, :, None]
        every = torch.cat([classes, classes.mean(1, keepdim=True).expand_as(classes)], -1)[:, None].expand(shape)
        return g(learner.part(params, _G), torch.cat([asked.expand(-1, -1, classes.shape[1], -1), every], -1))[..., 0]


def perceptron(*sizes: int) -> nn.Sequential:
    """Linear layers with rectifiers between them."""
    linear = [nn.Linear(a, b) for a, b in itertools.pairwise(sizes)]
    return nn.Sequential(*[layer for each in linear for layer in (each, nn.ReLU())][:-1])
