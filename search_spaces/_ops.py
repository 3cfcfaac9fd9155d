"""Arithmetic on architectures that holds in every space. Shapes: `S` seeds, `B` architectures, `D` decisions, `C` choices."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from search_spaces import _noise


def size(choices: tuple[int, ...]) -> int:
    """How many combinations of options there are, valid or not."""
    return math.prod(choices)


@lru_cache
def strides(choices: tuple[int, ...], device: torch.device | str = "cpu") -> Tensor:
    """What a step of each decision adds to the index, int64 `[D]`; the first decision weighs most."""
    return torch.tensor([math.prod(choices[d + 1 :]) for d in range(len(choices))], device=device)


def index(archs: Tensor, choices: tuple[int, ...]) -> Tensor:
    """Where each of `archs` `[..., D]` is in `enumerate_all`, int64 `[...]`: a number with the decisions as its digits."""
    if archs.device.type == "cpu":
        return archs.long() @ strides(choices)
    return (archs.long() * strides(choices, archs.device)).sum(-1)  # No product of whole-number matrices elsewhere.


def from_index(index: Tensor, choices: tuple[int, ...]) -> Tensor:
    """The architectures `[..., D]` of indices `[...]`."""
    return index[..., None] // strides(choices, index.device) % torch.tensor(choices, device=index.device)


@lru_cache
def enumerate_all(choices: tuple[int, ...]) -> Tensor:
    """Every combination of options, int64 `[N, D]`, by index; the same tensor each time, to be read only."""
    return from_index(torch.arange(size(choices)), choices)


def in_range(archs: Tensor, choices: tuple[int, ...]) -> Tensor:
    """Whether every decision is one of its options: bool `[...]` for `archs` `[..., D]`."""
    return ((archs >= 0) & (archs < torch.tensor(choices, device=archs.device))).all(-1)


def sample_unchecked(
    seeds: Tensor, step: Tensor | int, batch: int, choices: tuple[int, ...], *, stream: int = 0
) -> Tensor:
    """Uniform combinations of options, int64 `[S, B, D]`, valid or not: for spaces where all are. See `_sampling.sample`."""
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


def isin(index: Tensor, others: Tensor) -> Tensor:
    """Which elements of `index` `[..., M]` are among the others `[..., E]`, row by row, bool `[..., M]`.

    torch.isin knows no rows: it would mix the seeds.
    """
    ordered = others.sort(dim=-1).values
    return torch.searchsorted(ordered, index) < torch.searchsorted(ordered, index, right=True)


def first_unseen(index: Tensor, others: Tensor) -> Tensor:
    """Which elements of `index` `[S, M]` are not among the others `[S, E]` nor equal to one before them, bool `[S, M]`."""
    ordered_SM, order_SM = index.sort(dim=-1, stable=True)
    again_SM = torch.cat([torch.zeros_like(ordered_SM[:, :1], dtype=torch.bool), ordered_SM.diff(dim=-1) == 0], 1)
    return ~again_SM.scatter(1, order_SM, again_SM) & ~isin(index, others)
