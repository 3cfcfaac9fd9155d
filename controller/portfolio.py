"""Portfolio: what was best on other tasks, in an order settled before the search; the least that transfer must beat.

With a prior of `transfer_bo` it tries what that controller copies first (`models/portfolio.py`), and goes on copying.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from controller._base import Prior
from controller.candidates.fixed_order import FixedOrder, State
from controller.models import portfolio, prior_file
from controller.models.portfolio import Order
from controller.models.task_features import task_features
from search_spaces import Task, _ops

__all__ = ["Portfolio"]


@dataclass(frozen=True)
class Portfolio(FixedOrder):
    """Tries what was best on other tasks, best first, and learns nothing. Without a prior: random, without repeats."""

    prior: str = "none"
    """A prior's file for searches that are begun without one; `none` starts at random."""
    order: Order = "greedy"
    """By a prior of `transfer_bo`: what adds most over all tasks (`greedy`), the best of each family in turn (`families`), the
    best mean rank (`mean`), or under a constraint the best of those fastest by mean rank over the known devices (`fastest`)."""

    def begin(self, task: Task, seeds: Tensor, prior: Prior | None = None) -> State:
        """The order for a task; a random one where the prior knows no task of the space."""
        if prior is None and self.prior != "none":
            prior = prior_file.read(self.prior)
        if prior is None or "rank" in prior.params:
            return super().begin(task, seeds, prior)
        contents, facts = prior_file.unpack(prior.params), portfolio.soft_constraints(task)
        features_KT = None if contents.tasks is None else contents.tasks.features
        archs_LD = portfolio.first_archs(
            self.space, contents.portfolios, features_KT, task_features(task), facts, self.order
        )
        begun = super().begin(task, seeds, None)
        order_L = _ops.index(archs_LD, self.space.choices)
        return begun._replace(order=order_L.expand(len(seeds), -1).clone()) if len(order_L) else begun
