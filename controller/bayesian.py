"""Bayesian optimization: a Gaussian process on the architectures tried, expected improvement on neighbours and random ones.

The process is that of `models.gp`.

Shapes: `S` seeds, `D` decisions, `E` evaluations so far.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

import torch
from torch import Tensor

from controller._base import Prior, Proposal, Results
from controller._settings_types import Count, Positive, Range
from controller.candidates import queue
from controller.models.gp import QUEUE, GaussianProcess
from search_spaces import Space, Task, _sampling

__all__ = ["Bayesian"]

_FIRST, _SPARE = 0, 2


class State(NamedTuple):
    seeds: Tensor
    """int64 `[S]`."""
    step: Tensor
    """int64 `[S]` steps taken."""
    archs: Tensor
    """int64 `[S, E, D]` all tried."""
    score: Tensor
    """float32 `[S, E]`; NaN where evaluation failed."""
    queue: Tensor
    """int64 `[S, Q, D]` what to try next, in this order."""


@dataclass(frozen=True)
class Bayesian:
    """Tries what has the highest expected improvement, and nothing twice while there is another candidate."""

    space: Space
    num_initial: Count = 10
    """Random architectures before the first fit."""
    encoding: Literal["one_hot", "path"] = "one_hot"
    refit_rate: Count = 10
    """Fits again after every `E / refit_rate` evaluations: the more are known, the less one more changes the posterior."""
    num_incumbents: Count = 6
    """The best so far whose neighbors are candidates."""
    num_random_candidates: Annotated[int, Range(0)] = 96
    """So that a search is not held in one region; about as many as the neighbors of five incumbents."""
    noise: Positive = 0.1
    """Variance of the scores' noise, in units of their variance."""
    max_observations: Annotated[int, Range(2)] = 96
    """Observations the process is conditioned on, the latest and the best, half each: a fit costs their number cubed."""

    def begin(self, task: Task, seeds: Tensor, prior: Prior | None = None) -> State:
        step_S = torch.zeros_like(seeds)
        first_SQD = _sampling.sample(self.space, seeds, step_S, self.num_initial, stream=_FIRST)
        return State(seeds, step_S, first_SQD[:, :0], torch.zeros(len(seeds), 0), first_SQD)

    def propose(self, state: State, batch: int) -> Proposal:
        """The head of the queue; what a batch has beyond its end is random."""
        missing = max(batch - state.queue.shape[1], 0)
        spare_SBD = _sampling.sample(self.space, state.seeds, state.step, missing, stream=_SPARE)
        return Proposal(torch.cat([state.queue[:, :batch], spare_SBD], 1))

    def learn(self, state: State, proposal: Proposal, results: Results) -> State:
        state = state._replace(
            step=state.step + 1,
            archs=torch.cat([state.archs, proposal.archs], 1),
            score=torch.cat([state.score, results.score], 1),
            queue=queue.without(state.queue, proposal.archs),
        )
        known, left = state.archs.shape[1], state.queue.shape[1]
        outdated = known > self.num_initial and QUEUE - left >= known // self.refit_rate
        return state._replace(queue=self._process.next(state)) if outdated or not left else state

    @property
    def _process(self) -> GaussianProcess:
        return GaussianProcess(
            self.space,
            self.encoding,
            self.num_incumbents,
            self.num_random_candidates,
            self.noise,
            self.max_observations,
        )
