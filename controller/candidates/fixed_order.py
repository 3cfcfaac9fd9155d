"""Trying architectures in an order that is known beforehand: the body of `portfolio`, `oracle` and `worst`.

Shapes: `S` seeds, `B` architectures, `D` decisions, `N` architectures of the space, `L` places of the order kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from controller._base import Prior, Proposal, Results
from search_spaces import Space, Task, UserError, _noise, _ops, _sampling

LENGTH = 1024
"""Places of the order that a state keeps, more than any comparison evaluates; after them come random architectures."""


class State(NamedTuple):
    seeds: Tensor
    """int64 `[S]`."""
    step: Tensor
    """int64 `[S]` steps taken."""
    place: Tensor
    """int64 `[S]` places of the order tried."""
    order: Tensor
    """int64 `[S, L]` indices of architectures, the first to try first."""


@dataclass(frozen=True)
class FixedOrder:
    """Follows the ranking that is its prior and learns nothing. Without a prior: random search that never repeats itself."""

    space: Space

    ranking_source: ClassVar[Literal["sources", "task"]] = "sources"
    """Whose objective columns the prior ranks (`controller.meta.portfolio`): other tasks', or the task's own."""
    worst_first: ClassVar[bool] = False

    def begin(self, task: Task, seeds: Tensor, prior: Prior | None = None) -> State:
        """The order of the prior's `rank` float32 `[1 or S, N]`, least first; without a prior, a random one for each seed."""
        zero_S = torch.zeros_like(seeds)
        if prior is None:
            return State(seeds, zero_S, zero_S, _shuffled(self.space, seeds))
        # What no source measured, or is not valid, comes last; `oracle` and `worst` must not put it first either.
        rank = prior.params.get("rank", torch.zeros(0))
        if rank.dim() != 2 or len(rank) not in (1, len(seeds)) or rank.shape[1] != _ops.size(self.space.choices):
            raise UserError(
                f"The prior ranks {list(rank.shape)} architectures; space '{self.space.name}' takes a rank for each of "
                f"{_ops.size(self.space.choices):,}."
            )
        rank = rank.nan_to_num(torch.inf)
        if self.worst_first:
            rank = torch.where(rank.isinf(), rank, -rank)
        order = rank.argsort(dim=-1, stable=True)[:, :LENGTH]
        return State(seeds, zero_S, zero_S, order.expand(len(seeds), -1).clone())

    def propose(self, state: State, batch: int) -> Proposal:
        """The next places; beyond the last, random architectures."""
        place_SB = state.place[:, None] + torch.arange(batch)
        length = state.order.shape[1]
        random_SBD = _sampling.sample(self.space, state.seeds, state.step, batch)
        if not length:
            return Proposal(random_SBD)
        ordered_SBD = _ops.from_index(state.order.gather(1, place_SB.clamp(max=length - 1)), self.space.choices)
        return Proposal(torch.where((place_SB < length)[..., None], ordered_SBD, random_SBD))

    def learn(self, state: State, proposal: Proposal, results: Results) -> State:
        order_SL, place_S = tried(state.order, state.place, proposal.archs, self.space.choices)
        return state._replace(step=state.step + 1, order=order_SL, place=place_S)


def tried(order_SL: Tensor, place_S: Tensor, archs_SBD: Tensor, choices: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """The order with what was evaluated before the place, wherever it stood behind it, and the place behind that.

    Evaluations side by side end in any order, and what is told by hand stands in none.
    """
    length = order_SL.shape[1]
    if not length:
        return order_SL, place_S + archs_SBD.shape[1]
    position_L = torch.arange(length)
    for index_S in _ops.index(archs_SBD, choices).unbind(1):
        is_it_SL = (order_SL == index_S[:, None]) & (position_L >= place_S[:, None])
        found_S1, at_S1 = is_it_SL.any(1, keepdim=True), is_it_SL.int().argmax(1, keepdim=True)
        # What stands between moves one place back.
        between_SL = found_S1 & (position_L > place_S[:, None]) & (position_L <= at_S1)
        moved_SL = torch.where(between_SL, order_SL.roll(1, 1), order_SL)
        first_SL = found_S1 & (position_L == place_S[:, None])
        order_SL = torch.where(first_SL, index_S[:, None], moved_SL)
        place_S = place_S + found_S1[:, 0]
    return order_SL, place_S


def _shuffled(space: Space, seeds: Tensor) -> Tensor:
    """Indices of random architectures without repeats, `[S, L]`; none in a space too large to list, where repeats are rare."""
    if not _sampling.is_listed(space):
        return seeds.new_zeros(len(seeds), 0)
    valid_N = _sampling.valid_indices(space)
    valid_N = torch.arange(_ops.size(space.choices)) if valid_N is None else valid_N
    sort_key_SN = _noise.bits(seeds, 0, len(valid_N), stream=1)
    return valid_N[sort_key_SN.argsort(dim=-1, stable=True)[:, :LENGTH]]
