"""A learned optimizer of a search policy (Andrychowicz et al. 2016, arXiv:1606.04474): an LSTM writes each logit's update.

theta_(t+1) = theta_t + m(grad_t, h_t; phi), equation 2; phi is raised along the gradient of the sum over t of F_k(theta_t), the
loss of equation 3 with all weights 1, on drawn tasks k. F_k is the exact expected score over the table. The gradients that the
LSTM reads come from drawn architectures, as in a search, and count as constants (section 2.1). All logits share one LSTM, which
knows none by its place: what is learned is how to follow scores, and no architecture is copied. So it differs from a learned
start.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from controller._base import Prior, Stage, TaskBatch, TaskRequest, TaskSet
from controller._settings_types import Amount, Count, Positive
from controller.meta import _params, _start
from controller.meta._params import State
from controller.policies import optim
from search_spaces import _noise

__all__ = ["LearnedOptimizer"]


@dataclass(frozen=True)
class LearnedOptimizer:
    """Learns an LSTM that turns policy gradients into updates of a policy's logits."""

    tasks: TaskSet
    space: str = "nasbench201"
    """The one space whose tables are trained on; the prior serves spaces of as many decisions and choices."""
    steps: Count = 100
    lr: Positive = 0.01
    num_tasks: Count = 16
    """Drawn for each step."""
    turns: Count = 20
    """Updates of the logits in a training search, through all of which the gradient goes."""
    window: Count = 5
    """Evaluations for each update: `turns` of them come to a search of 100."""
    entropy: Amount = 1.0
    """Weight of the policy's entropy after each update, for the reason that MAML has it: the paper's loss alone, the mean of what
    is evaluated, settles on the first good architecture. On synthetic tasks (`quick_options`) 0 makes 18 of 48 searches better,
    0.5 29, 1 39, and 2 37."""
    hidden: Count = 16
    """Units. The paper has two layers of 20 for networks of thousands of weights."""
    quick_options: ClassVar[Mapping[str, Any]] = {
        "space": "transnas-micro",
        "steps": 40,
        "turns": 10,
        "window": 2,
        "lr": 0.03,
    }

    @property
    def stages(self) -> tuple[Stage, ...]:
        return (Stage("optimizer", self.steps, (TaskRequest(num_tasks=None),)),)

    def init(self, seeds: Tensor) -> State:
        """An LSTM that writes no update yet."""
        logits, H = _start.begin(_start.space_of(self.tasks, self.space), seeds).logits, self.hidden
        span = H**-0.5
        drawn = _noise.uniform(seeds, 0, 2 + H, 4 * H, stream=_INIT) * 2 * span - span
        params = {"input": drawn[:, :2], "hidden": drawn[:, 2:], "bias": torch.zeros(1, 1, 4 * H)}
        params["head"] = torch.zeros(1, H, 1)
        # The start stays what it is: a start is another learner's.
        return _params.begin({n: p.contiguous() for n, p in params.items()} | {"logits": logits}, seeds)

    def update(self, meta_state: State, batch: TaskBatch) -> tuple[State, dict[str, float]]:
        space = _start.space_of(self.tasks, self.space)
        known = _start.tables(self.tasks, space, batch)
        tasks = _params.draw_tasks(meta_state, known.weight, self.num_tasks)
        scores = known.scores[tasks]
        leaves = optim.leaves(meta_state.params)
        params = leaves | {"window": torch.tensor([float(self.window)])}
        seeds = _params.search_seeds(meta_state, self.num_tasks)
        played = _params.play(space, params, scores, torch.arange(self.num_tasks), seeds, self.turns, self.window)
        policies = [turn.after for turn in played]
        expected = torch.stack([_start.expected(scores, logits, space.choices) for logits in policies])
        entropy = torch.stack([_start.entropy(logits, space.choices) for logits in policies]).mean()
        gain = expected.mean() + self.entropy * entropy
        after = _params.raised(meta_state, leaves, gain, {n: self.lr * (n != "logits") for n in leaves})
        means = {"mean": expected.detach().mean(), "last": expected[-1].detach().mean(), "entropy": entropy.detach()}
        return after, {name: float(value) for name, value in means.items()}

    def prior(self, meta_state: State) -> Prior:
        params = meta_state.params | {"window": torch.tensor([float(self.window)])}
        return _start.prior(self.tasks, _start.space_of(self.tasks, self.space), params, "learned_policy")


_INIT = 103
"""Stream of random numbers."""
