"""Reptile for a search policy (Nichol, Achiam & Schulman 2018, arXiv:1803.02999): a start near to where each task's search ends.

Algorithm 2: theta <- theta + epsilon times the mean over tasks of (theta_k - theta), where theta_k is theta after a few steps up
the gradient of the expected score on task k, over its whole table. No second derivatives: the products of gradients of the later
steps with the curvature of the earlier ones bring in what MAML computes (section 5.1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from controller._base import Prior, Stage, TaskBatch, TaskRequest, TaskSet
from controller._settings_types import Amount, Count, Positive
from controller.meta import _start

__all__ = ["Reptile"]


class State(NamedTuple):
    step: Tensor
    """int64 `[]`."""
    logits: Tensor
    """float32 `[1, D, C]` the start of every search."""


@dataclass(frozen=True)
class Reptile:
    """Learns the start of a policy as the mean of where searches of the training tasks lead."""

    tasks: TaskSet
    space: str = "nasbench201"
    """The one space whose policy is learned."""
    steps: Count = 40
    lr: Positive = 0.5
    """Epsilon at first; it falls to 0 along a line."""
    inner_lr: Positive = 5.0
    """As MAML's."""
    inner_steps: Count = 10
    entropy: Amount = 0.5
    """Weight of the policy's entropy on each task, for the reason that MAML has it."""
    quick_options: ClassVar[Mapping[str, Any]] = {"space": "transnas-micro", "steps": 10}

    @property
    def stages(self) -> tuple[Stage, ...]:
        return (Stage("start", self.steps, (TaskRequest(num_tasks=None),)),)

    def init(self, seeds: Tensor) -> State:
        """A start that prefers nothing."""
        begun = _start.begin(_start.space_of(self.tasks, self.space), seeds)
        return State(begun.step, begun.logits)

    def update(self, meta_state: State, batch: TaskBatch) -> tuple[State, dict[str, float]]:
        space = _start.space_of(self.tasks, self.space)
        known = _start.tables(self.tasks, space, batch)
        logits = meta_state.logits[0]
        ends = self.ends(logits, known.scores)
        epsilon = self.lr * (1 - int(meta_state.step) / self.steps)
        change = (known.weight[:, None, None] * (ends - logits)).sum(0)
        score = (known.weight * _start.expected(known.scores, ends, space.choices)).sum()
        after = meta_state._replace(step=meta_state.step + 1, logits=(logits + epsilon * change)[None])
        return after, {"adapted": float(score), "entropy": float(_start.entropy(logits[None], space.choices))}

    def prior(self, meta_state: State) -> Prior:
        space = _start.space_of(self.tasks, self.space)
        return _start.prior(self.tasks, space, {"logits": meta_state.logits}, "reinforce")

    def ends(self, logits: Tensor, scores: Tensor) -> Tensor:
        """Where the inner steps lead from logits `[D, C]` on each task, `[K, D, C]`."""
        choices, adapted = tuple(scores.shape[1:]), logits.expand(len(scores), *logits.shape).contiguous()
        for _ in range(self.inner_steps):
            adapted = adapted.detach().requires_grad_()
            gain = _start.expected(scores, adapted, choices) + self.entropy * _start.entropy(adapted, choices)
            (slope,) = torch.autograd.grad(gain.sum(), adapted)
            adapted = adapted + self.inner_lr * slope
        return adapted.detach()
