"""Reptile (Nichol, Achiam & Schulman 2018, arXiv:1803.02999): moves the start towards where training on a task ends.

Algorithm 2 (batched): theta <- theta + epsilon * mean over tasks of (theta_i - theta), where theta_i are the weights after k
steps of the inner optimizer on task i. So theta - theta_i is what `gradient` gives, and plain steps of size epsilon follow it.
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
from search_spaces import _noise

__all__ = ["Reptile"]

_BETA_SQUARE, _EPS = 0.999, 1e-8
"""Adam's, without momentum (beta1 = 0), as section 6.1 has it; each task begins with fresh moments."""


@dataclass(frozen=True)
class Reptile:
    """Learns weights that are near to the trained weights of every task."""

    problem: Problem
    lr: float = 1.0
    """Epsilon, which falls to 0 over training (table 3)."""
    tasks: int = 5
    train_way: int = 0
    train_shot: int = 10
    """More than in a test, as the paper's (table 3); Reptile has no queries in training."""
    train_queries: int = 0
    inner_lr: float = 3e-3
    """Three times the paper's, which trains for 100,000 steps. Chosen on validation classes of Omniglot, 5-way 1-shot, after
    1,000 steps (`docs/few_shot.md` has the figures of both on test classes)."""
    inner_steps: int = 5
    inner_batch: int = 10
    test_steps: int = 50

    optimizer = "sgd"
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
        support = torch.cat([episodes.support, episodes.query], 2)
        # Streams 0 to 5 draw episodes.
        batches = _batches(support, self.inner_steps, self.inner_batch, seed, step, stream=6)
        adapted, loss = self._adapted(params, support, batches)
        return Gradient(loss.mean(), {n: (p - adapted[n]).mean(0) for n, p in params.items()}, {})

    def adapt(self, params: Params, support: Tensor) -> Params:
        """Weights of each task, `[T, ...]` each."""
        batches = _batches(support, self.test_steps, self.inner_batch, 0, 0, stream=7)
        return self._adapted(params, support, batches)[0]

    def _adapted(self, params: Params, support: Tensor, batches: Tensor) -> tuple[Params, Tensor]:
        """Weights after a step on each of `batches` `[T, steps, B]`, indices into the flat support; the last losses `[T]`."""
        network, target = self.network, learner.labels(support)

        def of_task(images: Tensor, batches: Tensor) -> tuple[Params, Tensor]:
            weights, square = params, {n: torch.zeros_like(p) for n, p in params.items()}
            loss = images.new_zeros(())
            for i, batch in enumerate(batches, start=1):

                def loss_of(weights: Params, batch: Tensor = batch) -> Tensor:
                    return torch.nn.functional.cross_entropy(network(weights, images[batch]), target[batch])

                grads, loss = torch.func.grad_and_value(loss_of)(weights)
                square = {n: _BETA_SQUARE * v + (1 - _BETA_SQUARE) * grads[n].square() for n, v in square.items()}
                scale = 1 - _BETA_SQUARE**i
                weights = {
                    n: p - self.inner_lr * grads[n] / ((square[n] / scale).sqrt() + _EPS) for n, p in weights.items()
                }
            return weights, loss

        with torch.no_grad():
            return torch.func.vmap(of_task)(learner.flat(support), batches)

    def logits(self, params: Params, adapted: Params, query: Tensor) -> Tensor:
        return torch.func.vmap(self.network)(adapted, query)


def _batches(support: Tensor, steps: int, size: int, seed: int, step: int, stream: int) -> Tensor:
    """Indices of the images of each inner step, int64 `[T, steps, B]`: in a random order, over and over."""
    tasks, count = len(support), support.shape[1] * support.shape[2]
    size = min(size, count)
    rounds = -(-steps * size // count)
    bits = _noise.bits(torch.tensor([seed]), step, tasks, rounds, count, stream=stream)[0]
    return bits.argsort(dim=-1, stable=True).flatten(1)[:, : steps * size].unflatten(1, (steps, size))
