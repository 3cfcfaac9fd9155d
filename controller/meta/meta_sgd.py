"""Meta-SGD for a search policy (Li, Zhou, Chen & Li 2017, arXiv:1707.09835): a start, and for each of its numbers a step size.

Algorithm 2 of the paper, with a task's table for its trajectories: theta_k = theta + alpha * grad F_k(theta), element by element
(equation 1), and both theta and alpha are learned by F_k(theta_k) (equation 2). A negative step size is allowed: where all tasks
agree, a logit may be held back. The inner steps are MAML's (`_adapt.py`).

In a search a step waits for a window of evaluations, the mean of whose gradients it takes (`policies/update_rules.py`).

Shapes: `K` tasks, `D` decisions, `C` choices.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from controller._base import Prior, Stage, TaskBatch, TaskRequest, TaskSet
from controller._settings_types import Amount, Count, Positive
from controller.meta import _adapt, _params, _start
from controller.meta._params import State
from controller.policies import optim

__all__ = ["MetaSgd"]


@dataclass(frozen=True)
class MetaSgd:
    """Learns the start of a policy and the rate of each of its logits by the score after a few steps on each task."""

    tasks: TaskSet
    space: str = "nasbench201"
    """The one space whose policy is learned."""
    steps: Count = 60
    lr: Positive = 0.1
    """Of Adam, for the start; as MAML's."""
    rate_lr: Positive = 0.1
    """Of Adam, for the rates. With `steps`, a rate moves by 6 at most, more than `inner_lr`: it may turn negative."""
    inner_lr: Positive = 5.0
    """Every rate before training; as MAML's."""
    inner_steps: Count = 2
    entropy: Amount = 0.5
    """Weight of the start's entropy, for the reason that MAML has it."""
    estimate: Literal["exact", "sampled"] = "exact"
    samples: Count = 20
    """Architectures of a task and step, where they are drawn; and evaluations of a search for each step."""
    quick_options: ClassVar[Mapping[str, Any]] = {"space": "transnas-micro", "steps": 30, "samples": 4}

    @property
    def stages(self) -> tuple[Stage, ...]:
        return (Stage("start", self.steps, (TaskRequest(num_tasks=None),)),)

    def init(self, seeds: Tensor) -> State:
        """A start that prefers nothing, with equal rates."""
        logits = _start.begin(_start.space_of(self.tasks, self.space), seeds).logits
        return _params.begin({"logits": logits, "rates": torch.full_like(logits, self.inner_lr)}, seeds)

    def update(self, meta_state: State, batch: TaskBatch) -> tuple[State, dict[str, float]]:
        space = _start.space_of(self.tasks, self.space)
        known = _start.tables(self.tasks, space, batch)
        leaves = optim.leaves(meta_state.params)
        score_K = self.adapted(leaves["logits"][0], leaves["rates"][0], known.scores, meta_state)
        entropy = _start.entropy(leaves["logits"], space.choices)[0]
        gain = (known.weight * score_K).sum() + self.entropy * entropy
        after = _params.raised(meta_state, leaves, gain, {"logits": self.lr, "rates": self.rate_lr})
        metrics = {
            "adapted": float((known.weight * score_K.detach()).sum()),
            "entropy": float(entropy.detach()),
            "rate": float(after.params["rates"].mean()),
        }
        return after, metrics

    def adapted(self, logits: Tensor, rates: Tensor, scores: Tensor, meta_state: State) -> Tensor:
        """The expected score after the inner steps, or an estimate of it, `[K]`; logits and rates `[D, C]`."""
        if self.estimate == "exact":
            return _adapt.exact(logits, scores, rates, self.inner_steps)
        seeds, step = meta_state.seeds, int(meta_state.step)
        return _adapt.sampled(logits, scores, rates, self.inner_steps, self.samples, seeds, step)

    def prior(self, meta_state: State) -> Prior:
        space = _start.space_of(self.tasks, self.space)
        params = meta_state.params | {"window": torch.tensor([float(self.samples)])}
        return _start.prior(self.tasks, space, params, "learned_policy")
