"""A Gaussian process with a deep kernel that tasks share (Wistuba & Grabocka 2021, "Few-shot Bayesian optimization with deep
kernel surrogates", arXiv:2101.07667).

Algorithm 1 of the paper: draw tasks and evaluations of each, and raise the log marginal likelihood (equation 7) of their scores
by the kernel's network and its noise. Scores are normal quantiles of their ranks, in place of the paper's random scaling of
labels: both make the scale of a new task's scores mean nothing. A search begins with architectures that are good on the tasks
known, in place of the paper's evolutionary search for such.

Shapes: `R` tasks, `n` evaluations of each, `P` one-hot places.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from controller._base import Prior, Stage, TaskBatch, TaskSet
from controller._settings_types import Count, Positive
from controller.meta import _params, _start, _surrogates
from controller.meta._params import State
from controller.models import learned_surrogates, scores
from controller.policies import optim

__all__ = ["MetaSurrogate"]

_INIT = 106
"""Stream of random numbers."""


@dataclass(frozen=True)
class MetaSurrogate:
    """Learns the kernel of a Gaussian process by the likelihood of the scores of many tasks."""

    tasks: TaskSet
    space: str = "nasbench201"
    """The one space whose architectures are embedded."""
    steps: Count = 300
    lr: Positive = 0.005
    num_tasks: Count = 8
    """Drawn for each step."""
    evaluations: Count = 64
    """Of each."""
    hidden: Count = 64
    components: Count = 16
    """Of the embedding, on whose distance the kernel rests."""
    quick_options: ClassVar[Mapping[str, Any]] = {"space": "transnas-micro", "steps": 20}

    @property
    def stages(self) -> tuple[Stage, ...]:
        return (Stage("kernel", self.steps, (_surrogates.REQUEST,)),)

    def init(self, seeds: Tensor) -> State:
        """A random network."""
        P, H = sum(_start.space_of(self.tasks, self.space).choices), self.hidden
        params = _surrogates.drawn(seeds, _INIT, {"w1": (P, H), "w2": (H, self.components)})
        # Noise of a tenth of the scores' variance, as `bayesian` has it.
        params |= {"b1": torch.zeros(1, 1, H), "log_noise": torch.full((1, 1, 1), 0.1).log()}
        return _params.begin(params, seeds)

    def update(self, meta_state: State, batch: TaskBatch) -> tuple[State, dict[str, float]]:
        space = _start.space_of(self.tasks, self.space)
        x_RnP, score_Rn = _surrogates.evaluations(
            self.tasks, space, batch, meta_state, self.num_tasks, self.evaluations
        )
        leaves = optim.leaves(meta_state.params)
        likelihood = self.log_likelihood(leaves, x_RnP, scores.rank_quantiles(score_Rn).float()).mean()
        noise = float(meta_state.params["log_noise"].exp())
        return _params.raised(meta_state, leaves, likelihood, self.lr), {
            "log_likelihood": float(likelihood.detach()),
            "noise": noise,
        }

    def log_likelihood(self, params: optim.Params, x: Tensor, y: Tensor) -> Tensor:
        """Of an evaluation, in the mean over each task's, `[R]`; `x` `[R, n, P]`, `y` `[R, n]`."""
        covariance = learned_surrogates.covariance(params, learned_surrogates.embed(params, x))
        return learned_surrogates.log_likelihood(torch.linalg.cholesky(covariance), y) / y.shape[1]

    def prior(self, meta_state: State) -> Prior:
        return _surrogates.prior(self.tasks, _start.space_of(self.tasks, self.space), meta_state)
