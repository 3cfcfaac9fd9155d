"""Trying architectures in an order that is known beforehand.

Shapes: `S` seeds, `B` architectures, `D` decisions, `N` architectures of the space, `L` places of the order kept.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from controller._base import Prior, Proposal
from search_spaces import Space, _noise, _ops, _sampling

LENGTH = 1024


class State(NamedTuple):
    seeds: Tensor
    """int64 `[S]`."""
    step: Tensor
    """int64 `[S]` steps taken."""
    place: Tensor
    """int64 `[S]` places of the order tried."""
    order: Tensor
    """int64 `[S, L]` ranks of architectures, the first to try first."""


def begin(space: Space, seeds: Tensor, prior: Prior | None, *, worst_first: bool = False) -> State:
    """The order of the prior's `rank` float32 `[1 or S, N]`, least first; without a prior, a random order for each seed."""
    zero_S = torch.zeros_like(seeds)
    if prior is None:
        return State(seeds, zero_S, zero_S, _shuffled(space, seeds))
    rank = prior.params["rank"].nan_to_num(torch.inf)
    if worst_first:
        rank = torch.where(rank.isinf(), rank, -rank)
    order = rank.argsort(dim=-1, stable=True)[:, :LENGTH]
    return State(seeds, zero_S, zero_S, order.expand(len(seeds), -1).clone())


def propose(space: Space, state: State, batch: int) -> Proposal:
    """The next places; beyond the last, random architectures."""
    place_SB = state.place[:, None] + torch.arange(batch)
    length = state.order.shape[1]
    ordered_SBD = _ops.from_index(state.order.gather(1, place_SB.clamp(max=length - 1)), space.choices)
    random_SBD = _sampling.sample(space, state.seeds, state.step, batch)
    return Proposal(torch.where((place_SB < length)[..., None], ordered_SBD, random_SBD))


def learn(state: State, proposal: Proposal) -> State:
    return state._replace(step=state.step + 1, place=state.place + proposal.archs.shape[1])


def _shuffled(space: Space, seeds: Tensor) -> Tensor:
    """Random architectures without repeats, as ranks `[S, L]`."""
    ranks = _sampling.valid_indices(space)
    ranks = torch.arange(_ops.size(space.choices)) if ranks is None else ranks
    lot_SN = _noise.bits(seeds, 0, len(ranks), stream=1)
    return ranks[lot_SN.argsort(dim=-1, stable=True)[:, :LENGTH]]
