"""Which cells compute the same, and the cheapest of them (Dong & Yang 2020: isomorphic cells)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from search_spaces import _ops
from search_spaces._cells import EDGES, NODES


def unique_string(arch: Sequence[int], operations: Sequence[str]) -> str:
    """What the cell computes, written so that equivalent cells are equal: nats_bench's `get_unique_str`."""
    return node_strings(arch, operations)[-1]


def node_strings(arch: Sequence[int], operations: Sequence[str], *, strided: bool = False) -> list[str]:
    """What each node computes: `#` is zero, `(x)@op` an operation on `x`, `+` the sum of sorted terms.

    In a `strided` cell a skip from the input changes the shape, and so is an operation like the others.
    """
    nodes = ["0"]
    edge = iter(arch)
    for j in range(1, NODES):
        terms = []
        for i in range(j):
            name = operations[next(edge)]
            if name == "none" or nodes[i] == "#":
                terms.append("#")
            else:
                skips = name == "skip_connect" and not (strided and i == 0)
                terms.append(nodes[i] if skips else f"({nodes[i]})@{name}")
        nodes.append("+".join(sorted(terms)))
    return nodes


def function_string(arch: Sequence[int], operations: Sequence[str]) -> str:
    """As `unique_string`, and sums of zeros are zero and sums of sums one sum: 4,930 classes where that sees 6,466."""
    nodes: list[tuple[str, ...]] = [("0",)]
    edge = iter(arch)
    for j in range(1, NODES):
        terms: list[str] = []
        for i in range(j):
            name = operations[next(edge)]
            if name == "none" or not nodes[i]:
                continue
            terms.extend(nodes[i] if name == "skip_connect" else [f"({'+'.join(nodes[i])})@{name}"])
        nodes.append(tuple(sorted(terms)))
    return "+".join(nodes[-1])


@lru_cache
def equivalent_archs(operations: tuple[str, ...], *, deep: bool = False, strided: bool = False) -> Tensor:
    """For each cell by index, the index of the cheapest cell that computes the same, int64 `[len(operations)^6]`.

    Same is decided by `unique_string`, or by `function_string` if `deep`, or by `node_strings` of a cell that keeps the size
    in some places and is `strided` in others. Cheapest is fewest weights of convolutions, then lowest index.
    """
    name = function_string if deep else unique_string
    if strided:
        name = lambda arch, operations: node_strings(arch, operations, strided=True)[-1]  # noqa: E731
    cost = [{"nor_conv_1x1": 1, "nor_conv_3x3": 9}.get(o, 0) for o in operations]
    archs = list(itertools.product(range(len(operations)), repeat=len(EDGES)))
    names = [name(arch, operations) for arch in archs]
    cheapest: dict[str, tuple[int, int]] = {}
    for index, (arch, key) in enumerate(zip(archs, names)):
        candidate = (sum(cost[c] for c in arch), index)
        cheapest[key] = min(cheapest.get(key, candidate), candidate)
    return torch.tensor([cheapest[key][1] for key in names])


def canonical(archs: Tensor, operations: tuple[str, ...], *, deep: bool = False, strided: bool = False) -> Tensor:
    """The cheapest equivalent of each of `archs` `[..., 6]`; arguments as in `equivalent_archs`."""
    choices = (len(operations),) * len(EDGES)
    found = equivalent_archs(operations, deep=deep, strided=strided).to(archs.device)[_ops.index(archs, choices)]
    return _ops.from_index(found, choices).to(archs.dtype)
