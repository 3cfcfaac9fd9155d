"""Sampling and mutation that stay inside a space.

Shapes: `S` seeds, `B` architectures, `D` decisions, `C` choices, `K` neighbours, `N` valid architectures.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from search_spaces import _noise, _ops
from search_spaces._base import Space


@lru_cache
def valid_indices(space: Space) -> Tensor | None:
    """The indices of all valid architectures, int64 `[N]`; None where every combination of options is valid.

    Lists the space: for spaces small enough for that.
    """
    valid = space.valid(_ops.enumerate_all(space.choices))
    return None if bool(valid.all()) else valid.nonzero().squeeze(-1)


@lru_cache
def _options(choices: tuple[int, ...]) -> Tensor:
    return torch.tensor(choices)


def archs_from_bits(bits_SBD: Tensor, space: Space) -> Tensor:
    """Uniform valid architectures `[S, B, D]` from 32 random bits a decision."""
    valid_N = valid_indices(space)
    if valid_N is None:
        return (bits_SBD * _options(space.choices)) >> 32
    # One word a sample: rejection would take a number of tries that differs between seeds, and so breaks their independence.
    return _ops.from_index(valid_N[(bits_SBD[..., 0] * len(valid_N)) >> 32], space.choices)


def sample(space: Space, seeds: Tensor, step: Tensor | int, batch: int, *, stream: int = 0) -> Tensor:
    """Uniform valid architectures, int64 `[S, B, D]`."""
    return archs_from_bits(_noise.bits(seeds, step, batch, len(space.choices), stream=stream), space)


def mutate_from_bits(archs_SBD: Tensor, bits_SB2: Tensor, space: Space) -> Tensor:
    """Each architecture with one decision changed to another option, so that it stays valid.

    Where all combinations are valid the decision is drawn first and then its option, both uniformly (Real et al. 2019);
    elsewhere the neighbour is drawn uniformly among the valid ones.
    """
    if valid_indices(space) is None:
        choices_D = _options(space.choices)
        where_SB1 = (bits_SB2[..., :1] * len(space.choices)) >> 32
        high_SB1 = choices_D[where_SB1]
        shift_SB1 = 1 + ((bits_SB2[..., 1:] * (high_SB1 - 1)) >> 32)
        return archs_SBD.scatter(-1, where_SB1, (archs_SBD.gather(-1, where_SB1) + shift_SB1) % high_SB1)
    around_SBKD = _ops.neighbours(archs_SBD, space.choices)
    open_SBK = space.valid(around_SBKD).long()
    # The wanted-th of the valid ones by a running count: a loop over neighbours would be one over seeds too.
    wanted_SB1 = (bits_SB2[..., :1] * open_SBK.sum(-1, keepdim=True)) >> 32
    k_SB = ((open_SBK.cumsum(-1) == wanted_SB1 + 1) & (open_SBK == 1)).long().argmax(-1)
    chosen_SBD = around_SBKD.gather(-2, k_SB[..., None, None].expand(*k_SB.shape, 1, archs_SBD.shape[-1])).squeeze(-2)
    return torch.where(open_SBK.any(-1, keepdim=True), chosen_SBD, archs_SBD)


@lru_cache
def valid_prefixes(space: Space) -> tuple[Tensor, ...] | None:
    """Which choices can still end in a valid architecture: for decision `d`, bool `[prefixes, choices[d]]`.

    Row `i` is for the first `d` decisions of index `i`. None where every combination is valid.
    """
    if valid_indices(space) is None:
        return None
    grid = space.valid(_ops.enumerate_all(space.choices)).reshape(space.choices)
    last = grid.dim() - 1
    can_follow = [grid if d == last else grid.flatten(d + 1).any(-1) for d in range(len(space.choices))]
    return tuple(valid.reshape(-1, options) for valid, options in zip(can_follow, space.choices))


@lru_cache
def padding_mask(choices: tuple[int, ...]) -> Tensor:
    """Places beyond a decision's own options, bool `[D, C]`."""
    return torch.arange(max(choices)) >= torch.tensor(choices)[:, None]


def invalid_mask(space: Space, before: Tensor, d: int) -> Tensor:
    """Options of decision `d` that cannot end in a valid architecture after `before` `[..., d]`, padding included.

    Bool `[..., C]`, or `[C]` where every combination of options is valid.
    """
    prefixes, choices = valid_prefixes(space), space.choices
    if prefixes is None:
        return padding_mask(choices)[d]
    index = _ops.index(before, choices[:d]) if d else before.new_zeros(before.shape[:-1])
    return ~torch.nn.functional.pad(prefixes[d][index], (0, max(choices) - choices[d]))
