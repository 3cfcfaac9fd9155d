"""NAS-Bench-101's space (Ying et al. 2019, arXiv:1902.09635, section 2): 423,624 graphs of up to seven vertices and nine edges.

Vertex 0 is the cell's input, vertex 6 its output, the five between them are operations. The benchmark's table is no part of it.
"""

from __future__ import annotations

import ast
import itertools
import re
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from search_spaces import _graphs, _nasbench101_network, _ops
from search_spaces._base import OperationFeatures, Task, UserError, unknown

__all__ = ["NasBench101"]

_VERTICES = 7
_MAX_EDGES = 9
_FEATURES = {
    "conv3x3-bn-relu": OperationFeatures(convolution=1.0, kernel=1.0),
    "conv1x1-bn-relu": OperationFeatures(convolution=1.0, kernel=1 / 9),
    "maxpool3x3": OperationFeatures(pooling=1.0, kernel=1.0),
}
_OPERATIONS = tuple(_FEATURES)
_PLACES = tuple(itertools.combinations(range(_VERTICES), 2))
"""(from, to) of each edge that there may be, row by row."""
_ROW, _COLUMN = (torch.tensor(ends) for ends in zip(*_PLACES))
_INNER = _VERTICES - 2
_ENDS = ("input", "output")
_EXAMPLE = f"100001 00000 0000 000 00 1 {_OPERATIONS[0]}" + f" {_OPERATIONS[1]}" * (_INNER - 1)


@dataclass(frozen=True)
class NasBench101:
    """21 edges that are there or not, five operations of three kinds.

    The network is the benchmark's: a stem, three stacks of cells with poolings of stride 2 between them, a linear classifier. The
    benchmark's own is `NasBench101(128, 3)`.
    """

    channels: int = 16
    """Width of the first stack; the others have twice and four times that."""
    cells: int = 1
    """Cells a stack."""

    name = "nasbench101"
    choices = (2,) * len(_PLACES) + (len(_OPERATIONS),) * _INNER
    decisions = (*(f"{i}-{j}" for i, j in _PLACES), *(f"vertex {v}" for v in range(1, _INNER + 1)))
    operations = (("no", "yes"),) * len(_PLACES) + (_OPERATIONS,) * _INNER
    operation_features = ((OperationFeatures(none=1.0), OperationFeatures(identity=1.0)),) * len(_PLACES) + (
        tuple(_FEATURES.values()),
    ) * _INNER
    all_valid = False

    def valid(self, archs: Tensor) -> Tensor:
        """Where the output is reached from the input, by at most nine edges that lie on such ways: what the benchmark asks."""
        within = _ops.in_range(archs, self.choices)
        edges_NVV, _ = _pruned(_matrices(archs.reshape(-1, len(self.choices))))
        count_N = edges_NVV.sum((-2, -1))
        return within & ((count_N > 0) & (count_N <= _MAX_EDGES)).view(within.shape)

    def canonical(self, archs: Tensor) -> Tensor:
        """One for all isomorphic cells, without the vertices that lie on no way from input to output.

        The benchmark tells cells apart by a hash of their graph, which was found to be as exact (its appendix A).
        """
        flat = archs.reshape(-1, len(self.choices)).long()
        edges_NVV, on_way_NV = _pruned(_matrices(flat))
        labels_NV = torch.zeros_like(on_way_NV, dtype=torch.long)
        # What lies on no way has label 0, as the ends have, so that nothing is left of its operation.
        labels_NV[:, 1:-1] = flat[:, len(_PLACES) :] * on_way_NV[:, 1:-1]
        bases = 2, len(_OPERATIONS)
        edges, labels = _graphs.isomorphism_representatives(edges_NVV, labels_NV, 1, _INNER, bases)
        found = torch.cat([edges[:, _ROW, _COLUMN], labels[:, 1:-1]], -1)
        return found.view(archs.shape).to(archs.dtype)

    def build(self, arch: Tensor, task: Task) -> nn.Module:
        edges_VV, on_way_V = (x[0] for x in _pruned(_matrices(arch[None])))
        kept = on_way_V.nonzero()[:, 0]
        names = [_OPERATIONS[c] for c, on_way in zip(arch[len(_PLACES) :].tolist(), on_way_V[1:-1].tolist()) if on_way]
        matrix = edges_VV[kept][:, kept].tolist()
        return _nasbench101_network.Network(matrix, names, task, self.channels, self.cells)

    def describe(self, arch: Tensor) -> str:
        """The rows of the adjacency matrix behind its diagonal, then the operations."""
        digits = "".join(map(str, arch[: len(_PLACES)].tolist()))
        rows, at = [], 0
        for length in range(_VERTICES - 1, 0, -1):
            rows.append(digits[at : at + length])
            at += length
        return " ".join([*rows, *(_OPERATIONS[c] for c in arch[len(_PLACES) :].tolist())])

    def parse(self, text: str) -> Tensor:
        """Of `describe`, and of the benchmark's `ModelSpec`: the matrix and the list of operations, of two to seven vertices."""
        if "[" in text:
            return _of_model_spec(text)
        rows, names = text.split()[: _VERTICES - 1], text.split()[_VERTICES - 1 :]
        shaped = all(re.fullmatch(rf"[01]{{{_VERTICES - 1 - i}}}", row) for i, row in enumerate(rows))
        if len(rows) != _VERTICES - 1 or len(names) != _INNER or not shaped:
            raise UserError(f"Architecture '{text}' takes the form '{_EXAMPLE}', or a matrix and a list of operations.")
        return torch.tensor([*map(int, "".join(rows)), *map(_operation, names)])


