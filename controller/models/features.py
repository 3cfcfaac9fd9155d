"""Features of operations and architectures that mean the same in every space: what operations do and what cells compute.

Shapes: `N` architectures, `D` decisions, `P` and `G` features.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from search_spaces import HasOperationFeatures, OperationFeatures, Space, _ops, _sampling, as_cell_space

OPERATION_FEATURES = OperationFeatures._fields
MAX_ENUMERABLE = 50_000
"""A space with at most so many architectures is enumerated; in a larger one candidates are sampled anew each step."""
_CHUNK = 2048
"""Architectures that are described at a time, so that what they need then stays small."""


class ArchFeatures(NamedTuple):
    """Architectures as feature vectors."""

    archs: Tensor
    """int64 `[N, D]`."""
    one_hot: Tensor
    """float64 `[N, P]` the canonical choice at each position; half its squared distance counts differing decisions."""
    path_stats: Tensor
    """float64 `[N, G]` sums over what is alive and depths along live paths, in units of the space's own spread."""
    op_pairs: Tensor
    """float64 `[N, Q]` of length one: how often each operation, and each that follows another, is alive."""


@lru_cache
def operation_feature_table(space: Space) -> Tensor:
    """The features of every option, float64 `[D, C, features]`; zeros beyond a decision's own options."""
    table = torch.zeros(len(space.choices), max(space.choices), len(OPERATION_FEATURES), dtype=torch.float64)
    for d, options in enumerate(_operation_features(space)):
        table[d, : len(options)] = torch.tensor(options, dtype=torch.float64)
    return table


def _operation_features(space: Space) -> tuple[tuple[OperationFeatures, ...], ...]:
    """What the space says of its options; where it says nothing each is one that no model knows."""
    if isinstance(space, HasOperationFeatures):
        return space.operation_features
    return tuple((OperationFeatures(other=1.0),) * options for options in space.choices)


@lru_cache
def edges(space: Space) -> tuple[tuple[int, int], ...]:
    """(from, to) of each decision of a space of cells; of another space a chain, one decision after the other."""
    cells = as_cell_space(space)
    return cells.edges if cells else tuple((d, d + 1) for d in range(len(space.choices)))


def size(space: Space) -> int:
    """How many combinations of choices there are."""
    return _ops.size(space.choices)


def numeric(space: Space) -> bool:
    """Whether every option of every decision is a number, as a width is."""
    return bool((operation_feature_table(space)[..., -1].amax(1) > 0).all())


@lru_cache
def enumerate_valid(space: Space) -> ArchFeatures | None:
    """Every valid architecture of `space`; None where there are more than `MAX_ENUMERABLE`."""
    if size(space) > MAX_ENUMERABLE:
        return None
    ranks = _sampling.valid_indices(space)
    every = torch.arange(_ops.size(space.choices)) if ranks is None else ranks
    return describe(space, _ops.from_index(every, space.choices))


def describe(space: Space, archs: Tensor) -> ArchFeatures:
    """`archs` `[N, D]` as a model sees them."""
    parts = [_describe(space, some) for some in archs.split(_CHUNK)]
    return ArchFeatures(*(torch.cat(x) for x in zip(*parts)))


def _describe(space: Space, archs: Tensor) -> ArchFeatures:
    canonical = space.canonical(archs)
    centre, spread = _spread(space)
    path_stats = (_path_statistics(space, canonical) - centre) / spread
    return ArchFeatures(archs, _one_hot_positions(space, canonical), path_stats, _op_pair_counts(space, canonical))


def index_of(space: Space, archs: Tensor) -> Tensor:
    """The rank of each of `archs` `[..., D]`, int64 `[...]`."""
    return _ops.index(archs, space.choices)


def row_of(space: Space, archs: Tensor) -> Tensor:
    """Where each of `archs` `[..., D]` of a space with a list is in `enumerate_valid`, int64 `[...]`."""
    return index_to_row(space)[index_of(space, archs)]


@lru_cache
def index_to_row(space: Space) -> Tensor:
    """From an architecture's rank to its row in `enumerate_valid`."""
    described = enumerate_valid(space)
    assert described is not None
    at = index_of(space, described.archs)
    row = torch.zeros(int(at.max()) + 1, dtype=torch.long)
    row[at] = torch.arange(len(at))
    return row


def _one_hot_positions(space: Space, archs: Tensor) -> Tensor:
    if not numeric(space):
        return _ops.one_hot(archs, space.choices).double()
    high = torch.tensor(space.choices) - 1
    return archs.double() / high * 2.0


