"""Sampling and mutation that stay inside a space.

Shapes: `S` seeds, `B` architectures, `D` decisions, `C` choices, `K` neighbours, `N` valid architectures.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from search_spaces import _noise, _ops
from search_spaces._base import HasAllValid, Space, UserError

MAX_LISTED = 1 << 20
"""Combinations up to which a space is listed to learn which are valid: seconds, and memory of some 100 MB."""
_MAX_DRAWS = 1000
"""Draws of one architecture until one is valid. A space of which less than one combination in some hundreds is valid would need
more; it is better written with other decisions."""
_REDRAW = 254
"""Stream of random numbers."""


def is_listed(space: Space) -> bool:
    """Whether the space is small enough that every combination may be looked at."""
    return _ops.size(space.choices) <= MAX_LISTED


@lru_cache
def all_valid(space: Space) -> bool:
    """Whether every combination of options is valid: a small space is listed, a large one says so (`HasAllValid`)."""
    if is_listed(space):
        return bool(space.valid(_ops.enumerate_all(space.choices)).all())
    return isinstance(space, HasAllValid) and space.all_valid


@lru_cache
def valid_indices(space: Space) -> Tensor | None:
    """The indices of all valid architectures, int64 `[N]`; None where every combination of options is valid.

    For spaces with a list (`is_listed`).
    """
    if all_valid(space):
        return None
    assert is_listed(space)
    found = space.valid(_ops.enumerate_all(space.choices)).nonzero().squeeze(-1)
    if not len(found):
        raise UserError(f"Space '{space.name}' holds no valid architecture: 'valid' refuses every combination.")
    return found


@lru_cache
def _options(choices: tuple[int, ...]) -> Tensor:
    return torch.tensor(choices)


def archs_from_bits(bits_SBD: Tensor, space: Space) -> Tensor:
    """Uniform valid architectures `[S, B, D]` from 32 random bits a decision.

    Raises `UserError` for a space too large to list of which next to nothing is valid.
    """
    if all_valid(space) or not is_listed(space):
        archs_SBD = (bits_SBD * _options(space.choices)) >> 32
        return replace_invalid(archs_SBD, bits_SBD, space) if may_draw_invalid(space) else archs_SBD
    valid_N = valid_indices(space)
    assert valid_N is not None
    return _ops.from_index(valid_N[(bits_SBD[..., 0] * len(valid_N)) >> 32], space.choices)


def may_draw_invalid(space: Space) -> bool:
    """Whether a policy, which decides one decision after the other, cannot know what stays valid."""
    return not all_valid(space) and not is_listed(space)


def replace_invalid(archs_SBD: Tensor, bits_SBD: Tensor, space: Space) -> Tensor:
    """`archs` with a uniform valid architecture in place of each that is not valid: rejection sampling.

    A place draws from a stream of its own, which its bits begin. So neither the number of draws nor what is drawn depends on the
    other places, and a seed searches alike alone and in company.
    """
    archs_SBD, D = archs_SBD.clone(), len(space.choices)
    key_SB, high_SB = bits_SBD[..., 0], bits_SBD[..., -1]
    at = (~space.valid(archs_SBD)).nonzero(as_tuple=True)
    for draw in range(_MAX_DRAWS):
        if not len(at[0]):
            return archs_SBD
        counter = torch.arange(draw * D, (draw + 1) * D)
        word, _ = _noise.philox(counter, (high_SB[at] ^ _REDRAW)[:, None], key_SB[at][:, None])
        archs_SBD[at] = found = (word * _options(space.choices)) >> 32
        left = ~space.valid(found)
        at = tuple(place[left] for place in at)
    raise UserError(
        f"Space '{space.name}' is too large to list, and of {_MAX_DRAWS:,} architectures drawn at random none was valid. "
        "Write it with decisions of which more combinations are valid; where all are, give it `all_valid = True`."
    )


def sample(space: Space, seeds: Tensor, step: Tensor | int, batch: int, *, stream: int = 0) -> Tensor:
    """Uniform valid architectures, int64 `[S, B, D]`."""
    return archs_from_bits(_noise.bits(seeds, step, batch, len(space.choices), stream=stream), space)


def mutate_from_bits(archs_SBD: Tensor, bits_SB2: Tensor, space: Space) -> Tensor:
    """Each architecture with one decision changed to another option, so that it stays valid.

    Where all combinations are valid the decision is drawn first and then its option, both uniformly (Real et al. 2019);
    elsewhere the neighbour is drawn uniformly among the valid ones, and where there is none, in a space with a list, among the
    valid architectures that differ in the fewest decisions.
    """
    if all_valid(space):
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
    alone_SB = ~open_SBK.bool().any(-1)
    if alone_SB.any() and is_listed(space):
        chosen_SBD[alone_SB] = _nearest(archs_SBD[alone_SB], bits_SB2[..., 1][alone_SB], space)
        return chosen_SBD
    return torch.where(alone_SB[..., None], archs_SBD, chosen_SBD)


def _nearest(archs_XD: Tensor, bits_X: Tensor, space: Space) -> Tensor:
    """One of the valid architectures that differ from each in the fewest decisions, not itself, `[X, D]`."""
    valid_N = valid_indices(space)
    assert valid_N is not None
    every_ND = _ops.from_index(valid_N, space.choices)
    found = []
    for arch_D, bits in zip(archs_XD, bits_X.tolist()):  # Rare, and all pairs at once would not fit in memory.
        distance_N = (every_ND != arch_D).sum(-1)
        distance_N = torch.where(distance_N == 0, len(space.choices) + 1, distance_N)
        nearest_ND = every_ND[distance_N == distance_N.min()]
        found.append(nearest_ND[(bits * len(nearest_ND)) >> 32])
    return torch.stack(found)


@lru_cache
def valid_prefixes(space: Space) -> tuple[Tensor, ...] | None:
    """Which choices can still end in a valid architecture: for decision `d`, bool `[prefixes, choices[d]]`.

    Row `i` is for the first `d` decisions of index `i`. None where every combination is valid, and where the space has no list.
    """
    if all_valid(space) or not is_listed(space):
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

    Bool `[..., C]`, or `[C]` where every combination of options is valid. In a space without a list nobody knows what can still
    become valid: there only the padding counts, and whoever draws has what is not valid replaced (`replace_invalid`).
    """
    prefixes, choices = valid_prefixes(space), space.choices
    if prefixes is None:
        return padding_mask(choices)[d]
    index = _ops.index(before, choices[:d]) if d else before.new_zeros(before.shape[:-1])
    return ~torch.nn.functional.pad(prefixes[d][index], (0, max(choices) - choices[d]))
