"""What a search came to. Scores after different epochs do not compare: those after the most are the ones that count.

Shapes: `S` seeds, `E` evaluations, `D` decisions.
"""

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
    epochs: Tensor | None = None
    """int64 `[S]` that it was evaluated after; None: the task's own."""


def within(cost: Tensor, seconds: float | None) -> Tensor:
    """Which evaluations a budget of simulated seconds pays for, bool `[S, E]`: those that end within it."""
    return torch.ones_like(cost, dtype=torch.bool) if seconds is None else cost.double().cumsum(1) <= seconds


def comparable(score: Tensor, allowed: Tensor | None = None, epochs: Tensor | None = None) -> Tensor:
    """Which evaluations count, bool `[S, E]`: those that succeeded, among those after the most epochs that a seed came to.

    Args:
        score: float32 `[S, E]`, NaN where evaluation failed.
        allowed: bool `[S, E]`; the others do not count.
        epochs: int64 `[S, E]` of each evaluation; None: all after as many.
    """
    counts = ~score.isnan() if allowed is None else ~score.isnan() & allowed
    if epochs is not None:
        counts = counts & (epochs == torch.where(counts, epochs, -1).amax(1, keepdim=True))
    return counts


def best(archs: Tensor, score: Tensor, allowed: Tensor | None = None, epochs: Tensor | None = None) -> Best:
    """The first of the highest scores of each seed among the `comparable` ones; `archs` is int64 `[S, E, D]`."""
    counts = comparable(score, allowed, epochs)
    highest = torch.where(counts, score, -torch.inf)
    at = highest.argmax(1)
    top = torch.where(counts.any(1), highest.gather(1, at[:, None])[:, 0], torch.nan)
    reached = None if epochs is None else epochs.gather(1, at[:, None])[:, 0]
    return Best(archs[torch.arange(len(archs)), at], top, at + 1, reached)


def top(found: Best) -> int:
    """The seed whose best is the best of all."""
    epochs = None if found.epochs is None else found.epochs[None]
    return int(best(found.archs[None], found.score[None], epochs=epochs).at) - 1


def best_so_far(score: Tensor, epochs: Tensor | None = None) -> Tensor:
    """The best score up to each evaluation, `[S, E]`; NaN until one succeeds.

    With `epochs` it falls where the first score after more epochs is below those after fewer.
    """
    return so_far(score, epochs)[0]


def so_far(score: Tensor, epochs: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The best score up to each evaluation, and the place from 0 that first had it, `[S, E]`; NaN and 0 until one succeeds."""
    best, at = torch.full_like(score, torch.nan), torch.zeros(score.shape, dtype=torch.long)
    for level in [None] if epochs is None else epochs.unique().tolist():
        counts = ~score.isnan() if level is None else ~score.isnan() & (epochs == level)
        highest = torch.where(counts, score, -torch.inf).cummax(1).values
        rises = torch.cat([torch.ones_like(counts[:, :1]), highest[:, 1:] > highest[:, :-1]], 1)
        first = torch.where(rises, torch.arange(score.shape[1]), 0).cummax(1).values
        best, at = torch.where(highest.isinf(), best, highest), torch.where(highest.isinf(), at, first)
    return best, at
