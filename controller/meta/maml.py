"""MAML for a search policy (Finn, Abbeel & Levine 2017, arXiv:1703.03400): a start from which few gradient steps find good cells.

Algorithm 3 of the paper (reinforcement learning), with a task's table for its trajectories. The inner step is
theta_k = theta + alpha grad F_k(theta), where F_k is the expected score of the policy on task k. Raised is the mean over tasks of
F_k(theta_k).

`exact` sums F_k over the whole table, so that both gradients are exact, the second one through the first. `sampled` sees scores
of drawn architectures alone, as a learner must that has no table. There the policy also decides what the inner step sees. E-MAML
(Stadie et al. 2018, arXiv:1803.01118) adds that part of the gradient, which MAML's own estimate leaves out:
grad E = E[grad F_k(theta_k) + F_k(theta_k) sum over drawn grad log p(drawn)]. The MagicBox of DiCE (Foerster et al. 2018,
arXiv:1802.05098) writes both as one expression. The inner step itself is a function of what was drawn, so that it has
no MagicBox.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from controller._base import Prior, Stage, TaskBatch, TaskRequest, TaskSet
from controller._settings_types import Amount, Count, Positive
from controller.meta import _start
from controller.meta._start import State
from search_spaces import _noise

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
        return _start.prior(self.tasks, _start.space_of(self.tasks, self.space), meta_state.logits)

    def exact(self, logits: Tensor, scores: Tensor, seeds: Tensor, step: int) -> Tensor:
        """The expected score after the inner steps, `[K]`, from logits `[D, C]` and scores `[K, *choices]`."""
        choices, adapted = tuple(scores.shape[1:]), logits.expand(len(scores), *logits.shape)
        for _ in range(self.inner_steps):
            (slope,) = torch.autograd.grad(_start.expected(scores, adapted, choices).sum(), adapted, create_graph=True)
            adapted = adapted + self.inner_lr * slope
        return _start.expected(scores, adapted, choices)

    def sampled(self, logits: Tensor, scores: Tensor, seeds: Tensor, step: int) -> Tensor:
        """An estimate of the same by draws, `[K]`: its gradient by `logits` is without bias."""
        choices, adapted = tuple(scores.shape[1:]), logits.expand(len(scores), *logits.shape)
        drawn = logits.new_zeros(len(scores))  # The log-probability of all that decides where the inner steps lead.
        for turn in range(self.inner_steps):
            log_prob_KM, score_KM = self._draw(adapted, scores, choices, seeds, step, turn)
            (slope,) = torch.autograd.grad((log_prob_KM * score_KM).mean(1).sum(), adapted, create_graph=True)
            drawn = drawn + log_prob_KM.sum(1)
            adapted = adapted + self.inner_lr * slope
        log_prob_KM, score_KM = self._draw(adapted, scores, choices, seeds, step, self.inner_steps)
        both = drawn[:, None] + log_prob_KM
        return ((both - both.detach()).exp() * score_KM).mean(1)

    def _draw(
        self, logits: Tensor, scores: Tensor, choices: tuple[int, ...], seeds: Tensor, step: int, turn: int
    ) -> tuple[Tensor, Tensor]:
        """Log-probabilities and scores `[K, M]` of architectures drawn by `logits` `[K, D, C]`."""
        K, D, C = logits.shape
        known_KDC = _start.log_probs(logits, choices)
        noise = _noise.gumbel(seeds, step, K, self.samples, D, C, stream=turn)[0]
        archs_KMD = (known_KDC.detach()[:, None] + noise).argmax(-1)
        log_prob_KM = known_KDC[:, None].expand(-1, self.samples, -1, -1).gather(-1, archs_KMD[..., None]).sum((2, 3))
        place = (torch.arange(K)[:, None], *archs_KMD.unbind(-1))
        return log_prob_KM, scores[place]
