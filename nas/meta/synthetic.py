"""Synthetic tasks: scores and costs over a space made of what its architectures compute.

Shapes: `N` architectures of a space, `n` of them drawn, `K` tasks, `F` features, `W` waves.
"""

from __future__ import annotations

import torch
from torch import Tensor

from controller.models import features
from search_spaces import Space

_SPARSE_LINE, _SPARSE_WAVE = 0.4, 0.25
"""Shares of the features at work in a linear trend and in a wave: real tasks hang on few of them."""
_WAVES = 8
"""Waves a task: enough that none stands out, few enough that they do not add up to a Gaussian process without structure."""


def synthetic(space: Space, rows: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Scores at `rows` `[n]`, float32 `[n, count]` with deviation one: functions of what a cell computes.

    A line through sums and depths (parameter and FLOP trends, dead cells, live paths) and single decisions, with few of them at
    work; beside it smooth waves over the same, which hold interactions; in any share.
    """
    described = features.enumerate_valid(space)
    assert described is not None
    features_NF = torch.cat([described.path_stats, described.one_hot], 1)[rows].float()
    F = features_NF.shape[1]

    def randn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    def rand(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator)

    line_NK = features_NF @ (randn(F, count) * torch.exp(0.8 * randn(F, count)) * (rand(F, count) < _SPARSE_LINE))
    slope_FW = randn(F, count * _WAVES) * (rand(F, count * _WAVES) < _SPARSE_WAVE) / 2
    wave_NKW = torch.sin(features_NF @ slope_FW + 6.2832 * rand(count * _WAVES)).unflatten(1, (count, _WAVES))
    wave_NK = (wave_NKW * randn(count, _WAVES)).sum(-1)
    share_K = rand(count)
    mixed_NK = share_K * _standardise(line_NK) + (1 - share_K) * _standardise(wave_NK)
    return _standardise(mixed_NK + described.path_stats[rows].float().mean(1, keepdim=True) * randn(count))


def synthetic_log_cost(space: Space, rows: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Logarithms of seconds at `rows` `[n]`, float32 `[n, count]`: shares of all that is alive; for half of the tasks zero."""
    described = features.enumerate_valid(space)
    assert described is not None
    share = torch.rand(described.path_stats.shape[1], count, generator=generator).square()
    log_cost_NK = _standardise(described.path_stats[rows].float() @ share)
    return log_cost_NK * (torch.rand(count, generator=generator) < 0.5)


def _standardise(values_NK: Tensor) -> Tensor:
    return (values_NK - values_NK.mean(0)) / values_NK.std(0).clamp_min(1e-6)
