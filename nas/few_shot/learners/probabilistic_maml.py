"""Probabilistic MAML (Finn, Xu & Levine 2018, arXiv:1806.02817): learns a distribution of initial weights instead of one point.

Weights theta of a task are drawn, then adapted by gradient descent on its support.
Algorithm 1, training: theta ~ q = N(mu - gamma_q grad L(mu, queries), v_q), then phi = theta - alpha grad L(theta, support).
Minimized is L(phi, queries) + KL(q || p) with p = N(mu - gamma_p grad L(mu, support), sigma^2).
Algorithm 2, test: theta ~ p, then phi.
Learned are mu, the logarithms of both spreads, gamma_q and gamma_p, each as large as the weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from nas.few_shot import inner_loop, learner
from nas.few_shot.backbone import Network, Params
from nas.few_shot.episodes import Episodes
from nas.few_shot.learner import Gradient, Problem
from search_spaces import _noise

__all__ = ["ProbabilisticMaml"]

_PRIOR_SPREAD, _SPREAD, _PRIOR_RATE, _RATE = "log_sigma:", "log_v:", "gamma_p:", "gamma_q:"
"""Before the name of a weight: what p and q know of it."""
_PREFIXES = ("", _PRIOR_SPREAD, _SPREAD, _PRIOR_RATE, _RATE)
_NOISE = 12
"""The stream of what is drawn; 0 to 5 draw episodes."""


@dataclass(frozen=True)
class ProbabilisticMaml:
    """Learns a distribution of weights, from any of which a step of gradient descent on a support leads to a good classifier."""

    problem: Problem
    lr: float = 3e-3
    """This and `inner_lr` as MAML's."""
    tasks: int = 4
    """After 1.5 core-minutes on Omniglot (5-way 1-shot, validation classes) 68% with 16 tasks of 5 queries, 71% with 8 of 3, 74%
    with 4 of 3."""
    train_way: int = 0
    train_shot: int = 0
    train_queries: int = 3
    inner_lr: float = 0.4
    prior_lr: float = 0.001
    """Gamma_p and gamma_q before training: small beside alpha, so that training begins as MAML's does. With 0.01 the divergence
    is six times the rest of the first loss. After 0.3 core-minutes on Omniglot (5-way 1-shot, validation classes) 65%, with 0.01
    61%."""
    spread: float = 0.01
    """Both standard deviations before training: a third of those of usual initial weights. Training hardly moves them. Not
    ablated."""
    divergence: float = 1.0
    """Weight of the divergence of q from p. At 1 the loss is the negative evidence bound for each query."""
    inner_steps: int = 1
    samples: int = 5
    """Of weights, in a test; the answer is the mean of their probabilities."""

    former = {"tasks": "16", "train_queries": "5", "prior_lr": "0.01"}

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
        mean = self.network.init(seed)
        begin = {_PRIOR_SPREAD: math.log(self.spread), _SPREAD: math.log(self.spread)}
        begin |= {_PRIOR_RATE: self.prior_lr, _RATE: self.prior_lr}
        return mean | {prefix + n: torch.full_like(p, b) for prefix, b in begin.items() for n, p in mean.items()}

    def gradient(self, params: Params, episodes: Episodes, seed: int, step: int) -> Gradient:
        known, asked = learner.flat(episodes.support), learner.flat(episodes.query)
        noise = self._noise(params, len(known), seed, step)

        def loss(params: Params) -> tuple[Tensor, Params]:
            parts = self._parts(params)

            def of_task(support: Tensor, query: Tensor, noise: Params) -> tuple[Tensor, Tensor]:
                guess = self._stepped(parts.mean, query, learner.labels(episodes.query), parts.rate)
                prior = self._stepped(parts.mean, support, learner.labels(episodes.support), parts.prior_rate)
                drawn = {n: m + parts.log_spread[n].exp() * noise[n] for n, m in guess.items()}
                adapted = self._adapted(drawn, support, learner.labels(episodes.support))
                apart = [
                    divergence(m, parts.log_spread[n], prior[n], parts.log_prior_spread[n]) for n, m in guess.items()
                ]
                return self.network(adapted, query), torch.stack(apart).sum()

            logits, apart = torch.func.vmap(of_task)(known, asked, noise)
            # The mean over queries has 1 / queries of the evidence bound's sum, and so has the divergence.
            bound = self.divergence * apart.mean() / asked.shape[1]
            return learner.cross_entropy(logits, episodes.query) + bound, {}

        return learner.gradient(loss, params)

    def adapt(self, params: Params, support: Tensor) -> Params:
        """Weights of each task and sample, `[T, M, ...]` each. Every task has the same draws."""
        parts, target = self._parts(params), learner.labels(support)
        noise = self._noise(params, self.samples, 0, 0)

        def of_task(images: Tensor) -> Params:
            prior = self._stepped(parts.mean, images, target, parts.prior_rate)

            def of_sample(noise: Params) -> Params:
                drawn = {n: m + parts.log_prior_spread[n].exp() * noise[n] for n, m in prior.items()}
                return self._adapted(drawn, images, target)

            return torch.func.vmap(of_sample)(noise)

        return torch.func.vmap(of_task)(learner.flat(support))

    def logits(self, params: Params, adapted: Params, query: Tensor) -> Tensor:
        """The logarithm of the mean probability over the samples."""
        over_samples = torch.func.vmap(self.network, in_dims=(0, None))
        found = torch.func.vmap(over_samples)(adapted, query).log_softmax(-1)
        return found.logsumexp(1) - math.log(self.samples)

    def _stepped(self, weights: Params, images: Tensor, target: Tensor, rate: Params) -> Params:
        return inner_loop.descend(self._loss(images, target), weights, rate, 1)

    def _adapted(self, weights: Params, images: Tensor, target: Tensor) -> Params:
        return inner_loop.descend(self._loss(images, target), weights, self.inner_lr, self.inner_steps)

    def _loss(self, images: Tensor, target: Tensor) -> Callable[[Params], Tensor]:
        return lambda weights: torch.nn.functional.cross_entropy(self.network(weights, images), target)

    def _noise(self, params: Params, count: int, seed: int, step: int) -> Params:
        """Standard normal numbers for each weight, `[count, ...]`."""
        mean = self._parts(params).mean
        sizes = [p.numel() for p in mean.values()]
        drawn = _noise.normal(torch.tensor([seed]), step, count, sum(sizes), stream=_NOISE)[0].split(sizes, 1)
        return {n: z.unflatten(1, p.shape).to(p.dtype) for (n, p), z in zip(mean.items(), drawn, strict=True)}

    def _parts(self, params: Params) -> _Parts:
        # By the network's own order, in which the noise is handed out: that of a saved training is another.
        groups = ({n: params[prefix + n] for n in self.network.names} for prefix in _PREFIXES)
        return _Parts(*groups)


class _Parts(NamedTuple):
    """All that is learned; each by the name of a weight."""

    mean: Params
    log_prior_spread: Params
    log_spread: Params
    prior_rate: Params
    rate: Params


def divergence(mean: Tensor, log_spread: Tensor, other: Tensor, log_other: Tensor) -> Tensor:
    """Of one normal distribution, with independent numbers, from another: KL(N(mean, spread^2) || N(other, ...)), `[]`."""
    ratio = (2 * (log_spread - log_other)).exp()
    return 0.5 * (ratio + ((mean - other) / log_other.exp()).square() - 1 - 2 * (log_spread - log_other)).sum()
