"""MAML for a search policy (Finn, Abbeel & Levine 2017, arXiv:1703.03400): a start from which few gradient steps find good cells.

Algorithm 3 of the paper (reinforcement learning), with a task's table for its trajectories. The inner step is
theta_k = theta + alpha grad F_k(theta), where F_k is the expected score of the policy on task k. Raised is the mean over tasks of
F_k(theta_k).

`_adapt.py` has the inner steps: `exact` over the whole table, and `sampled` from drawn architectures alone, which is E-MAML.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from controller._base import Prior, Stage, TaskBatch, TaskRequest, TaskSet
from controller._settings_types import Amount, Count, Positive
from controller.meta import _adapt, _start
from controller.meta._start import State

__all__ = ["Maml"]


@dataclass(frozen=True)
class Maml:
    """Learns the start of a policy by the score after a few gradient steps on each task."""

    tasks: TaskSet
    space: str = "nasbench201"
    """The one space whose policy is learned."""
    steps: Count = 60
    lr: Positive = 0.1
    """Of Adam, for the start. With `steps`, a logit moves by 6 at most: one option of five then has 99%."""
    inner_lr: Positive = 5.0
    """A uniform policy's gradient has elements of hundredths of the scores' deviation; a step then moves logits by tenths."""
    inner_steps: Count = 2
    entropy: Amount = 0.5
    """Weight of the start's entropy. Without it the start becomes one architecture, from which a search does not come away."""
    estimate: Literal["exact", "sampled"] = "exact"
    samples: Count = 20
    """Architectures of a task and step, where they are drawn."""
    quick_options: ClassVar[Mapping[str, Any]] = {"space": "transnas-micro", "steps": 30}

    @property
    def stages(self) -> tuple[Stage, ...]:
        return (Stage("start", self.steps, (TaskRequest(num_tasks=None),)),)

    def init(self, seeds: Tensor) -> State:
        """A start that prefers nothing."""
        return _start.begin(_start.space_of(self.tasks, self.space), seeds)

    def update(self, meta_state: State, batch: TaskBatch) -> tuple[State, dict[str, float]]:
        space = _start.space_of(self.tasks, self.space)
        known = _start.tables(self.tasks, space, batch)
        leaf = meta_state.logits[0].detach().requires_grad_()
        estimated = self.exact if self.estimate == "exact" else self.sampled
        score_K = estimated(leaf, known.scores, meta_state.seeds, int(meta_state.step))
        entropy = _start.entropy(leaf[None], space.choices)[0]
        (gain,) = torch.autograd.grad((known.weight * score_K).sum() + self.entropy * entropy, leaf)
        metrics = {"adapted": float((known.weight * score_K.detach()).sum()), "entropy": float(entropy.detach())}
        return _start.moved(meta_state, gain, self.lr), metrics

    def prior(self, meta_state: State) -> Prior:
        space = _start.space_of(self.tasks, self.space)
        return _start.prior(self.tasks, space, {"logits": meta_state.logits}, "reinforce")

    def exact(self, logits: Tensor, scores: Tensor, seeds: Tensor, step: int) -> Tensor:
        """`_adapt.exact` with the settings of this learner."""
        return _adapt.exact(logits, scores, self.inner_lr, self.inner_steps)

    def sampled(self, logits: Tensor, scores: Tensor, seeds: Tensor, step: int) -> Tensor:
        """`_adapt.sampled` with the settings of this learner."""
        return _adapt.sampled(logits, scores, self.inner_lr, self.inner_steps, self.samples, seeds, step)
