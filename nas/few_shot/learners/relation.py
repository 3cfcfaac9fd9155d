"""Relation networks (Sung, Yang, Zhang, Xiang, Torr & Hospedales 2018, arXiv:1711.06025): a learned comparison.

Equation 1: r(x, w) = g([f_w, f(x)]), from 0 to 1, where f_w is the sum of the feature maps of a class's support and [ , ] joins
maps channel by channel. Here it is their mean, times the number of them in training: the same there, and as large with any other.
Equation 2: training minimizes the squared error between r and 1 for the true class, 0 for the others.
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

__all__ = ["Relation"]

_G = "relation."
"""Before the names of the comparison's weights."""
_HIDDEN = 8
"""Of the comparison's last layer but one (section 3.4)."""


@dataclass(frozen=True)
class Relation:
    """Learns feature maps and a network that says how alike two of them are."""

    problem: Problem
    lr: float = 1e-3
    tasks: int = 1
    train_way: int = 0
    train_shot: int = 0
    train_queries: int = 5
    """The paper has 19 at 5-way 1-shot, one episode a step. After 1.5 core-minutes on Omniglot (5-way 1-shot, validation classes)
    93% with 4 tasks of 10 queries, 96% with 4 of 3 and with 1 of 5."""
    least_side: int = 4
    """Places a side that feature maps keep, as those of the paper do (section 3.4): the last halvings are left out. With
    1 the comparison sees single numbers: 94.7 in place of 97.6 on Omniglot, 5-way 1-shot, in eight core-minutes."""

    former = {"least_side": "1", "tasks": "4", "train_queries": "10"}
    """Of runs and exports that do not name it."""
    optimizer = "adam"
    transductive = False
    fixed_way = False

    @cached_property
    def embedding(self) -> Network:
        return self.problem.backbone.maps(max(self.least_side, 1))

    @cached_property
    def comparison(self) -> Network:
        channels, height, width = self.problem.backbone.size(max(self.least_side, 1))
        return Network(lambda: comparison(channels, height, width))

    def init(self, seed: int) -> Params:
        return self.embedding.init(seed) | {_G + name: p for name, p in self.comparison.init(seed).items()}

    def gradient(self, params: Params, episodes: Episodes, seed: int, step: int) -> Gradient:
        def loss(params: Params) -> tuple[Tensor, Params]:
            maps, compare = self._split(params)
            support, query, statistics = learner.train_together(self.embedding.train, maps, episodes)
            score, compared = self.comparison.train(compare, pairs(self._of_classes(support), query).flatten(0, 2))
            score = score.view(len(support), -1, support.shape[1])
            target = torch.nn.functional.one_hot(learner.labels(episodes.query), support.shape[1]).to(score.dtype)
            value = (score.sigmoid() - target).square().mean()
            return value, statistics | {_G + name: s for name, s in compared.items()}

        fixed = self.embedding.statistics | {_G + name for name in self.comparison.statistics}
        return learner.gradient(loss, params, fixed)

    def adapt(self, params: Params, support: Tensor) -> Tensor:
        """f_w of each class `[T, W, F, h, w]`."""
        maps, _ = self._split(params)
        embedded = learner.over_tasks(self.embedding, maps, learner.flat(support)).unflatten(1, support.shape[1:3])
        return self._of_classes(embedded)

    def logits(self, params: Params, adapted: Tensor, query: Tensor) -> Tensor:
        """The scores before their sigmoid."""
        maps, compare = self._split(params)
        joined = pairs(adapted, learner.over_tasks(self.embedding, maps, query))
        return self.comparison(compare, joined.flatten(0, 2)).view(joined.shape[:3])

    def _of_classes(self, maps: Tensor) -> Tensor:
        """f_w `[T, W, F, h, w]` of the maps `[T, W, K, F, h, w]` of K images of each class."""
        return maps.mean(2) * (self.train_shot or self.problem.shot)

    def _split(self, params: Params) -> tuple[Params, Params]:
        compare = {n.removeprefix(_G): p for n, p in params.items() if n.startswith(_G)}
        return {n: params[n] for n in self.embedding.names}, compare


def pairs(classes: Tensor, query: Tensor) -> Tensor:
    """Each query joined with each class, `[T, N, W, 2F, h, w]`; classes `[T, W, F, h, w]`, query `[T, N, F, h, w]`."""
    both = (classes.shape[0], query.shape[1], *classes.shape[1:])
    return torch.cat([classes[:, None].expand(both), query[:, :, None].expand(both)], 3)


def comparison(channels: int, height: int, width: int) -> nn.Module:
    """g: two blocks of convolution, two linear layers (section 3.4), `[N, 2 channels, h, w]` to `[N, 1]`, before the sigmoid."""
    layers: list[nn.Module] = []
    for inputs in (2 * channels, channels):
        layers += [nn.Conv2d(inputs, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU()]
        if min(height, width) > 1:
            layers.append(nn.MaxPool2d(2))
            height, width = height // 2, width // 2
    sizes = (channels * height * width, _HIDDEN, 1)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(sizes[0], sizes[1]), nn.ReLU(), nn.Linear(sizes[1], sizes[2]))
