"""States of searches that stand at different steps, held in one state.

A controller's state grows with its evaluations, so that searches of different lengths have leaves of different shapes. Here they
lie side by side, padded, with the shape of each. A seed searches alike alone and in a batch (law 1), so that those of one shape
can be handed to the controller together.

Shapes: `S` seeds, `L` leaves, `A` the most axes of a leaf behind the first.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils import _pytree


class Ragged(NamedTuple):
    """States of one controller."""

    leaves: Any
    """As the controller has them, `[S, ...]`, with zeros behind the ends of the shorter ones."""
    sizes: Tensor
    """int64 `[S, L, A]` of each leaf behind the first axis; 0 for axes that it has not."""
    largest: Tensor
    """int64 `[S, L, A]` the most that each has ever been."""
    grown: Tensor
    """bool `[S, L, A]` which of these have ever changed: those are padded."""


def begin(state: Any) -> Ragged:
    """Searches that have all just begun."""
    leaves = [x for x in _pytree.tree_leaves(state) if x is not None]
    sizes = _sizes(leaves, max(x.dim() for x in leaves) - 1)
    return Ragged(state, sizes, sizes.clone(), torch.zeros_like(sizes, dtype=torch.bool))


def groups(ragged: Ragged, of: Tensor) -> Iterator[tuple[Tensor, Any]]:
    """The states of the seeds of a mask `[S]`, those of the same shapes together: which seeds, int64 `[R]`, and their state."""
    at = of.nonzero().squeeze(1)
    if not len(at):
        return
    shapes, which = ragged.sizes[at].flatten(1).unique(dim=0, return_inverse=True)
    leaves, tree = _pytree.tree_flatten(ragged.leaves)
    for number in range(len(shapes)):
        some = at[which == number]
        sizes, cut, place = ragged.sizes[some[0]].tolist(), [], 0
        for leaf in leaves:
            if leaf is None:
                cut.append(None)
                continue
            part = leaf[some]
            for axis in range(leaf.dim() - 1):
                part = part.narrow(axis + 1, 0, sizes[place][axis])
            cut.append(part.contiguous())
            place += 1
        yield some, _pytree.tree_unflatten(cut, tree)


def replaced(ragged: Ragged, parts: list[tuple[Tensor, Any]], evaluations: int) -> Ragged:
    """With new states for some of the seeds.

    Args:
        parts: which seeds, and their states, as `groups` gives them.
        evaluations: of the whole search. Padding goes as far at least, and as far as a leaf has ever gone: no controller holds
            more of a seed's past, nor of its plans, than that, so that other seeds do not decide the shape.
    """
    if not parts:
        return ragged
    changed = torch.cat([at for at, _ in parts])
    rest = torch.ones(len(ragged.sizes), dtype=torch.bool)
    rest[changed] = False
    every = [*parts, *groups(ragged, rest)]
    sizes, grown = ragged.sizes.clone(), ragged.grown.clone()
    for at, state in parts:
        sizes[at] = _sizes([x for x in _pytree.tree_leaves(state) if x is not None], sizes.shape[2])
    grown |= sizes != ragged.sizes
    largest = torch.maximum(ragged.largest, sizes)
    padded = torch.where(grown.any(0), largest.amax(0).clamp_min(evaluations), largest.amax(0)).tolist()
    _, tree = _pytree.tree_flatten(every[0][1])
    columns, found, place = zip(*(_pytree.tree_leaves(state) for _, state in every)), [], 0
    for column in columns:
        first = column[0]
        if first is None:
            found.append(None)
            continue
        whole = first.new_zeros(len(sizes), *padded[place][: first.dim() - 1])
        for (at, _), leaf in zip(every, column):
            whole[(at, *(slice(0, n) for n in leaf.shape[1:]))] = leaf
        found.append(whole)
        place += 1
    return Ragged(_pytree.tree_unflatten(found, tree), sizes, largest, grown)


def _sizes(leaves: list[Tensor], axes: int) -> Tensor:
    """`[S, L, A]` of tensors `[S, ...]`."""
    rows = [[*leaf.shape[1:], *[0] * (axes - leaf.dim() + 1)] for leaf in leaves]
    return torch.tensor(rows).reshape(1, len(rows), axes).repeat(len(leaves[0]), 1, 1)
