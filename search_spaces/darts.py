"""DARTS's space (Liu et al. 2019, arXiv:1806.09055, section 2.1 and appendix A): a normal and a reduction cell, 1e18 pairs.

A cell has two inputs, the outputs of the two cells before it, and four nodes. A node is the sum of two operations, each on
another earlier node or input; the output is the four nodes' channels side by side.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from search_spaces import _darts_network, _graphs, _ops
from search_spaces._base import OperationFeatures, Task, UserError

__all__ = ["Darts"]

_FEATURES = {
    "max_pool_3x3": OperationFeatures(pooling=1.0, kernel=1.0),
    "avg_pool_3x3": OperationFeatures(pooling=1.0),
    "skip_connect": OperationFeatures(identity=1.0),
    "sep_conv_3x3": OperationFeatures(convolution=1.0, kernel=1.0),
    "sep_conv_5x5": OperationFeatures(convolution=1.0, kernel=25 / 9),
    # One convolution and not two in a row, spread over twice the side.
    "dil_conv_3x3": OperationFeatures(convolution=1.0, kernel=1.0, other=1.0),
    "dil_conv_5x5": OperationFeatures(convolution=1.0, kernel=25 / 9, other=1.0),
}
"""The seven that a derived cell may have, in the order of its `PRIMITIVES`: `none` exists in the supernet only."""
_OPERATIONS = tuple(_FEATURES)
_INPUTS, _NODES = 2, 4
_PAIRS = tuple(tuple(itertools.combinations(range(_INPUTS + node), 2)) for node in range(_NODES))
"""Of each node, the two vertices that it may have its inputs from. The first node has no choice, and so no decision."""
_CELLS = ("normal", "reduce")
_EXAMPLE = "|sep_conv_3x3~0|skip_connect~1|"


def _decisions() -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Name and options of each decision of one cell, in order: of each node its inputs, then its two operations."""
    found: list[tuple[str, tuple[str, ...]]] = []
    for node, pairs in enumerate(_PAIRS, _INPUTS):
        if len(pairs) > 1:
            found.append((f"{node} inputs", tuple(f"{a},{b}" for a, b in pairs)))
        found += [(f"{node} {which}", _OPERATIONS) for which in ("first", "second")]
    return tuple(found)


_CELL = _decisions()


@dataclass(frozen=True)
class Darts:
    """Eleven decisions for each of the two cells, all combinations valid.

    The network is the paper's (its section 3.2): a stem, `cells` cells of which those at a third and at two thirds halve the
    image and double the width, a linear classifier. Neither auxiliary head nor drop path. The paper's own is `Darts(36, 20)`.
    """

    channels: int = 8
    """Of a node in the first cells."""
    cells: int = 5
    """Of the network: a normal one before, between and behind the two reduction cells is the least that has all."""

    name = "darts"
    all_valid = True
    decisions = tuple(f"{cell} {name}" for cell in _CELLS for name, _ in _CELL)
    operations = tuple(options for _ in _CELLS for _, options in _CELL)
    choices = tuple(map(len, operations))
    operation_features = tuple(
        tuple(_FEATURES.get(option, OperationFeatures(other=1.0)) for option in options) for options in operations
    )

    def valid(self, archs: Tensor) -> Tensor:
        return _ops.in_range(archs, self.choices)

    def canonical(self, archs: Tensor) -> Tensor:
        """The same for cells whose nodes are numbered in another order: they differ in the order of channels only."""
        flat = archs.reshape(-1, len(_CELL)).long()
        edges, labels = _edges(flat), torch.zeros(len(flat), _INPUTS + _NODES, dtype=torch.long)
        bases = len(_OPERATIONS) + 1, 1
        found, _ = _graphs.isomorphism_representatives(edges, labels, _INPUTS, _INPUTS + _NODES - 1, bases)
        return _from_edges(found).view(archs.shape).to(archs.dtype)

    def build(self, arch: Tensor, task: Task) -> nn.Module:
        normal, reduce = (_named(cell) for cell in arch.view(2, -1).tolist())
        return _darts_network.Network(normal, reduce, task, self.channels, self.cells)

    def describe(self, arch: Tensor) -> str:
        """As `normal |sep_conv_3x3~0|skip_connect~1|+... reduce |...|+...`: node by node, operation and input."""
        cells = []
        for name, cell in zip(_CELLS, arch.view(2, -1).tolist()):
            nodes = ["|" + "|".join(f"{op}~{i}" for op, i in node) + "|" for node in _named(cell)]
            cells.append(f"{name} {'+'.join(nodes)}")
        return " ".join(cells)

    def parse(self, text: str) -> Tensor:
        """Of `describe`, and of the `Genotype(normal=[('sep_conv_3x3', 1), ...], ...)` that DARTS and its successors print."""
        if "Genotype" in text or "[" in text:
            return torch.tensor([c for cell in _CELLS for c in _chosen(_genotype(text, cell), text)])
        words = text.split()
        if len(words) != 4 or tuple(words[::2]) != _CELLS:
            raise UserError(
                f"Architecture '{text}' takes the form 'normal {_EXAMPLE}+... reduce {_EXAMPLE}+...', or that of a Genotype."
            )
        return torch.tensor([c for cell in words[1::2] for c in _chosen(_pairs_of(cell, text), text)])


