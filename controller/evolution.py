"""Regularised evolution: the best of a random few has a child, the oldest dies (Real et al. 2019, arXiv:1802.01548, algorithm 1).

Shapes: `S` seeds, `B` architectures, `D` decisions, `P` population, `K` tournament.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from controller._base import Prior, Proposal, Results
from controller._settings_types import Count
from controller.models.scores import nan_to_worst
from search_spaces import Space, Task, _noise, _sampling

__all__ = ["Evolution"]


class State(NamedTuple):
    seeds: Tensor
    """int64 `[S]`."""
    step: Tensor
    """int64 `[S]` steps taken."""
    born: Tensor
    """int64 `[S]` architectures evaluated; the next takes place `born` modulo `P`, that of the oldest."""
    archs: Tensor
    """int64 `[S, P, D]` the living."""
    score: Tensor
    """float32 `[S, P]`; minus infinity where evaluation failed or nobody lives yet."""


@dataclass(frozen=True)
class Evolution:
    """The first `population` architectures are random; each later one is a mutated winner of a tournament."""

    space: Space
    population: Count = 10
    """NAS-Bench-201's setting, as the next."""
    tournament: Count = 3
    """Living architectures drawn, with replacement, for each child."""

    def begin(self, task: Task, seeds: Tensor, prior: Prior | None = None) -> State:
        zero_S = torch.zeros_like(seeds)
        archs_SPD = seeds.new_zeros(len(seeds), self.population, len(self.space.choices))
        return State(seeds, zero_S, zero_S, archs_SPD, torch.full(archs_SPD.shape[:2], -torch.inf))

    def propose(self, state: State, batch: int) -> Proposal:
        D, K = len(self.space.choices), self.tournament
        # An architecture is either fresh or a child, so that both may take the same words.
        words = _noise.bits(state.seeds, state.step, batch, max(D, K + 2))
        fresh_SBD = _sampling.archs_from_bits(words[..., :D], self.space)
        # At least 1: before anybody lives, the tournament must still draw from something; its child is not used.
        living_S11 = state.born.clamp(1, self.population)[:, None, None]
        entrants_SBK = (words[..., :K] * living_S11) >> 32
        parents_SBD = self._winners(state, entrants_SBK)
        children_SBD = self.mutate(parents_SBD, words[..., K : K + 2])
        young_SB = state.born[:, None] + torch.arange(batch) < self.population
        return Proposal(torch.where(young_SB[..., None], fresh_SBD, children_SBD))

    def learn(self, state: State, proposal: Proposal, results: Results) -> State:
        batch = proposal.archs.shape[1]
        # A batch larger than the population overwrites itself: only its last survive, and scatter must not hit a place twice.
        kept = min(batch, self.population)
        place_SB = (state.born[:, None] + torch.arange(batch - kept, batch)) % self.population
        archs_SBD = proposal.archs[:, batch - kept :]
        return state._replace(
            step=state.step + 1,
            born=state.born + batch,
            archs=state.archs.scatter(1, place_SB[..., None].expand_as(archs_SBD), archs_SBD),
            score=state.score.scatter(1, place_SB, nan_to_worst(results.score)[:, batch - kept :]),
        )

    def mutate(self, parents_SBD: Tensor, words_SB2: Tensor) -> Tensor:
        """Each parent with one decision changed, drawn uniformly. A method, as published variants draw it otherwise."""
        return _sampling.mutate_from_bits(parents_SBD, words_SB2, self.space)

    def _winners(self, state: State, entrants_SBK: Tensor) -> Tensor:
        S, B, _ = entrants_SBK.shape
        score_SBK = state.score.gather(1, entrants_SBK.flatten(1)).reshape(entrants_SBK.shape)
        winner_SB1 = entrants_SBK.gather(-1, score_SBK.argmax(-1, keepdim=True))
        return state.archs.gather(1, winner_SB1.expand(S, B, state.archs.shape[-1]))
