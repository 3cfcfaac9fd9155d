"""Local search: try the neighbours, move to a better one, start anew at a peak (White et al. 2021, arXiv:2005.02960).

Shapes: `S` seeds, `B` architectures, `D` decisions, `K` neighbours of an architecture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from controller._base import Prior, Proposal, Results
from controller.models.scores import nan_to_worst
from search_spaces import Space, Task, _noise, _ops, _sampling

__all__ = ["LocalSearch"]

_FRESH, _ORDER, _SPARE = 0, 1, 2


class State(NamedTuple):
    seeds: Tensor
    """int64 `[S]`."""
    step: Tensor
    """int64 `[S]` steps taken."""
    centre: Tensor
    """int64 `[S, D]` where the search stands."""
    centre_score: Tensor
    """float32 `[S]`; minus infinity until it is evaluated."""
    order: Tensor
    """int64 `[S, K]` the neighbours in the order of their turn, those to leave out last."""
    turns: Tensor
    """int64 `[S]` how many of `order` have a turn."""
    next: Tensor
    """int64 `[S]` 0: the centre's own turn; `k`: that of `order[k - 1]`."""
    best: Tensor
    """int64 `[S, D]` the best neighbour so far."""
    best_score: Tensor
    """float32 `[S]` its score."""


@dataclass(frozen=True)
class LocalSearch:
    """Climbs one decision at a time from random starts."""

    space: Space
    first: bool = False
    """Move to the first better neighbor instead of the best of all."""

    def begin(self, task: Task, seeds: Tensor, prior: Prior | None = None) -> State:
        step_S = torch.zeros_like(seeds)
        centre_SD = _sampling.sample(self.space, seeds, step_S, 1, stream=_FRESH).squeeze(1)
        worst_S = torch.full(seeds.shape, -torch.inf)
        order_SK, turns_S = self._order(seeds, step_S, centre_SD, centre_SD)
        return State(seeds, step_S, centre_SD, worst_S, order_SK, turns_S, step_S, centre_SD, worst_S)

    def propose(self, state: State, batch: int) -> Proposal:
        """The next turns; what a batch has left beyond the last turn goes to random architectures."""
        ball_SBD, turn_SB = self._ball(state, batch)
        spare_SBD = _sampling.sample(self.space, state.seeds, state.step, batch, stream=_SPARE)
        return Proposal(torch.where((turn_SB <= state.turns[:, None])[..., None], ball_SBD, spare_SBD))

    def learn(self, state: State, proposal: Proposal, results: Results) -> State:
        batch = proposal.archs.shape[1]
        score_SB = nan_to_worst(results.score)
        is_centre_SB = (proposal.archs == state.centre[:, None]).all(-1)
        # Evaluations side by side end in any order: a neighbor may be known before its center.
        early_S = (state.next == 0) & ~is_centre_SB.any(1)
        turn_SB = state.next[:, None] + torch.arange(batch) + early_S[:, None]
        own_S = torch.where(is_centre_SB, score_SB, -torch.inf).amax(1)
        centre_score_S = torch.where((state.next == 0) & ~early_S, own_S, state.centre_score)
        near_SB = torch.where((turn_SB >= 1) & (turn_SB <= state.turns[:, None]), score_SB, -torch.inf)
        best_S, best_SD = _pick(near_SB, proposal.archs, state.best_score, state.best)
        over_S = (state.next + batch > state.turns) & ~early_S
        climb_S = (best_S > centre_score_S) & (over_S | self.first) & ~early_S
        restart_S = over_S & ~climb_S
        # Random architectures that filled up a batch were paid for: the best of them is where the search starts anew.
        spare_SB = torch.where(turn_SB > state.turns[:, None], score_SB, -torch.inf)
        fresh_SD = _sampling.sample(self.space, state.seeds, state.step + 1, 1, stream=_FRESH).squeeze(1)
        start_S, start_SD = _pick(spare_SB, proposal.archs, torch.full_like(best_S, -torch.inf), fresh_SD)
        centre_SD = torch.where(climb_S[:, None], best_SD, torch.where(restart_S[:, None], start_SD, state.centre))
        moved_S = climb_S | restart_S
        # After a restart nothing around the new place has been tried, whatever lay around the old one.
        from_SD = torch.where(restart_S[:, None], centre_SD, state.centre)
        order_SK, turns_S = self._order(state.seeds, state.step + 1, centre_SD, from_SD)
        known_S = climb_S | (restart_S & start_S.isfinite())
        return State(
            seeds=state.seeds,
            step=state.step + 1,
            centre=centre_SD,
            centre_score=torch.where(climb_S, best_S, torch.where(restart_S, start_S, centre_score_S)),
            order=torch.where(moved_S[:, None], order_SK, state.order),
            turns=torch.where(moved_S, turns_S, state.turns),
            next=torch.where(moved_S, known_S.long(), torch.where(early_S, 0, state.next + batch)),
            best=best_SD,
            best_score=torch.where(moved_S, -torch.inf, best_S),
        )

    def _ball(self, state: State, batch: int) -> tuple[Tensor, Tensor]:
        around_SKD = _ops.neighbours(state.centre, self.space.choices)
        turn_SB = state.next[:, None] + torch.arange(batch)
        K, D = around_SKD.shape[1:]
        k_SB = state.order.gather(1, (turn_SB - 1).clamp(0, K - 1))
        neighbour_SBD = around_SKD.gather(1, k_SB[..., None].expand(-1, -1, D))
        return torch.where((turn_SB == 0)[..., None], state.centre[:, None], neighbour_SBD), turn_SB

    def _order(self, seeds: Tensor, step_S: Tensor, centre_SD: Tensor, from_SD: Tensor) -> tuple[Tensor, Tensor]:
        """The neighbours in random order, without the invalid and those that were neighbours of where we come from."""
        around_SKD = _ops.neighbours(centre_SD, self.space.choices)
        seen_SK = (around_SKD != from_SD[:, None]).sum(-1) <= 1
        seen_SK &= (centre_SD != from_SD).any(-1, keepdim=True)
        out_SK = seen_SK | ~self.space.valid(around_SKD)
        # Those left out get a 33rd bit, so that they sort behind all others and one sort does both.
        lot_SK = _noise.bits(seeds, step_S, around_SKD.shape[1], stream=_ORDER) + (out_SK.long() << 32)
        return lot_SK.argsort(dim=-1, stable=True), (~out_SK).sum(-1)


def _pick(score_SB: Tensor, archs_SBD: Tensor, held_S: Tensor, held_SD: Tensor) -> tuple[Tensor, Tensor]:
    """The best of a batch where it beats what is held."""
    top_S, b_S = score_SB.max(-1)
    arch_SD = archs_SBD.gather(1, b_S[:, None, None].expand(-1, 1, archs_SBD.shape[-1])).squeeze(1)
    wins_S = top_S > held_S
    return torch.where(wins_S, top_S, held_S), torch.where(wins_S[:, None], arch_SD, held_SD)
