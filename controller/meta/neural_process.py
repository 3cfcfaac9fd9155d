"""A conditional neural process as a surrogate (Garnelo et al. 2018, "Conditional neural processes", arXiv:1807.01613).

Of a drawn task some evaluations are the context, and the log density of the others' scores is raised (equation 4). Nothing is
fitted to a new task: the network reads its evaluations. Scores are normal scores by the context's ranks, as a search knows no
others.

Shapes: `R` tasks, `c` evaluations of the context, `q` others, `P` one-hot places.
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
from search_spaces import _noise

__all__ = ["NeuralProcess"]

_INIT, _CONTEXT = 107, 108
"""Streams of random numbers."""


@dataclass(frozen=True)
class NeuralProcess:
    """Learns a network that reads the evaluations of a search and predicts the scores of other architectures."""

    tasks: TaskSet
    space: str = "nasbench201"
    """The one space whose architectures are read."""
    steps: Count = 600
    lr: Positive = 0.005
    num_tasks: Count = 16
    """Drawn for each step."""
    most_context: Count = 48
    """Evaluations in a context at most; how many is drawn."""
    queries: Count = 48
    """Evaluations of each task that are predicted."""
    hidden: Count = 64
    quick_options: ClassVar[Mapping[str, Any]] = {"space": "transnas-micro", "steps": 40}

    @property
    def stages(self) -> tuple[Stage, ...]:
        return (Stage("predict", self.steps, (_surrogates.REQUEST,)),)

    def init(self, seeds: Tensor) -> State:
        """A random network."""
        P, H = sum(_start.space_of(self.tasks, self.space).choices), self.hidden
        shapes = {"read_x": (P, H), "read_y": (1, H), "mean_w": (H, H), "ask_x": (P, H), "out_w": (H, 2)}
        params = _surrogates.drawn(seeds, _INIT, shapes)
        params |= {"read_b": torch.zeros(1, 1, H), "ask_b": torch.zeros(1, 1, H), "out_b": torch.zeros(1, 1, 2)}
        return _params.begin(params, seeds)

    def update(self, meta_state: State, batch: TaskBatch) -> tuple[State, dict[str, float]]:
        space = _start.space_of(self.tasks, self.space)
        c = 2 + int(_noise.bits(meta_state.seeds, meta_state.step[None], 1, stream=_CONTEXT)) % max(
            self.most_context - 1, 1
        )
        x, score = _surrogates.evaluations(self.tasks, space, batch, meta_state, self.num_tasks, c + self.queries)
        y_Rc = scores.normal_scores(score[:, :c]).float()
        y_Rq = scores.normal_scores_relative_to(score[:, :c], score[:, c:]).float()
        leaves = optim.leaves(meta_state.params)
        density = self.log_density(leaves, (x[:, :c], y_Rc), (x[:, c:], y_Rq)).mean()
        return _params.raised(meta_state, leaves, density, self.lr), {"log_density": float(density.detach())}

    def log_density(self, params: optim.Params, context: tuple[Tensor, Tensor], asked: tuple[Tensor, Tensor]) -> Tensor:
        """Of the scores asked for `[R, q]`, each by itself; both pairs are one-hot `[R, n, P]` and scores `[R, n]`."""
        mean, std = learned_surrogates.ask(params, learned_surrogates.read(params, *context), asked[0])
        return torch.distributions.Normal(mean, std).log_prob(asked[1])

    def prior(self, meta_state: State) -> Prior:
        return _surrogates.prior(self.tasks, _start.space_of(self.tasks, self.space), meta_state)
