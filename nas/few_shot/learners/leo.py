"""Latent embedding optimization (Rusu et al. 2019, arXiv:1807.05960): the inner loop moves a small code of the classifier.

Equation 3: an encoder and a relation network make of a support, class by class, the mean and spread of a code z. Equation 4: a
decoder makes of z the mean and spread of the classifier's weights for that class. Equation 5: steps of gradient descent on z,
decoded anew each time, then `finetuning_steps` on the weights themselves. Equation 6: training minimizes the loss of the
queries, plus beta times the divergence of z's distribution from a standard normal, plus gamma times the distance of the
encoder's z from where the steps led.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor, nn

from nas.few_shot import learner
from nas.few_shot.backbone import Network, Params
from nas.few_shot.episodes import Episodes
from nas.few_shot.learner import Gradient, Problem
from search_spaces import _noise

__all__ = ["Leo"]

_CODER = "coder."
_RATES = ("log_rate_code", "log_rate_weights")
"""Both inner step sizes are learned (section 3.1), by their logarithms, so that they stay positive."""


@dataclass(frozen=True)
class Leo:
    """Learns an embedding, a code for classifiers of it, and steps in the space of the codes."""

    problem: Problem
    lr: float = 1e-3
    tasks: int = 12
    train_way: int = 0
    train_shot: int = 0
    train_queries: int = 5
    code: int = 64
    """Numbers of z a class, and of a hidden layer; the paper's, as all that follows (section 4.2.1 and appendix B)."""
    code_rate: float = 1.0
    weight_rate: float = 0.001
    code_steps: int = 5
    finetuning_steps: int = 5
    beta: float = 0.001
    gamma: float = 1e-8
    # The authors' program has other scales, which the paper does not state: codes begin with a spread near 0, inner steps follow
    # the sum of the losses of a support, and the divergence is a mean over the numbers of a code. With these, on Omniglot (5-way
    # 1-shot, validation classes) 89.1% in place of 91.5% after 5,001 steps, though 82% in place of 67.5% after 145.

    optimizer = "adam"
    transductive = False
    fixed_way = False
    halving = "stride"
    """Of the default backbone. An image takes a quarter of the time, and this learner needs many steps: after 0.4 core-minutes
    on Omniglot (5-way 1-shot, validation classes) 76.5%, by max-pooling 70.9% after a whole one."""

    @cached_property
    def embedding(self) -> Network:
        return self.problem.backbone.embedding()

    @cached_property
    def coder(self) -> Network:
        size = self.problem.backbone.size()[0]
        return Network(lambda: Coder(size, self.code))

    def init(self, seed: int) -> Params:
        rates = {n: torch.tensor(r).log() for n, r in zip(_RATES, (self.code_rate, self.weight_rate), strict=True)}
        return self.embedding.init(seed) | {_CODER + n: p for n, p in self.coder.init(seed).items()} | rates

    def gradient(self, params: Params, episodes: Episodes, seed: int, step: int) -> Gradient:
        def loss(params: Params) -> tuple[Tensor, Params]:
            support, query, statistics = learner.train_together(self.embedding.train, self._embedding(params), episodes)
            support, query = _unit(support), _unit(query)
            shape = (len(support), support.shape[1])
            key = torch.tensor([seed])
            noise = [
                _noise.normal(key, step, *shape, n, stream=10 + i)[0]
                for i, n in enumerate((self.code, support.shape[-1]))
            ]
            found = self._adapted(params, support, *noise)
            value = learner.cross_entropy(query @ found.weights.mT, episodes.query)
            divergence = 0.5 * (found.mean.square() + found.spread.square() - 1 - 2 * found.spread.log()).sum(-1).mean()
            moved = (found.moved.detach() - found.code).square().sum(-1).mean()
            return value + self.beta * divergence + self.gamma * moved, statistics

        return learner.gradient(loss, params, self.embedding.statistics)

    def adapt(self, params: Params, support: Tensor) -> Tensor:
        """The classifier's weights of each class `[T, W, E]`."""
        embedded = _unit(learner.over_tasks(self.embedding, self._embedding(params), learner.flat(support)))
        return self._adapted(params, embedded.unflatten(1, support.shape[1:3]), None, None).weights

    def logits(self, params: Params, adapted: Tensor, query: Tensor) -> Tensor:
        return _unit(learner.over_tasks(self.embedding, self._embedding(params), query)) @ adapted.mT

    def _embedding(self, params: Params) -> Params:
        return {name: params[name] for name in self.embedding.names}

    def _adapted(
        self, params: Params, support: Tensor, code_noise: Tensor | None, weight_noise: Tensor | None
    ) -> Adapted:
        """Of embeddings `[T, W, K, E]`; without noise codes and weights are their means, as in a test."""
        coder = learner.part(params, _CODER)
        target = learner.labels(support).repeat(len(support))
        known = support.flatten(1, 2)

        def of_weights(weights: Tensor) -> Tensor:
            # The sum over tasks of each task's mean: tasks share no code, so that each gets its own gradient.
            logits = (known @ weights.mT).flatten(0, 1)
            return torch.nn.functional.cross_entropy(logits, target) * len(support)

        def decode(code: Tensor) -> Tensor:
            mean, spread = self.coder(coder, code)
            return mean if weight_noise is None else mean + spread * weight_noise

        mean, spread = self.coder(coder, support, support)
        code = moved = mean if code_noise is None else mean + spread * code_noise
        for _ in range(self.code_steps):
            moved = moved - params[_RATES[0]].exp() * torch.func.grad(lambda z: of_weights(decode(z)))(moved)
        weights = decode(moved)
        for _ in range(self.finetuning_steps):
            weights = weights - params[_RATES[1]].exp() * torch.func.grad(of_weights)(weights)
        return Adapted(mean, spread, code, moved, weights)


