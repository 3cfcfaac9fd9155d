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
"""Adam's, without momentum (beta1 = 0), as section 6.1 has it."""

_SQUARE, _STEPS = "square.", "steps"
"""Before the names of Adam's mean squares, and what counts the steps they are of."""


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
    inner_lr: float = 8e-3
    """Eight times the paper's, which trains for 100,000 steps. Chosen on validation classes of Omniglot, 5-way 1-shot, after 1.5
    core-minutes (about 520 steps): 75% with the paper's, 85% with three times as much, 86% with this."""
    inner_steps: int = 5
    inner_batch: int = 10
    test_steps: int = 50
    carry_squares: bool = True
    """Whether Adam's mean squares go on from task to task and into a test, as in the authors' program. With fresh ones every
    first step moves each weight equally far, however little it matters."""

    former = {"carry_squares": "false", "inner_lr": "0.003"}

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
        weights = self.network.init(seed)
        if not self.carry_squares:
            return weights
        return weights | {_SQUARE + n: torch.zeros_like(p) for n, p in weights.items()} | {_STEPS: torch.zeros(())}

    def gradient(self, params: Params, episodes: Episodes, seed: int, step: int) -> Gradient:
        support = torch.cat([episodes.support, episodes.query], 2)
        # Streams 0 to 5 draw episodes.
        batches = _batches(support, self.inner_steps, self.inner_batch, seed, step, stream=6)
        adapted, loss = self._adapted(params, support, batches)
        moved = {n: (params[n] - adapted[n]).mean(0) for n in self.network.names}
        if not self.carry_squares:
            return Gradient(loss.mean(), moved, {})
        squares = {n: p.mean(0) for n, p in adapted.items() if n.startswith(_SQUARE)}
        return Gradient(loss.mean(), moved, squares | {_STEPS: params[_STEPS] + batches.shape[1]})

    def adapt(self, params: Params, support: Tensor) -> Params:
        """Weights of each task, `[T, ...]` each, and Adam's mean squares, of which `logits` needs none."""
        batches = _batches(support, self.test_steps, self.inner_batch, 0, 0, stream=7)
        return self._adapted(params, support, batches)[0]

    def _adapted(self, params: Params, support: Tensor, batches: Tensor) -> tuple[Params, Tensor]:
        """Weights and mean squares after a step on each of `batches` `[T, steps, B]`, indices into the flat support; the last
        losses `[T]`."""
        network, target = self.network, learner.labels(support)
        start = {n: params[n] for n in network.names}
        begun = {n: params[_SQUARE + n] if self.carry_squares else torch.zeros_like(p) for n, p in start.items()}
        before = params[_STEPS] if self.carry_squares else 0

        def of_task(images: Tensor, batches: Tensor) -> tuple[Params, Tensor]:
            weights, square = start, begun
            loss = images.new_zeros(())
            for i, batch in enumerate(batches, start=1):

                def loss_of(weights: Params, batch: Tensor = batch) -> Tensor:
                    return torch.nn.functional.cross_entropy(network(weights, images[batch]), target[batch])

                grads, loss = torch.func.grad_and_value(loss_of)(weights)
                square = {n: _BETA_SQUARE * v + (1 - _BETA_SQUARE) * grads[n].square() for n, v in square.items()}
                scale = 1 - _BETA_SQUARE ** (before + i)
                weights = {
                    n: p - self.inner_lr * grads[n] / ((square[n] / scale).sqrt() + _EPS) for n, p in weights.items()
                }
            return weights | {_SQUARE + n: v for n, v in square.items()}, loss

        with torch.no_grad():
            return torch.func.vmap(of_task)(learner.flat(support), batches)

    def logits(self, params: Params, adapted: Params, query: Tensor) -> Tensor:
        return torch.func.vmap(self.network)({n: adapted[n] for n in self.network.names}, query)


def _batches(support: Tensor, steps: int, size: int, seed: int, step: int, stream: int) -> Tensor:
    """Indices of the images of each inner step, int64 `[T, steps, B]`: in a random order, over and over."""
    tasks, count = len(support), support.shape[1] * support.shape[2]
    size = min(size, count)
    rounds = -(-steps * size // count)
    bits = _noise.bits(torch.tensor([seed]), step, tasks, rounds, count, stream=stream)[0]
    return bits.argsort(dim=-1, stable=True).flatten(1)[:, : steps * size].unflatten(1, (steps, size))