def _operation(name: str) -> int:
    if name not in _OPERATIONS:
        raise unknown("operation", name, list(_OPERATIONS))
    return _OPERATIONS.index(name)


def _matrices(archs: Tensor) -> Tensor:
    """Adjacency `[N, V, V]` of `archs` `[N, D]`; whatever is no option counts as an edge."""
    edges = torch.zeros(len(archs), _VERTICES, _VERTICES, dtype=torch.long, device=archs.device)
    edges[:, _ROW, _COLUMN] = (archs[:, : len(_PLACES)] != 0).long()
    return edges


def _pruned(edges_NVV: Tensor) -> tuple[Tensor, Tensor]:
    """The edges on ways from the input to the output, and which vertices `[N, V]` are; both ends always are."""
    from_input, to_output = torch.zeros(2, *edges_NVV.shape[:2], dtype=torch.bool).unbind(0)
    from_input[:, 0] = to_output[:, -1] = True
    for v in range(1, _VERTICES):
        from_input[:, v] = (edges_NVV[:, :, v].bool() & from_input).any(-1)
        to_output[:, -1 - v] = (edges_NVV[:, -1 - v].bool() & to_output).any(-1)
    on_way = from_input & to_output
    edges_NVV = edges_NVV * (on_way[:, :, None] & on_way[:, None, :])
    on_way[:, 0] = on_way[:, -1] = True
    return edges_NVV, on_way


def _of_model_spec(text: str) -> Tensor:
    """Of `[[0, 1, ...], ...] ['input', 'conv1x1-bn-relu', ..., 'output']`, with whatever words around the two lists."""
    matrix, names = _lists(text)
    V = len(matrix)
    square = all(isinstance(row, list) and len(row) == V and set(row) <= {0, 1} for row in matrix)
    if not 2 <= V <= _VERTICES or not square or any(row[c] for r, row in enumerate(matrix) for c in range(r + 1)):
        raise UserError(
            f"The matrix of architecture '{text}' takes 2 to {_VERTICES} rows of 0 and 1, with 0 on and below the diagonal."
        )
    if len(names) != V or (names[0], names[-1]) != _ENDS:
        raise UserError(f"Architecture '{text}' takes {V} operations, from 'input' to 'output'.")
    # Vertices that it does not have stand before the output and have no edge.
    place = [*range(V - 1), _VERTICES - 1]
    edges = {(place[r], place[c]) for r, row in enumerate(matrix) for c, edge in enumerate(row) if edge}
    inner = [_operation(str(name)) for name in names[1:-1]]
    return torch.tensor([*(int(e in edges) for e in _PLACES), *inner, *[0] * (_INNER - len(inner))])


def _lists(text: str) -> tuple[list, list]:
    """The two lists, as Python writes them: read as literals, never run."""
    match = re.search(r"(\[\s*\[.*\]\s*\])[^\[]*(\[[^\]]*\])", text, re.DOTALL)
    try:
        found = tuple(map(ast.literal_eval, match.groups())) if match else ()
    except (ValueError, SyntaxError):
        found = ()
    if len(found) != 2 or not all(isinstance(each, list) for each in found):
        raise UserError(f"Architecture '{text}' takes a matrix and a list: [[0, 1], [0, 0]] ['input', 'output'].")
    return found
