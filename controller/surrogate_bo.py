"""Bayesian optimization whose surrogate other tasks have taught: a deep kernel (`meta_surrogate`) or a `neural_process`.

It begins with a few architectures that together are good on the tasks known (Wistuba et al. 2015), then follows expected
improvement (`models/learned_surrogates.py`).

Shapes: `S` seeds, `D` decisions, `E` evaluations so far.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, NamedTuple

import torch
from torch import Tensor

from controller._base import Prior, Proposal, Results
from controller._settings_types import Count, Range
from controller.candidates import queue
from controller.models import learned_surrogates, prior_file
from controller.models.gp import QUEUE
from search_spaces import Space, Task, UserError, _sampling

__all__ = ["SurrogateBO"]

FIRST = "first"
"""In a prior: float32 `[1, L, D]` what to evaluate first."""
_SPARE = 2


class State(NamedTuple):
    seeds: Tensor
    """int64 `[S]`."""
    step: Tensor
    """int64 `[S]` steps taken."""
    params: learned_surrogates.Params
    """The learned numbers; empty without a prior."""
    archs: Tensor
    """int64 `[S, E, D]` all tried."""
    score: Tensor
    """float32 `[S, E]`; NaN where evaluation failed."""
    queue: Tensor
    """int64 `[S, Q, D]` what to try next, in this order."""


@dataclass(frozen=True)
class SurrogateBO:
    """Bayesian optimization with a surrogate learned on other tasks; random without a prior."""

    space: Space
    prior: str = "none"
    """A prior's file for searches that are begun without one."""
    refit_rate: Count = 10
    """Asks the surrogate again after every `E / refit_rate` evaluations, as `bayesian` does."""
    num_incumbents: Count = 6
    """The best so far whose neighbors are candidates; this and what follows as in `bayesian`."""
    num_random_candidates: Annotated[int, Range(0)] = 96
    max_observations: Annotated[int, Range(2)] = 96

    def begin(self, task: Task, seeds: Tensor, prior: Prior | None = None) -> State:
        """Raises `UserError` for a prior of another space."""
        if prior is None and self.prior != "none":
            prior = _read(self.prior)
        S, D, zero_S = len(seeds), len(self.space.choices), torch.zeros_like(seeds)
        params, first = {}, seeds.new_zeros(S, 0, D)
        if prior is not None:
            if prior.about.get("space") != self.space.name or FIRST not in prior.params:
                about = prior.about.get("space", "another space")
                raise UserError(
                    f"The prior's surrogate is for '{about}', and the search is in '{self.space.name}'; train one by nas "
                    f"meta-train --learner meta_surrogate --learner-option space={self.space.name}."
                )
            params = {n: p.expand(S, *p.shape[1:]).clone() for n, p in prior.params.items()}
            first = params.pop(FIRST).long()
        return State(seeds, zero_S, params, first[:, :0], torch.zeros(S, 0), first)

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
        # The first few are not the surrogate's; of its own queue some are left, and the rest of it is outdated.
        outdated = left > 0 and known > QUEUE - left >= max(known // self.refit_rate, 1)
        return state._replace(queue=self._next(state)) if state.params and (outdated or not left) else state

    def _next(self, state: State) -> Tensor:
        surrogate = learned_surrogates.of(state.params)(
            self.space,
            num_incumbents=self.num_incumbents,
            num_random_candidates=self.num_random_candidates,
            max_observations=self.max_observations,
            params=state.params,
        )
        return surrogate.next(state)


@lru_cache(maxsize=4)
def _read(path: str) -> Prior:
    return prior_file.read(path)
