"""Architectures as feature vectors. Shapes: `D` decisions, `C` choices, `F` features."""

from __future__ import annotations

import itertools
import re
from typing import NamedTuple

import torch
from torch import Tensor

from search_spaces import Space, UserError, _ops

NOTHING = "none"
"""The operation that lets nothing through."""


def one_hot(archs: Tensor, space: Space) -> Tensor:
    """Each decision's choice, 0 or 1, float32 `[..., F]`: twice the Hamming distance is the squared one."""
    return _ops.one_hot(archs, space.choices)


def paths(archs: Tensor, space: Space) -> Tensor:
    """Which sequences of operations lead from the input to the output, 0 or 1, float32 `[..., F]`.

    The path encoding of BANANAS (White et al. 2021, arXiv:1910.11858, section 3): 5 + 25 + 125 features on NAS-Bench-201.
    Raises `UserError` for a space whose decisions are not the edges of a cell.
    """
    cell = _cell(space)
    features = []
    for length, routes in itertools.groupby(cell.routes, len):
        base = len(cell.names)
        found = torch.zeros(*archs.shape[:-1], base**length, device=archs.device)
        for route in routes:
            steps = archs[..., list(route)]
            sequence = (steps * torch.tensor([base**k for k in range(length)], device=archs.device)).sum(
                -1, keepdim=True
            )
            live = (steps != cell.nothing).all(-1, keepdim=True).float()
            found = found.scatter(-1, sequence, torch.maximum(found.gather(-1, sequence), live))
        features.append(found)
    return torch.cat(features, -1)


class _Cell(NamedTuple):
    names: tuple[str, ...]
    nothing: int
    routes: list[tuple[int, ...]]
    """Decisions along each way from the first node to the last, shortest first."""


def _cell(space: Space) -> _Cell:
    edges = [re.fullmatch(r"(\d+)-(\d+)", name) for name in space.decisions]
    if not all(edges) or len(set(space.operations)) != 1:
        raise UserError(f"Space '{space.name}' has no paths: its decisions are not the edges of a cell.")
    by_ends = {(int(m[1]), int(m[2])): d for d, m in enumerate(edges) if m}
    last = max(j for _, j in by_ends)
    routes = []
    for count in range(last):
        for inner in itertools.combinations(range(1, last), count):
            nodes = (0, *inner, last)
            if all(pair in by_ends for pair in itertools.pairwise(nodes)):
                routes.append(tuple(by_ends[pair] for pair in itertools.pairwise(nodes)))
    names = space.operations[0]
    return _Cell(names, names.index(NOTHING) if NOTHING in names else -1, routes)
