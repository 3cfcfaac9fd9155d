"""Arithmetic on architectures that holds in every space. Shapes: `S` seeds, `B` architectures, `D` decisions, `C` choices."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from search_spaces import _noise


def size(choices: tuple[int, ...]) -> int:
    """How many architectures there are."""
    return math.prod(choices)


@lru_cache
def strides(choices: tuple[int, ...], device: torch.device | str = "cpu") -> Tensor:
    """What a step of each decision adds to the index, int64 `[D]`; the first decision weighs most."""
    return torch.tensor([math.prod(choices[d + 1 :]) for d in range(len(choices))], device=device)


def index(archs: Tensor, choices: tuple[int, ...]) -> Tensor:
    """The rank of each of `archs` `[..., D]` in the order of `enumerate_all`, int64 `[...]`."""
    if archs.device.type == "cpu":
        return archs.long() @ strides(choices)
    return (archs.long() * strides(choices, archs.device)).sum(-1)  # No product of whole-number matrices elsewhere.


def from_index(index: Tensor, choices: tuple[int, ...]) -> Tensor:
    """The architectures `[..., D]` of ranks `[...]`."""
    return index[..., None] // strides(choices, index.device) % torch.tensor(choices, device=index.device)


@lru_cache
def enumerate_all(choices: tuple[int, ...]) -> Tensor:
    """Every architecture, int64 `[N, D]`, by rank; the same tensor each time, to be read only."""
    return from_index(torch.arange(size(choices)), choices)


def within(archs: Tensor, choices: tuple[int, ...]) -> Tensor:
    """Whether every decision is one of its options: bool `[...]` for `archs` `[..., D]`."""
    return ((archs >= 0) & (archs < torch.tensor(choices, device=archs.device))).all(-1)


def sample(seeds: Tensor, step: Tensor | int, batch: int, choices: tuple[int, ...], *, stream: int = 0) -> Tensor:
    """Uniform architectures, int64 `[S, B, D]`."""
    high_D = torch.tensor(choices, device=seeds.device)
    return _noise.integers(seeds, step, batch, len(choices), high=high_D, stream=stream)


def neighbours(archs: Tensor, choices: tuple[int, ...]) -> Tensor:
    """All architectures one decision away, `[..., K, D]` with K the sum of (options - 1), in a fixed order."""
    moves = [(d, shift) for d, c in enumerate(choices) for shift in range(1, c)]
    shift_KD = torch.zeros(len(moves), len(choices), dtype=archs.dtype, device=archs.device)
    for k, (d, shift) in enumerate(moves):
        shift_KD[k, d] = shift
    return (archs[..., None, :] + shift_KD) % torch.tensor(choices, device=archs.device)


def one_hot(archs: Tensor, choices: tuple[int, ...]) -> Tensor:
    """Decisions as indicators, float32 `[..., sum(choices)]`: the encoding of least assumptions."""
    offset_D = torch.tensor([sum(choices[:d]) for d in range(len(choices))], device=archs.device)
    out = torch.zeros(*archs.shape[:-1], sum(choices), device=archs.device)
    return out.scatter(-1, archs.long() + offset_D, 1.0)


def among(ranks: Tensor, others: Tensor) -> Tensor:
    """Which of the ranks `[..., M]` are among the others `[..., E]`, bool `[..., M]`."""
    ordered = others.sort(dim=-1).values
    return torch.searchsorted(ordered, ranks) < torch.searchsorted(ordered, ranks, right=True)


def fresh(ranks: Tensor, others: Tensor) -> Tensor:
    """Which of the ranks `[S, M]` are not among the others `[S, E]` and not the same as one before them, bool `[S, M]`."""
    ordered_SM, order_SM = ranks.sort(dim=-1, stable=True)
    again_SM = torch.cat([torch.zeros_like(ordered_SM[:, :1], dtype=torch.bool), ordered_SM.diff(dim=-1) == 0], 1)
    return ~again_SM.scatter(1, order_SM, again_SM) & ~among(ranks, others)
