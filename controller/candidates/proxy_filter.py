"""A filter of candidates: of several proposals those with the best zero-cost proxy are evaluated.

Abdelfattah et al. 2021, "Zero-cost proxies for lightweight NAS" (arXiv:2101.08134), section 5, filter what a search begins
with and what it mutates so; here any controller proposes several times as many as are evaluated.
Shapes: `S` seeds, `B` architectures, `M` proposed, `D` decisions, `E` evaluations so far, `P` proxies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from controller._base import Controller, Prior, Proposal, Results
from controller.candidates import batch as batches
from search_spaces import Space, Task, UserError, _ops
from search_spaces._figures import HasFigures

PROPOSED = 4
"""Architectures proposed for each that is evaluated. The command beside the table of docs/proxies.md chose it on the development
tasks there, among 2, 4 and 8."""


class State(NamedTuple):
    inner: Any
    """The controller's."""
    archs: Tensor
    """int64 `[S, E, D]` all evaluated."""


@dataclass(frozen=True)
class ProxyFilter:
    """A controller of whose proposals those with the highest mean of the space's figures are evaluated.

    What was not evaluated yet comes first. Raises `UserError` in `begin` for a controller whose next proposal counts on each of
    the last, as those of rungs, of fidelities and of slopes do.
    """

    space: Space
    controller: Controller
    proposed: int = PROPOSED

    def begin(self, task: Task, seeds: Tensor, prior: Prior | None = None) -> State:
        inner = self.controller.begin(task, seeds, prior)
        first = self.controller.propose(inner, 1)
        if first.epochs is not None or first.weights is not None:
            what = "follows a slope" if first.epochs is None else "asks for trainings of different lengths"
            raise UserError(
                f"{type(self.controller).__name__} {what}, and each of its proposals counts; a filter takes controllers as "
                "evolution, random_search, bayesian and transfer_bo."
            )
        return State(inner, seeds.new_zeros(len(seeds), 0, len(self.space.choices)))

    def propose(self, state: State, batch: int) -> Proposal:
        assert isinstance(self.space, HasFigures)
        archs_SMD = self.controller.propose(state.inner, batch * self.proposed).archs
        known_SM = ~_ops.first_unseen(*_ops.keys(self.space.choices, archs_SMD, state.archs))
        figure_SM = self.space.figures(archs_SMD).mean(-1).masked_fill(known_SM, -torch.inf)
        chosen_SB = figure_SM.argsort(dim=-1, descending=True, stable=True)[:, :batch]
        return Proposal(batches.take(archs_SMD, chosen_SB.sort(dim=-1).values))  # In the controller's order.

    def learn(self, state: State, proposal: Proposal, results: Results) -> State:
        inner = self.controller.learn(state.inner, proposal, results)
        return State(inner, torch.cat([state.archs, proposal.archs], 1))
