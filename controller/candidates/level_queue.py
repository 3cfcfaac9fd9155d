"""What a search over levels of compute would begin next, by a model of all levels.

Shapes: `E` evaluations so far, `D` decisions, `M` candidates, `Q` places of the queue; everything is of one search.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from controller.models import scores
from controller.models.multi_fidelity_gp import MultiFidelityGP, Observed, targets
from search_spaces import Space, _noise, _ops, _sampling

_MUTANT, _PARENT, _RANDOM = 1, 2, 3
"""Streams of random numbers, apart from that of the controller."""
_PARENTS = 6
"""The best so far whose mutants are candidates."""
_MOST_CHANGES = 4
"""Decisions in which a mutant differs from its parent, at most."""


class Search(Protocol):
    """What is read of the state of one search; its tensors lead with a seed."""

    @property
    def seeds(self) -> Tensor: ...
    @property
    def step(self) -> Tensor: ...
    @property
    def levels(self) -> Tensor: ...
    @property
    def archs(self) -> Tensor: ...
    @property
    def score(self) -> Tensor: ...
    @property
    def level(self) -> Tensor: ...
    @property
    def mean_weights(self) -> Tensor: ...


@dataclass(frozen=True)
class LevelQueue:
    """Candidates, and their order by expected improvement at the highest level."""

    space: Space
    num_candidates: int
    """Half mutants of the best, half random."""
    max_observations: int

    def best(self, one: Search, count: int) -> Tensor:
        """The candidates `[count, D]` of the highest expected improvement, one after another, each unlike those before it."""
        kept = scores.context_window(one.score, self.max_observations)[0]
        seen = Observed(one.archs[0, kept], one.level[0, kept], targets(one.score[0, kept], one.level[0, kept]))
        model, last = MultiFidelityGP(self.space, seen, one.mean_weights[0]), one.levels.shape[1] - 1
        expected = model.posterior(seen.archs, last).mean
        candidates = self._candidates(one, seen.archs[expected.argsort(descending=True, stable=True)[:_PARENTS]], count)
        found, likeness = model.posterior(candidates, last), model.likeness(candidates).clamp(0, 1)
        gain = scores.expected_improvement(found.mean, found.std, expected.max())
        gain = torch.where(self._is_new(one, candidates), gain, -1.0)
        chosen = []
        for _ in range(count):
            at = int(gain.argmax())
            chosen.append(at)
            # Local penalization (Gonzalez et al. 2016, arXiv:1505.08052), here by the kernel.
            gain = torch.where(gain > 0, gain * (1 - likeness[at]), gain)
            gain[at] = -2.0
        return candidates[chosen]

    def _is_new(self, one: Search, candidates: Tensor) -> Tensor:
        """Which candidates were not evaluated and are not the same as an earlier one, bool `[M]`."""
        return _ops.first_unseen(*_ops.keys(self.space.choices, candidates[None], one.archs))[0]

    def _candidates(self, one: Search, parents: Tensor, count: int) -> Tensor:
        """Mutants of the parents, and random ones; of each the cheapest equivalent, int64 `[M, D]`."""
        half = max(self.num_candidates // 2, count)
        archs = parents[_noise.bits(one.seeds, one.step, half, stream=_PARENT)[0] * len(parents) >> 32]
        changes = torch.arange(half) % _MOST_CHANGES
        bits = _noise.bits(one.seeds, one.step, half, _MOST_CHANGES * 2, stream=_MUTANT)[0].view(half, -1, 2)
        for change in range(_MOST_CHANGES):
            mutated = _sampling.mutate_from_bits(archs[None], bits[None, :, change], self.space)[0]
            archs = torch.where((changes >= change)[:, None], mutated, archs)
        random = _sampling.sample(self.space, one.seeds, one.step, half, stream=_RANDOM)[0]
        found = torch.cat([archs, random])
        cheapest = self.space.canonical(found)
        # Of a part of a space the cheapest need not be in the part.
        return torch.where(self.space.valid(cheapest)[:, None], cheapest, found)
