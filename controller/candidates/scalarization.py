"""Several objectives for a controller that knows one: before each step they become one by weights drawn anew.

ParEGO (Knowles 2006, "ParEGO: a hybrid algorithm with on-line landscape approximation for expensive multiobjective optimization
problems") does so with a Gaussian process; here any controller learns the whole search anew under the weights of a step.
Shapes: `S` seeds, `B` architectures, `D` decisions, `E` evaluations so far, `A` objectives.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from controller._base import Controller, Prior, Proposal, ReadsObjectives, Results
from controller.models import pareto
from search_spaces import Space, Task, UserError, _noise

_WEIGHTS, _SEEDS = 78, 79
"""Streams of random numbers, from which no controller draws."""


def of(controller: Controller, task: Task, prior: Prior | None) -> Controller:
    """The controller of a task: itself, where there is one objective or it reads several."""
    alone = not task.aims or isinstance(controller, ReadsObjectives)
    return controller if alone else Scalarization(controller.space, controller, task, prior)


class State(NamedTuple):
    seeds: Tensor
    """int64 `[S]`."""
    step: Tensor
    """int64 `[S]` steps taken."""
    archs: Tensor
    """int64 `[S, E, D]` all tried."""
    objectives: Tensor
    """float32 `[S, E, A]` higher is better; NaN where evaluation failed."""
    cost: Tensor
    """float32 `[S, E]` seconds."""
    begun: Any
    """The controller's state before the first step: it holds what tells its prior from any other."""


@dataclass(frozen=True)
class Scalarization:
    """A controller that sees, at each step, one score made of all objectives.

    Args:
        controller: which proposes. It is begun before each step, with a seed drawn from the search's own and the step.
        task, prior: what it is begun with.
    """

    space: Space
    controller: Controller
    task: Task
    prior: Prior | None = None

    def begin(self, task: Task, seeds: Tensor, prior: Prior | None = None) -> State:
        """Raises `UserError` for a controller that asks for fidelities, as the scores of its earlier rungs would change, and for
        one that follows a slope."""
        S, D, A = len(seeds), len(self.space.choices), max(len(task.aims), 1)
        begun = self._begin(seeds)
        first = self.controller.propose(begun, 1)
        if first.epochs is not None or first.weights is not None:
            what = "follows a slope" if first.epochs is None else "asks for trainings of different lengths"
            raise UserError(
                f"{type(self.controller).__name__} {what}, and takes one objective; --aim takes "
                "controllers as transfer_bo, bayesian, evolution, nsga2 and random_search."
            )
        empty = torch.zeros(S, 0, A)
        return State(seeds, torch.zeros_like(seeds), seeds.new_zeros(S, 0, D), empty, empty[..., 0], begun)

    def propose(self, state: State, batch: int) -> Proposal:
        return self.controller.propose(self._scalarized(state), batch)

    def learn(self, state: State, proposal: Proposal, results: Results) -> State:
        return state._replace(
            step=state.step + 1,
            archs=torch.cat([state.archs, proposal.archs], 1),
            objectives=torch.cat([state.objectives, self._objectives(state, results)], 1),
            cost=torch.cat([state.cost, results.cost], 1),
        )

    def _scalarized(self, state: State) -> Any:
        """The controller's state after all evaluations, by the weights of this step."""
        # Other random numbers at each step: the controller's own steps do not count on.
        seeds = _noise.bits(state.seeds, state.step, 1, stream=_SEEDS)[:, 0]
        begun = self._begin(seeds)
        if not state.archs.shape[1]:
            return begun
        score = pareto.chebyshev(state.objectives, self.weights(state)).float()
        return self.controller.learn(begun, Proposal(state.archs), Results(score, state.cost))

    def weights(self, state: State) -> Tensor:
        """Of the objectives in this step, uniform over all that are positive and add up to 1, float32 `[S, A]`."""
        # Exponential numbers over their sum (Devroye 1986, chapter XI.4).
        uniform = _noise.uniform(state.seeds, state.step, state.objectives.shape[-1], stream=_WEIGHTS)
        drawn = -torch.log1p(-uniform) + 1e-9
        return drawn / drawn.sum(-1, keepdim=True)

    def _begin(self, seeds: Tensor) -> Any:
        # No constraints: what they take off is in the first objective already.
        return self.controller.begin(
            replace(self.task, constraints=(), constraint_facts=(), aims=()), seeds, self.prior
        )

    def _objectives(self, state: State, results: Results) -> Tensor:
        """Of results `[S, B]`; those without, as a stand-in for what is pending, have the mean of what is known."""
        if results.objectives is not None:
            return results.objectives
        A = state.objectives.shape[-1]
        if A == 1:
            return results.score[..., None]
        mean = state.objectives.nanmean(1, keepdim=True).nan_to_num(0.0)
        return mean.expand(len(mean), results.score.shape[1], A)
