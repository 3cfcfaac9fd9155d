"""NSGA-II: several objectives by non-dominated sorting and crowding (Deb et al. 2002, "A fast and elitist multiobjective genetic
algorithm: NSGA-II").

Shapes: `S` seeds, `B` architectures, `D` decisions, `P` population, `A` objectives.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from controller._base import Prior, Proposal, Results
from controller._settings_types import Count, Decay
from controller.models import pareto
from search_spaces import Space, Task, _noise, _sampling

__all__ = ["NSGA2"]


class State(NamedTuple):
    seeds: Tensor
    """int64 `[S]`."""
    step: Tensor
    """int64 `[S]` steps taken."""
    archs: Tensor
    """int64 `[S, P, D]` the parents, the best first."""
    objectives: Tensor
    """float32 `[S, P, A]` higher is better; NaN where evaluation failed or nobody lives yet."""
    children: Tensor
    """int64 `[S, C, D]` evaluated since the parents were chosen, fewer than `P`."""
    child_objectives: Tensor
    """float32 `[S, C, A]`."""


@dataclass(frozen=True)
class NSGA2:
    """The first `population` architectures are random. Each later one is a child of two that won a tournament of two each; when
    there are as many children as parents, the best of both are the next parents.

    A task with one objective has fronts of one score each: then it is an elitist genetic algorithm.
    """

    space: Space
    population: Count = 20
    """Deb et al. take 100, for 25,000 evaluations; 20 leave a search of a hundred with five generations. Not ablated."""
    crossover_rate: Decay = 0.9
    """As in the paper; each decision is then of either parent."""

    reads_objectives: ClassVar[bool] = True

    def begin(self, task: Task, seeds: Tensor, prior: Prior | None = None) -> State:
        S, P, D, A = len(seeds), self.population, len(self.space.choices), max(len(task.aims), 1)
        archs_SPD, missing_SPA = seeds.new_zeros(S, P, D), torch.full((S, P, A), torch.nan)
        return State(seeds, torch.zeros_like(seeds), archs_SPD, missing_SPA, archs_SPD[:, :0], missing_SPA[:, :0])

    def propose(self, state: State, batch: int) -> Proposal:
        D = len(self.space.choices)
        words = _noise.bits(state.seeds, state.step, batch, 2 * D + 7)
        # The first generation has no parents: its objectives are all unknown.
        young_S = state.objectives.isnan().all(-1).all(-1)
        fresh_SBD = _sampling.archs_from_bits(words[..., :D], self.space)
        mothers, fathers = (self._winners(state, words[..., at : at + 2]) for at in (0, 2))
        swaps_SBD = words[..., 4 : 4 + D] >= 1 << 31
        crossed_SB1 = words[..., 4 + D : 5 + D] < int(self.crossover_rate * (1 << 32))
        children_SBD = torch.where(swaps_SBD & crossed_SB1, fathers, mothers)
        children_SBD = torch.where(self.space.valid(children_SBD)[..., None], children_SBD, mothers)
        # One decision and not each with probability 1 / D: as many on average, and what results is valid in any space.
        mutated_SBD = _sampling.mutate_from_bits(children_SBD, words[..., 5 + D : 7 + D], self.space)
        return Proposal(torch.where(young_S[:, None, None], fresh_SBD, mutated_SBD))

    def learn(self, state: State, proposal: Proposal, results: Results) -> State:
        objectives = _objectives(state, results)
        state, at = state._replace(step=state.step + 1), 0
        while at < proposal.archs.shape[1]:  # A batch may end one generation and begin the next.
            room = self.population - state.children.shape[1]
            part = slice(at, at + room)
            state = state._replace(
                children=torch.cat([state.children, proposal.archs[:, part]], 1),
                child_objectives=torch.cat([state.child_objectives, objectives[:, part]], 1),
            )
            state, at = (self._next(state) if state.children.shape[1] == self.population else state), at + room
        return state

    def _next(self, state: State) -> State:
        """The next generation: the best of parents and children, front by front, of the last front the least crowded."""
        archs = torch.cat([state.archs, state.children], 1)
        objectives = torch.cat([state.objectives, state.child_objectives], 1)
        # Of one architecture the first stays: in a space of few options copies would be the whole population.
        known = ~objectives.isnan().any(-1)
        alike = ((archs[:, :, None] == archs[:, None]).all(-1) & known[:, None]).tril(-1).any(-1)
        objectives = torch.where(alike[..., None], torch.nan, objectives)
        front, distance = _places(objectives)
        order = (-distance).argsort(dim=-1, stable=True)
        order = order.gather(-1, front.gather(-1, order).argsort(dim=-1, stable=True))[:, : self.population]
        rows = order[..., None]
        return state._replace(
            archs=archs.gather(1, rows.expand(*order.shape, archs.shape[-1])),
            objectives=objectives.gather(1, rows.expand(*order.shape, objectives.shape[-1])),
            children=state.children[:, :0],
            child_objectives=state.child_objectives[:, :0],
        )

    def _winners(self, state: State, words_SB2: Tensor) -> Tensor:
        """Of two parents drawn for each architecture the one on the better front, of equal ones the less crowded, `[S, B, D]`."""
        front, distance = _places(state.objectives)
        drawn_SB2 = (words_SB2 * self.population) >> 32
        front, distance = (x.gather(1, drawn_SB2.flatten(1)).reshape(drawn_SB2.shape) for x in (front, distance))
        second = (front[..., 1] < front[..., 0]) | (
            (front[..., 1] == front[..., 0]) & (distance[..., 1] > distance[..., 0])
        )
        winner_SB = torch.where(second, drawn_SB2[..., 1], drawn_SB2[..., 0])
        return state.archs.gather(1, winner_SB[..., None].expand(*winner_SB.shape, state.archs.shape[-1]))


def _places(objectives: Tensor) -> tuple[Tensor, Tensor]:
    """Front and crowding distance of `[S, N, A]`; what failed stands behind all fronts."""
    front = pareto.front_number(objectives)
    failed = objectives.isnan().any(-1)
    front = torch.where(failed, objectives.shape[1], front)
    return front, torch.where(failed, 0.0, pareto.crowding_distance(objectives, front))


def _objectives(state: State, results: Results) -> Tensor:
    """Of results `[S, B]`; those without, as a stand-in for what is pending, have the score for each."""
    if results.objectives is not None:
        return results.objectives
    return results.score[..., None].expand(*results.score.shape, state.objectives.shape[-1])
