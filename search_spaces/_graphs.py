"""Labeled directed acyclic graphs: one graph for all that are the same but for the order of their vertices.

Shapes: `N` graphs, `V` vertices in topological order. `edges` int64 `[N, V, V]`: the label of the edge from row to column, 0
where there is none, so nothing but zeros on and below the diagonal. `labels` int64 `[N, V]`: of the vertices.
"""

from __future__ import annotations

import itertools
from functools import lru_cache

import torch
from torch import Tensor


def isomorphism_representatives(
    edges_NVV: Tensor, labels_NV: Tensor, first: int, last: int, bases: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Edges and labels of the graph with the lowest key among those that renumbering the vertices `first..last` gives.

    Two graphs have one representative where, and only where, they are isomorphic with all other vertices fixed: every order is
    tried, 120 of five vertices, so nothing is left to a hash.

    Args:
        bases: one more than the highest label of an edge, and of a vertex. The key, a number that has edges and labels as its
            digits, must stay below 2^53.
    """
    V = edges_NVV.shape[-1]
    order_PV, edge_weight_EP, label_weight_VP, backward_EP = _orders(V, first, last, *bases)
    row, column = torch.triu_indices(V, V, 1)
    # Float64 holds whole numbers up to 2^53, so that these products of matrices are exact.
    edges_NE = edges_NVV[:, row, column].double()
    key_NP = edges_NE @ edge_weight_EP + labels_NV.double() @ label_weight_VP
    key_NP[edges_NE.clamp(max=1) @ backward_EP > 0] = torch.inf
    order_NV = order_PV[key_NP.argmin(-1)]
    rows = edges_NVV.gather(1, order_NV[:, :, None].expand(-1, -1, V))
    return rows.gather(2, order_NV[:, None, :].expand(-1, V, -1)), labels_NV.gather(1, order_NV)


@lru_cache
def _orders(V: int, first: int, last: int, edge_base: int, label_base: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The `P` orders of `V` vertices that move none but `first..last`, and what they make of the `E` edges.

    Int64 `[P, V]`: which vertex comes to each place. Float64 `[E, P]` and `[V, P]`: the weight of an edge's and of a vertex's
    label in the key. `[E, P]`: 1 where an edge would lead backward.
    """
    edges = list(itertools.combinations(range(V), 2))
    assert edge_base ** len(edges) * label_base**V < 2**53, "float64 cannot hold the key"
    digit = {edge: label_base**V * edge_base**at for at, edge in enumerate(edges)}
    orders = [(*range(first), *inner, *range(last + 1, V)) for inner in itertools.permutations(range(first, last + 1))]
    weights, labels, backward = [], [], []
    for order in orders:
        moved = [(order.index(i), order.index(j)) for i, j in edges]
        weights.append([digit.get(edge, 0) for edge in moved])
        backward.append([edge not in digit for edge in moved])
        labels.append([label_base ** order.index(v) for v in range(V)])
    edge_EP, label_VP, backward_EP = (
        torch.tensor(x, dtype=torch.float64).T.contiguous() for x in (weights, labels, backward)
    )
    return torch.tensor(orders), edge_EP, label_VP, backward_EP
