"""What a score is measured against: a moving average for each seed. Shapes: `S` seeds, `B` architectures."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Baseline(NamedTuple):
    """An exponential moving average without the pull towards 0 of its start: `total / weight`."""

    total: Tensor
    """float32 `[S]` decayed sum of scores."""
    weight: Tensor
    """float32 `[S]` decayed count of scores."""


def begin(seeds: Tensor) -> Baseline:
    """Nothing seen."""
    zero_S = torch.zeros(len(seeds))
    return Baseline(zero_S, zero_S)


def advantage(baseline: Baseline, score_SB: Tensor, decay: float) -> tuple[Baseline, Tensor]:
    """The average with this batch counted in, and score minus average `[S, B]`; 0 for a failed evaluation."""
    ok_SB = ~score_SB.isnan()
    mean_S = torch.where(ok_SB, score_SB, 0.0).sum(-1) / ok_SB.sum(-1).clamp(min=1)
    # A batch in which all evaluations failed says nothing about the mean and must not decay it.
    keep_S = torch.where(ok_SB.any(-1), decay, 1.0)
    total_S = keep_S * baseline.total + (1 - keep_S) * mean_S
    weight_S = keep_S * baseline.weight + (1 - keep_S)
    # The division takes the start at 0 out, as Adam does (Kingma & Ba 2015, section 3); before any score it is 0 / 1e-9.
    average_S = total_S / weight_S.clamp(min=1e-9)
    return Baseline(total_S, weight_S), torch.where(ok_SB, score_SB - average_S[:, None], 0.0)
