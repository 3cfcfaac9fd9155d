"""Arithmetic on scores: ranks as normal scores, what a model conditions on, expected improvement.

Shapes: `S` seeds, `E` evaluations so far, `B` new ones, `M` candidates.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def nan_to_worst(score: Tensor) -> Tensor:
    """Scores to compare: a failed evaluation (NaN) is worse than any other."""
    return score.nan_to_num(-torch.inf, torch.inf, -torch.inf)


def rank_quantiles(score: Tensor) -> Tensor:
    """Rank-based inverse normal transform of scores `[S, E]`, float64; ties share a rank, NaN ranks last.

    An evaluation of mid-rank `r` of `E` gets the normal quantile of `r / E`: models see the order of scores and not their scale.
    """
    value = torch.where(score.isnan(), -torch.inf, score)
    ordered = value.sort(dim=-1).values
    below, upto = (torch.searchsorted(ordered, value, right=right) for right in (False, True))
    return torch.special.ndtri((below + upto).double() / (2 * score.shape[-1]))


def normal_scores(score: Tensor) -> Tensor:
    """`rank_quantiles` divided by their root mean square, so that ties do not shrink them; `[S, E]`."""
    z = rank_quantiles(score)
    return z / z.square().mean(-1, keepdim=True).sqrt().clamp_min(1e-6)


_BEYOND = 1.5
"""Normal scores that a new score may lie beyond the earlier ones at most. Not ablated."""


def normal_scores_relative_to(score: Tensor, new: Tensor) -> Tensor:
    """New scores `[S, B]` on the scale of `normal_scores` of earlier ones `[S, E]`.

    Between two earlier scores the normal score is interpolated; beyond the ends it goes on with their standard deviation for a
    unit, by `_BEYOND` at most, so that scores of any scale are read as in training. NaN ranks last.
    """
    order = nan_to_worst(score).argsort(dim=-1, stable=True)
    known, normal = score.gather(1, order).double(), normal_scores(score).gather(1, order)
    lowest = torch.where(known.isnan(), torch.inf, known).amin(-1, keepdim=True)
    known = torch.where(known.isnan(), lowest - 1e-6 * lowest.abs() - 1e-9, known).nan_to_num(0.0)
    value = torch.where(new.isnan(), known[:, :1], new.double())
    right = torch.searchsorted(known.contiguous(), value.contiguous()).clamp(1, max(known.shape[1] - 1, 1))
    if known.shape[1] < 2:
        return normal + (value - known).sign()
    low, high = known.gather(1, right - 1), known.gather(1, right)
    share = ((value - low) / (high - low).clamp_min(1e-12)).clamp(0, 1)
    inside = normal.gather(1, right - 1).lerp(normal.gather(1, right), share)
    unit = known.std(-1, keepdim=True).clamp_min(1e-12)
    above, below = (value - known[:, -1:]) / unit, (known[:, :1] - value) / unit
    return inside + above.clamp(0, _BEYOND) - below.clamp(0, _BEYOND)


def context_window(score: Tensor, size: int) -> Tensor:
    """Which of the evaluations `[S, E]` a model conditions on: the best and then the latest, half each, int64 `[S, E or size]`.

    The best hold what the search is about; the latest are kept so that what was just found is never forgotten.
    """
    every = torch.arange(score.shape[1]).expand(len(score), -1)
    if score.shape[1] <= size:
        return every
    recent = size // 2
    earlier = nan_to_worst(score)[:, :-recent]
    best = earlier.argsort(dim=-1, descending=True, stable=True)[:, : size - recent]
    return torch.cat([best, every[:, -recent:]], 1)


def expected_improvement(mean: Tensor, std: Tensor, best: Tensor) -> Tensor:
    """Expected improvement over `best` (Jones et al. 1998, equation 15).

    Not below 1e-16 or so by rounding: candidates that far below the best tie. Where only they are left, use its logarithm
    (Ament et al. 2023, arXiv:2310.20708); here a proposal then falls back to the order of the candidates.
    """
    u = (mean - best) / std
    return std * (u * torch.special.ndtr(u) + torch.exp(-u * u / 2) / math.sqrt(2 * math.pi))
