"""What a search came to. Shapes: `S` seeds, `E` evaluations, `D` decisions."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Best(NamedTuple):
    """The best architecture of each seed by the search column."""

    archs: Tensor
    """int64 `[S, D]`; meaningless where `score` is NaN."""
    score: Tensor
    """float32 `[S]`; NaN where every evaluation failed."""
    at: Tensor
    """int64 `[S]`: the evaluation that found it, counted from 1."""


def within(cost: Tensor, seconds: float | None) -> Tensor:
    """Which evaluations a budget of simulated seconds pays for, bool `[S, E]`: those that end within it."""
    return torch.ones_like(cost, dtype=torch.bool) if seconds is None else cost.double().cumsum(1) <= seconds


def best(archs: Tensor, score: Tensor, allowed: Tensor | None = None) -> Best:
    """The first of the highest scores of each seed.

    Args:
        archs: int64 `[S, E, D]`.
        score: float32 `[S, E]`, NaN where evaluation failed.
        allowed: bool `[S, E]`; the others do not count.
    """
    counts = ~score.isnan() if allowed is None else ~score.isnan() & allowed
    comparable = torch.where(counts, score, -torch.inf)
    at = comparable.argmax(1)
    top = torch.where(counts.any(1), comparable.gather(1, at[:, None])[:, 0], torch.nan)
    return Best(archs[torch.arange(len(archs)), at], top, at + 1)


def best_so_far(score: Tensor) -> Tensor:
    """The best score up to each evaluation, `[S, E]`; NaN until one succeeds."""
    best = torch.where(score.isnan(), -torch.inf, score).cummax(1).values
    return torch.where(best.isinf(), torch.nan, best)
