"""Architectures as feature vectors. Shapes: `D` decisions, `C` choices, `F` features."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import torch
from torch import Tensor

from search_spaces import Space, UserError, as_cell_space


def paths(archs: Tensor, space: Space) -> Tensor:
    """Which sequences of operations lead from the input to the output, 0 or 1, float32 `[..., F]`.

    The path encoding of BANANAS (White et al. 2021, arXiv:1910.11858, section 3): 5 + 25 + 125 features on NAS-Bench-201.
    Raises `UserError` for a space whose decisions are not the edges of a cell.
    """
    cell = _cell(space)
    features = []
    for length, routes in itertools.groupby(cell.routes, len):
        base = cell.num_operations
        found = torch.zeros(*archs.shape[:-1], base**length, device=archs.device)
        for route in routes:
            steps = archs[..., list(route)]
            sequence = (steps * torch.tensor([base**k for k in range(length)], device=archs.device)).sum(
                -1, keepdim=True
            )
            live = (steps != cell.none).all(-1, keepdim=True).float()
            found = found.scatter(-1, sequence, torch.maximum(found.gather(-1, sequence), live))
        features.append(found)
    return torch.cat(features, -1)


class _Cell(NamedTuple):
    num_operations: int
    none: int
    """The operation that lets nothing through; -1 where each lets something through."""
    routes: list[tuple[int, ...]]
    """Decisions along each way from the first node to the last, shortest first."""


def _cell(space: Space) -> _Cell:
    cells = as_cell_space(space)
    if cells is None or len(set(cells.operations)) != 1:
        raise UserError(
            f"Space '{space.name}' has no paths: its decisions are not the edges of a cell with the same operations."
        )
    by_ends = {ends: d for d, ends in enumerate(cells.edges)}
    last = max(j for _, j in cells.edges)
    routes = []
    for count in range(last):
        for inner in itertools.combinations(range(1, last), count):
            nodes = (0, *inner, last)
            if all(pair in by_ends for pair in itertools.pairwise(nodes)):
                routes.append(tuple(by_ends[pair] for pair in itertools.pairwise(nodes)))
    lets_nothing = [features.none for features in cells.operation_features[0]]
    return _Cell(len(lets_nothing), lets_nothing.index(1.0) if 1.0 in lets_nothing else -1, routes)
