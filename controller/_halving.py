"""Rungs: many architectures trained little, the best of them trained more, again and again.

Shapes: `S` seeds, `B` architectures a step, `D` decisions, `K` places of those that go on, `R` rungs of the schedule.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from controller import _moves
from controller._base import Proposal, Results
from search_spaces._base import Space, UserError


class Rung(NamedTuple):
    """One line of the schedule."""

    entrants: int
    """Architectures that it evaluates."""
    epochs: int
    first: bool
    """Whether its bracket begins here, with random architectures."""


class State(NamedTuple):
    seeds: Tensor
    """int64 `[S]`."""
    step: Tensor
    """int64 `[S]` steps taken."""
    rung: Tensor
    """int64 `[S]` the line of the schedule; after the last comes the first."""
    done: Tensor
    """int64 `[S]` evaluations of this rung so far."""
    entrants: Tensor
    """int64 `[S, K, D]` the best of the rung before, best first."""
    best: Tensor
    """int64 `[S, K, D]` the best of this rung so far, best first."""
    best_score: Tensor
    """float32 `[S, K]` theirs; minus infinity where evaluation failed or nobody stands."""


def brackets_below(epochs: int, eta: int) -> int:
    """How often `epochs` can be divided by `eta` and stay at least 1. Raises `UserError` for settings that cannot be."""
    if epochs < 1 or eta < 2:
        raise UserError(f"Successive halving has epochs={epochs} and eta={eta}; it takes epochs >= 1 and eta >= 2.")
    below = 0
    while eta ** (below + 1) <= epochs:
        below += 1
    return below


def bracket(entrants: int, halvings: int, epochs: int, eta: int) -> list[Rung]:
    """Successive halving (Jamieson & Talwalkar 2016): each of `halvings` times one in `eta` goes on, `eta` times as long.

    Args:
        entrants: random architectures of the first rung.
        epochs: those of the last rung.
    """
    return [
        Rung(max(1, entrants // eta**i), max(1, round(epochs / eta ** (halvings - i))), first=i == 0)
        for i in range(halvings + 1)
    ]


def begin(space: Space, seeds: Tensor, rungs: list[Rung]) -> State:
    """Before the first rung."""
    zero_S = torch.zeros_like(seeds)
    K = max([1, *(rung.entrants for rung in rungs if not rung.first)])
    nobody_SKD = seeds.new_zeros(len(seeds), K, len(space.choices))
    return State(seeds, zero_S, zero_S, zero_S, nobody_SKD, nobody_SKD, torch.full((len(seeds), K), -torch.inf))


def propose(space: Space, state: State, batch: int, rungs: list[Rung]) -> Proposal:
    """The next of this rung. What a batch has left beyond its end goes to random newcomers, who compete as well."""
    entrants_R, epochs_R, first_R = (torch.tensor(column) for column in zip(*rungs))
    fresh_SBD = _moves.sample(space, state.seeds, state.step, batch)
    place_SB = state.done[:, None] + torch.arange(batch)
    K, D = state.entrants.shape[1:]
    chosen_SBD = state.entrants.gather(1, place_SB.clamp(max=K - 1)[..., None].expand(-1, -1, D))
    random_SB = first_R[state.rung][:, None] | (place_SB >= entrants_R[state.rung][:, None])
    archs_SBD = torch.where(random_SB[..., None], fresh_SBD, chosen_SBD)
    return Proposal(archs_SBD, epochs_R[state.rung][:, None].expand(-1, batch).contiguous())


def learn(state: State, proposal: Proposal, results: Results, rungs: list[Rung]) -> State:
    """The best so far; at the end of a rung they are the next one's entrants."""
    entrants_R = torch.tensor([rung.entrants for rung in rungs])
    archs = torch.cat([proposal.archs, state.best], 1)
    score = torch.cat([_moves.better(results.score), state.best_score], 1)
    order_SK = score.argsort(dim=1, descending=True, stable=True)[:, : state.best.shape[1]]
    best_SKD = archs.gather(1, order_SK[..., None].expand_as(state.best))
    done_S = state.done + proposal.archs.shape[1]
    over_S = done_S >= entrants_R[state.rung]
    return State(
        seeds=state.seeds,
        step=state.step + 1,
        rung=(state.rung + over_S) % len(rungs),
        done=torch.where(over_S, 0, done_S),
        entrants=torch.where(over_S[:, None, None], best_SKD, state.entrants),
        best=best_SKD,
        best_score=torch.where(over_S[:, None], -torch.inf, score.gather(1, order_SK)),
    )
