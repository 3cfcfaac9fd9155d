"""A portfolio of the tasks that a few probes show to be alike: the prior is `task_metric`'s.

The first evaluations are the probes, the same on every task. By their scores a metric of few-shot learning weighs the tasks known
(`models/task_metrics.py`), and from there on it tries what is best on those, in an order settled then (`models/portfolio.py`).

Shapes: `S` seeds, `B` architectures, `E` evaluations, `D` decisions, `P` probes, `T` known tasks, `L` places of the order.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from controller._base import Prior, Proposal, Results
from controller.candidates.fixed_order import LENGTH, FixedOrder, tried
from controller.models import portfolio, prior_file, source_tasks
from controller.models.source_tasks import SourceTasks
from controller.models.task_features import task_features
from search_spaces import Space, Task, _ops

__all__ = ["ProbedPortfolio"]


class State(NamedTuple):
    seeds: Tensor
    """int64 `[S]`."""
    step: Tensor
    """int64 `[S]` steps taken."""
    place: Tensor
    """int64 `[S]` places of the order tried."""
    order: Tensor
    """int64 `[S, L]` indices of architectures, the first to try first: the probes, then what is copied."""
    prior: Tensor
    """int64 `[S]` the fingerprint of the prior; 0 without one."""
    task_features: Tensor
    """float32 `[S, F]`."""
    score: Tensor
    """float32 `[S, P]` of the probes: NaN where one failed, infinite where none is known yet."""


@dataclass(frozen=True)
class ProbedPortfolio:
    """Tries a few probes, then what is best on the tasks that scored them alike; random without a prior."""

    space: Space
    prior: str = "none"
    """A prior's file for searches that are begun without one."""

    def begin(self, task: Task, seeds: Tensor, prior: Prior | None = None) -> State:
        """Raises `UserError` for a prior of another space."""
        if prior is None and self.prior != "none":
            prior = _read(self.prior)
        begun, number = FixedOrder(self.space).begin(task, seeds), 0
        if prior is not None:
            number = source_tasks.register(self.space, prior)
            sources = source_tasks.find(number)
            every = torch.ones(len(sources.ranks.tasks))
            copied = self._order(sources, every)
            first_L = torch.cat([sources.probes, copied[~torch.isin(copied, sources.probes)]])[:LENGTH]
            begun = begun._replace(order=first_L.repeat(len(seeds), 1))
        known_SF = task_features(task).repeat(len(seeds), 1)
        return State(*begun, torch.full_like(seeds, number), known_SF, torch.zeros(len(seeds), 0))

    def propose(self, state: State, batch: int) -> Proposal:
        return FixedOrder(self.space).propose(state, batch)  # pyright: ignore[reportArgumentType]

    def learn(self, state: State, proposal: Proposal, results: Results) -> State:
        """Once the last probe is scored, the order behind what is tried is that of the tasks alike."""
        order_SL, place_S = tried(state.order, state.place, proposal.archs, self.space.choices)
        state = state._replace(step=state.step + 1, order=order_SL, place=place_S)
        if not int(state.prior[0]):
            return state
        sources = source_tasks.find(int(state.prior[0]))
        # States of earlier versions have as many as were known.
        unknown = len(sources.probes) - state.score.shape[1]
        before_SP = torch.nn.functional.pad(state.score, (0, unknown), value=torch.inf)
        # Evaluations side by side end in any order.
        is_it_SBP = _ops.index(proposal.archs, self.space.choices)[..., None] == sources.probes
        first_SP = is_it_SBP.int().argmax(1)
        known_SP = torch.where(is_it_SBP.any(1), results.score.gather(1, first_SP), before_SP)
        state = state._replace(score=known_SP)
        completed_S = ~known_SP.isinf().any(1) & before_SP.isinf().any(1)
        if not completed_S.any():
            return state
        return state._replace(order=torch.where(completed_S[:, None], self._by_probes(state, sources), state.order))

    def _by_probes(self, state: State, sources: SourceTasks) -> Tensor:
        orders = []
        for order_L, place, score_P, known_F in zip(state.order, state.place, state.score, state.task_features):
            alike_T = sources.weigh(score_P[None], known_F[None])[0]
            begun, rest = order_L[:place], self._order(sources, alike_T)
            rest = rest[~torch.isin(rest, begun)]
            left = order_L[~torch.isin(order_L, torch.cat([begun, rest]))]
            # States of earlier versions hold the probes twice, so that fewer are left.
            orders.append(torch.cat([begun, rest, left, order_L])[: len(order_L)])
        return torch.stack(orders)

    def _order(self, sources: SourceTasks, alike_T: Tensor) -> Tensor:
        """Indices of what is kept of the known tasks, by the weights of the tasks, `[L]`."""
        places = portfolio.order(sources.ranks, alike_T, (), "greedy", LENGTH)
        return sources.archs[places]


@lru_cache(maxsize=4)
def _read(path: str) -> Prior:
    return prior_file.read(path)