def _named(cell: list[int]) -> list[list[tuple[str, int]]]:
    """Of each node its two operations and where they come from, of the decisions of one cell."""
    rest, nodes = iter(cell), []
    for pairs in _PAIRS:
        pair = pairs[next(rest) if len(pairs) > 1 else 0]
        nodes.append([(_OPERATIONS[next(rest)], i) for i in pair])
    return nodes


def _chosen(nodes: list[list[tuple[str, int]]], text: str) -> list[int]:
    """`_named` backwards; the two operations of a node in any order. Raises `UserError` for what no cell of the space is."""
    if len(nodes) != _NODES or any(len(node) != 2 for node in nodes):
        raise UserError(f"Architecture '{text}' takes {_NODES} nodes a cell, of two operations each, as {_EXAMPLE}.")
    cell = []
    for number, (pairs, node) in enumerate(zip(_PAIRS, nodes), _INPUTS):
        (first, a), (second, b) = sorted(node, key=lambda each: each[1])
        for operation in (first, second):
            if operation not in _OPERATIONS:
                raise UserError(
                    f"Node {number} of architecture '{text}' has operation '{operation}'; there are: {', '.join(_OPERATIONS)}."
                )
        if (a, b) not in pairs:
            raise UserError(
                f"Node {number} of architecture '{text}' comes from {a} and {b}; it takes two of 0 to {number - 1}."
            )
        cell += [pairs.index((a, b))] * (len(pairs) > 1) + [_OPERATIONS.index(first), _OPERATIONS.index(second)]
    return cell


def _pairs_of(cell: str, text: str) -> list[list[tuple[str, int]]]:
    """The nodes of one cell as `describe` writes them."""
    nodes = []
    for node in cell.split("+"):
        edges = [re.fullmatch(r"(\w+)~(\d)", edge) for edge in node.strip("|").split("|")]
        if not all(edges):
            raise UserError(f"Node '{node}' of architecture '{text}' takes the form '{_EXAMPLE}'.")
        nodes.append([(edge[1], int(edge[2])) for edge in edges if edge])
    return nodes


def _genotype(text: str, cell: str) -> list[list[tuple[str, int]]]:
    """The nodes of one cell of a `Genotype`, which lists them two by two."""
    match = re.search(rf"\b{cell}\s*=\s*\[(.*?)\]", text)
    if not match:
        raise UserError(f"Architecture '{text}' names no '{cell}=[...]'; a Genotype of DARTS does.")
    concat = re.search(rf"\b{cell}_concat\s*=\s*(range\(2, ?6\)|\[2, ?3, ?4, ?5\])", text)
    if f"{cell}_concat" in text and not concat:
        raise UserError(
            f"Architecture '{text}' has another {cell}_concat than range(2, 6): its output is not all four nodes."
        )
    edges = [(name, int(i)) for name, i in re.findall(r"\(\s*['\"](\w+)['\"]\s*,\s*(\d+)\s*\)", match[1])]
    return [edges[at : at + 2] for at in range(0, len(edges), 2)]


def _edges(cells: Tensor) -> Tensor:
    """`_graphs`'s edges `[N, V, V]` of cells `[N, 11]`: the label is one more than the operation."""
    V = _INPUTS + _NODES
    edges, rows, at = torch.zeros(len(cells), V, V, dtype=torch.long), torch.arange(len(cells)), 0
    for node, pairs in enumerate(_PAIRS, _INPUTS):
        pair_N2 = torch.tensor(pairs)[cells[:, at] if len(pairs) > 1 else torch.zeros_like(rows)]
        at += len(pairs) > 1
        for which in (0, 1):
            edges[rows, pair_N2[:, which], node] = cells[:, at + which] + 1
        at += 2
    return edges


def _from_edges(edges: Tensor) -> Tensor:
    """`_edges` backwards, `[N, 11]`."""
    columns, rows = [], torch.arange(len(edges))
    for node, pairs in enumerate(_PAIRS, _INPUTS):
        into_NV = edges[:, :, node]
        # The places of the two edges in order: a stable sort puts those without an edge behind.
        pair_N2 = (into_NV == 0).to(torch.int8).argsort(dim=-1, stable=True)[:, :2]
        if len(pairs) > 1:
            columns.append((pair_N2[:, None, :] == torch.tensor(pairs)).all(-1).long().argmax(-1))
        columns += [into_NV[rows, pair_N2[:, which]] - 1 for which in (0, 1)]
    return torch.stack(columns, -1)
