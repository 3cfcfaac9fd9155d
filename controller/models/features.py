"""What a model sees of a space it may never have met: operations by what they do, cells by what they compute.

Shapes: `N` architectures, `D` decisions, `P` and `G` features.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from search_spaces import HasOperationFeatures, OperationFeatures, Space, _ops, _sampling, as_cell_space

TRAITS = OperationFeatures._fields
LISTED = 50_000
"""A space with at most so many architectures is listed whole; of a larger one a candidate list is made anew each step."""


class Described(NamedTuple):
    """A list of architectures as a model sees them."""

    archs: Tensor
    """int64 `[N, D]`."""
    place: Tensor
    """float64 `[N, P]` the canonical choice at each place; half its squared distance counts differing decisions."""
    whole: Tensor
    """float64 `[N, G]` sums over what is alive and depths along live paths, in units of the space's own spread."""
    pair: Tensor
    """float64 `[N, Q]` of length one: how often each operation, and each that follows another, is alive."""


@lru_cache
def trait_table(space: Space) -> Tensor:
    """The traits of every option, float64 `[D, C, len(TRAITS)]`; zeros beyond a decision's own options."""
    table = torch.zeros(len(space.choices), max(space.choices), len(TRAITS), dtype=torch.float64)
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
    return bool((trait_table(space)[..., -1].amax(1) > 0).all())


@lru_cache
def listed(space: Space) -> Described | None:
    """Every valid architecture of `space`; None where there are more than `LISTED`."""
    if size(space) > LISTED:
        return None
    ranks = _sampling.valid_indices(space)
    every = torch.arange(_ops.size(space.choices)) if ranks is None else ranks
    return describe(space, _ops.from_index(every, space.choices))


def describe(space: Space, archs: Tensor) -> Described:
    """`archs` `[N, D]` as a model sees them."""
    canonical = space.canonical(archs)
    centre, spread = _spread(space)
    whole = (_whole(space, canonical) - centre) / spread
    return Described(archs, _place(space, canonical), whole, _pairs(space, canonical))


def ranks(space: Space, archs: Tensor) -> Tensor:
    """The rank of each of `archs` `[..., D]`, int64 `[...]`."""
    return _ops.index(archs, space.choices)


def rows(space: Space, archs: Tensor) -> Tensor:
    """Where each of `archs` `[..., D]` of a space with a list is in `listed`, int64 `[...]`."""
    return _row_of(space)[ranks(space, archs)]


@lru_cache
def _row_of(space: Space) -> Tensor:
    """From an architecture's rank to its row in `listed`."""
    described = listed(space)
    assert described is not None
    at = ranks(space, described.archs)
    row = torch.zeros(int(at.max()) + 1, dtype=torch.long)
    row[at] = torch.arange(len(at))
    return row


def _place(space: Space, archs: Tensor) -> Tensor:
    if not numeric(space):
        return _ops.one_hot(archs, space.choices).double()
    high = torch.tensor(space.choices) - 1
    return archs.double() / high * 2.0


def _pairs(space: Space, archs: Tensor) -> Tensor:
    """Counts of live operations, of those that follow another, that read the cell's input and that feed its output.

    The first two levels of the Weisfeiler-Lehman features of NAS-BOWL (Ru et al. 2021, arXiv:2006.07556), labels taken in pairs.
    """
    links, none = edges(space), trait_table(space)[..., 0]
    names = sorted({name for options in space.operations for name in options})
    of = torch.zeros(len(links), max(space.choices), len(names), dtype=torch.float64)
    for d, options in enumerate(space.operations):
        for c, name in enumerate(options):
            of[d, c, names.index(name)] = 1 - none[d, c]
    seen = of[torch.arange(len(links)), archs]
    last = max(j for _, j in links)
    follows = torch.tensor([[i == end for i, _ in links] for _, end in links], dtype=torch.float64)
    pairs = torch.einsum("nda,de,neb->nab", seen, follows, seen).flatten(1)
    first = seen[:, [d for d, (i, _) in enumerate(links) if i == 0]].sum(1)
    final = seen[:, [d for d, (_, j) in enumerate(links) if j == last]].sum(1)
    return torch.nn.functional.normalize(torch.cat([seen.sum(1), pairs, first, final], -1), dim=-1)


def varying(space: Space) -> Tensor:
    """Which of the whole's features tell architectures of `space` apart, bool `[G]`."""
    return _spread(space)[1] > 1e-6


@lru_cache
def _spread(space: Space) -> tuple[Tensor, Tensor]:
    """Mean and deviation of the whole's features over the space, `[G]` each, from at most 20,000 architectures."""
    size = _ops.size(space.choices)
    if size <= 20_000:
        archs = _ops.enumerate_all(space.choices)
        archs = archs[space.valid(archs)]
    else:
        archs = _sampling.sample(space, torch.zeros(1, dtype=torch.long), 0, 20_000, stream=255).squeeze(0)
    raw = _whole(space, space.canonical(archs))
    return raw.mean(0), raw.std(0).clamp_min(1e-6)


def _whole(space: Space, archs: Tensor) -> Tensor:
    """Sums of traits; and by dynamic programming over the cell's nodes the number of live paths, depth in convolutions."""
    table = trait_table(space)
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
