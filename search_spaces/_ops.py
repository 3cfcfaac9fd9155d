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


MAX_INDEX = 2**63 - 1
"""The largest number of an int64: in a space with more combinations an architecture has no index, only its decisions."""


def has_index(choices: tuple[int, ...]) -> bool:
    """Whether each combination has an index that an int64 can hold."""
    return size(choices) <= MAX_INDEX


@lru_cache
def strides(choices: tuple[int, ...], device: torch.device | str = "cpu") -> Tensor:
    """What a step of each decision adds to the index, int64 `[D]`; the first decision weighs most."""
    return torch.tensor([math.prod(choices[d + 1 :]) for d in range(len(choices))], device=device)


def index(archs: Tensor, choices: tuple[int, ...]) -> Tensor:
    """Where each of `archs` `[..., D]` is in `enumerate_all`, int64 `[...]`: a number with the decisions as its digits.

    For spaces where `has_index`; elsewhere `keys` tells architectures apart and `whole_indices` names them.
    """
    if archs.device.type == "cpu":
        return archs.long() @ strides(choices)
    return (archs.long() * strides(choices, archs.device)).sum(-1)  # No product of whole-number matrices elsewhere.


def from_index(index: Tensor, choices: tuple[int, ...]) -> Tensor:
    """The architectures `[..., D]` of indices `[...]`."""
    return index[..., None] // strides(choices, index.device) % torch.tensor(choices, device=index.device)


def whole_indices(archs: Tensor, choices: tuple[int, ...]) -> list[int]:
    """The index of each of `archs` `[..., D]`, in order: Python's numbers, which no space is too large for."""
    if has_index(choices):
        return index(archs, choices).flatten().tolist()
    found = []
    for arch in archs.reshape(-1, len(choices)).tolist():
        number = 0
        for choice, options in zip(arch, choices):
            number = number * options + choice
        found.append(number)
    return found


def from_whole_indices(indices: list[int], choices: tuple[int, ...]) -> Tensor:
    """The architectures `[N, D]` of `whole_indices`."""
    archs = torch.zeros(len(indices), len(choices), dtype=torch.long)
    for row, number in zip(archs, indices):
        for d in reversed(range(len(choices))):
            number, row[d] = divmod(number, choices[d])
    return archs


def keys(choices: tuple[int, ...], *archs: Tensor) -> tuple[Tensor, ...]:
    """A number for each architecture of tensors `[..., D]`, int64 `[...]`: equal where, and only where, architectures are.

    The index, or where there is none the place in the order of all architectures given; compare only keys of one call.
    """
    if has_index(choices):
        return tuple(index(each, choices) for each in archs)
    rows = torch.cat([each.reshape(-1, len(choices)) for each in archs])
    if not len(rows):
        return tuple(each.new_zeros(each.shape[:-1]) for each in archs)
    _, place = rows.unique(dim=0, return_inverse=True)
    parts = place.split([each.shape[:-1].numel() for each in archs])
    return tuple(part.view(each.shape[:-1]) for part, each in zip(parts, archs))


def hash_32(archs: Tensor, choices: tuple[int, ...]) -> Tensor:
    """32 bits for each of `archs` `[..., D]`, int64 `[...]`: what noise that belongs to an architecture counts by.

    The index where 32 bits hold it; else a hash of the decisions, two weighted sums of 32 bits mixed into one. Two architectures
    with one hash have the same noise: it must never decide whether they are the same.
    """
    if size(choices) <= 1 << 32:
        return index(archs, choices)
    weight_2D = _noise.bits(torch.tensor([len(choices)]), 0, 2, len(choices))[0] | 1
    sum_2 = ((archs.long()[..., None, :] + 1) * weight_2D).sum(-1) & 0xFFFFFFFF
    return _noise.philox(sum_2[..., 0], sum_2[..., 1], torch.zeros_like(sum_2[..., 0]))[0]


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