def _unit(embedded: Tensor) -> Tensor:
    """Embeddings of length 1, as the paper's features are: the step sizes are meant for these."""
    return torch.nn.functional.normalize(embedded, dim=-1)


class Adapted(NamedTuple):
    """Of each class of each task."""

    mean: Tensor
    """`[T, W, Z]` of the code's distribution, as the next."""
    spread: Tensor
    code: Tensor
    """`[T, W, Z]` what was drawn, and the next where the steps led."""
    moved: Tensor
    weights: Tensor
    """`[T, W, E]` of the classifier."""


class Coder(nn.Module):
    """Encoder and decoder; called with a support it encodes, with codes alone it decodes."""

    def __init__(self, size: int, code: int):
        super().__init__()
        self.encoder = nn.Linear(size, code, bias=False)
        self.relation = nn.Sequential(
            nn.Linear(2 * code, 2 * code, bias=False), nn.ReLU(), nn.Linear(2 * code, 2 * code, bias=False)
        )
        self.decoder = nn.Linear(code, 2 * size, bias=False)

    def forward(self, x: Tensor, support: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mean and spread: of codes `[T, W, Z]` from a support `[T, W, K, E]`, or of weights `[T, W, E]` from codes."""
        if support is None:
            mean, raw = self.decoder(x).chunk(2, -1)
            # At first the spread of usual initial weights (He et al. 2015), and not 1, in which the mean would drown.
            return mean, (raw.exp() - 1 + math.sqrt(2 / mean.shape[-1])).clamp(min=1e-10)
        each = self.encoder(support)
        T, W, K, Z = each.shape
        one = each.view(T, W, K, 1, 1, Z).expand(-1, -1, -1, W, K, -1)
        other = each.view(T, 1, 1, W, K, Z).expand(-1, W, K, -1, -1, -1)
        # Every image of a class with every image of the episode.
        mean, log_spread = self.relation(torch.cat([one, other], -1)).mean((2, 3, 4)).chunk(2, -1)
        return mean, log_spread.exp()