def _op_pair_counts(space: Space, archs: Tensor) -> Tensor:
    """Counts of live operations, of those that follow another, that read the cell's input and that feed its output.

    The first two levels of the Weisfeiler-Lehman features of NAS-BOWL (Ru et al. 2021, arXiv:2006.07556), labels taken in pairs.
    """
    live, follows, reads_input, feeds_output = _op_pair_tables(space)
    seen = live[torch.arange(len(live)), archs]
    pairs = torch.einsum("nda,de,neb->nab", seen, follows, seen).flatten(1)
    first, final = seen[:, reads_input].sum(1), seen[:, feeds_output].sum(1)
    return torch.nn.functional.normalize(torch.cat([seen.sum(1), pairs, first, final], -1), dim=-1)


@lru_cache
def _op_pair_tables(space: Space) -> tuple[Tensor, Tensor, list[int], list[int]]:
    """One-hot what operation each option is, float64 `[D, C, operations]`, zero where nothing passes; 1 where a decision's edge
    follows another's, float64 `[D, D]`; the decisions that read the cell's input; those that feed its output."""
    links, none = edges(space), operation_feature_table(space)[..., 0]
    names = sorted({name for options in space.operations for name in options})
    live = torch.zeros(len(links), max(space.choices), len(names), dtype=torch.float64)
    for d, options in enumerate(space.operations):
        for c, name in enumerate(options):
            live[d, c, names.index(name)] = 1 - none[d, c]
    last = max(j for _, j in links)
    follows = torch.tensor([[i == end for i, _ in links] for _, end in links], dtype=torch.float64)
    ends = ([d for d, (i, _) in enumerate(links) if i == 0], [d for d, (_, j) in enumerate(links) if j == last])
    return live, follows, *ends


def informative(space: Space) -> Tensor:
    """Which path statistics tell architectures of `space` apart, bool `[G]`."""
    return _spread(space)[1] > 1e-6


@lru_cache
def _spread(space: Space) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the path statistics over the space, `[G]` each, from at most 20,000 architectures."""
    size = _ops.size(space.choices)
    if size <= 20_000:
        archs = _ops.enumerate_all(space.choices)
        archs = archs[space.valid(archs)]
    else:
        archs = _sampling.sample(space, torch.zeros(1, dtype=torch.long), 0, 20_000, stream=255).squeeze(0)
    raw = _path_statistics(space, space.canonical(archs))
    return raw.mean(0), raw.std(0, unbiased=len(raw) > 1).clamp_min(1e-6)


def _path_statistics(space: Space, archs: Tensor) -> Tensor:
    """Sums of traits; and by dynamic programming over the cell's nodes the number of live paths, depth in convolutions."""
    table = operation_feature_table(space)
    seen = table[torch.arange(archs.shape[-1]), archs]
    sums = seen.sum(-2)
    weight = (seen[..., 2] * seen[..., 3]).sum(-1)
    live = 1 - seen[..., 0]
    conv, heavy = seen[..., 2], seen[..., 2] * seen[..., 3]
    links = edges(space)
    last = max(j for _, j in links)
    paths = [torch.ones(len(archs), dtype=torch.float64)] + [torch.zeros(len(archs), dtype=torch.float64)] * last
    never = torch.full((len(archs),), -1e3, dtype=torch.float64)
    deep, wide = ([torch.zeros_like(never)] + [never] * last for _ in range(2))
    shallow = [torch.zeros_like(never)] + [-never] * last
    for d, (i, j) in sorted(enumerate(links), key=lambda e: e[1][1]):
        alive = live[:, d] > 0
        paths[j] = paths[j] + live[:, d] * paths[i]
        deep[j] = torch.where(alive, torch.maximum(deep[j], deep[i] + conv[:, d]), deep[j])
        wide[j] = torch.where(alive, torch.maximum(wide[j], wide[i] + heavy[:, d]), wide[j])
        shallow[j] = torch.where(alive, torch.minimum(shallow[j], shallow[i] + conv[:, d]), shallow[j])
    dead = (paths[last] == 0).double()
    ends = [deep[last].clamp_min(-1), wide[last].clamp_min(-1), torch.where(dead > 0, -1.0, shallow[last])]
    return torch.stack([*sums.unbind(-1), weight, weight.log1p(), paths[last], dead, *ends], -1)
