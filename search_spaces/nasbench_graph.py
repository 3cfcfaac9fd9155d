"""NAS-Bench-Graph's space (Qin et al. 2022, arXiv:2206.09166, section 3.1): four operations on a tree of features of a graph.

Each of four nodes reads the features of one earlier node or of the input, and the leaves of this tree together are the output. Of
4! x 9^4 combinations 26,206 are left: one for all that differ in the order of nodes, or in where a skip stands that does nothing.

Shapes: `D` = 8 decisions, the node that each of four reads and then each one's operation; `P` = 24 orders of the nodes.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor, nn

from search_spaces import _ops
from search_spaces._base import OperationFeatures, Task, UserError

__all__ = ["NasBenchGraph"]

_FEATURES = {
    **{name: OperationFeatures(convolution=1.0, kernel=1.0) for name in ("gat", "gcn", "gin", "cheb", "sage", "arma", "graph")},
    "fc": OperationFeatures(convolution=1.0, kernel=1 / 9),
    "skip": OperationFeatures(identity=1.0),
}  # fmt: skip
"""In the benchmark's order. A graph convolution reads the neighbors, as a 3x3 convolution does, and `fc` a node alone."""
_OPERATIONS = tuple(_FEATURES)
_WEIGHTS = {
    "gat": (1, 3, 1), "gcn": (1, 1, 1), "gin": (1, 1, 1), "cheb": (2, 1, 2), "sage": (2, 1, 2), "arma": (3, 1, 2),
    "graph": (2, 1, 2), "fc": (1, 1, 1), "skip": (0, 0, 0),
}  # fmt: skip
"""Square matrices and vectors of weights of each operation, and matrices that a node is multiplied by, as PyTorch Geometric has
them (`_graph_network`): ARMA has one for a second layer that there is not."""
_SKIP = _OPERATIONS.index("skip")
_NODES = 4
_TREES = (
    (0, 0, 0, 0), (0, 0, 0, 1), (0, 0, 1, 1), (0, 0, 1, 2), (0, 0, 1, 3), (0, 1, 1, 1), (0, 1, 1, 2), (0, 1, 2, 2), (0, 1, 2, 3),
)  # fmt: skip
"""What each node reads, 0 for the input: the nine trees that the benchmark writes all others as, its table 1."""


@dataclass(frozen=True)
class NasBenchGraph:
    """A tree of graph convolutions. Networks need PyTorch Geometric: `pip install 'metacell[graph]'`."""

    width: int = 64
    """Features of each node of the network."""

    name = "nasbench-graph"
    choices = tuple(range(1, _NODES + 1)) + (len(_OPERATIONS),) * _NODES
    decisions = tuple(f"input of {n}" for n in range(1, _NODES + 1)) + tuple(
        f"operation {n}" for n in range(1, _NODES + 1)
    )
    operations = (
        tuple(("input", *(f"node {earlier}" for earlier in range(1, n))) for n in range(1, _NODES + 1))
        + (_OPERATIONS,) * _NODES
    )
    operation_features = (
        tuple((OperationFeatures(other=1.0),) * n for n in range(1, _NODES + 1)) + (tuple(_FEATURES.values()),) * _NODES
    )

    def valid(self, archs: Tensor) -> Tensor:
        """Those that the benchmark has: written in its way, and not skips alone."""
        within = _ops.in_range(archs, self.choices) & (archs[..., _NODES:] != _SKIP).any(-1)
        links_9N = torch.tensor(_TREES)
        # The tree first: six of seven combinations are out by that, and orders are many.
        within &= (archs[..., None, :_NODES] == links_9N).all(-1).any(-1)
        some = archs[within].long()
        within[within.clone()] = (self.canonical(some) == some).all(-1)
        return within

    def canonical(self, archs: Tensor) -> Tensor:
        """The benchmark's way to write the same network: skips that do nothing come first, nodes in the order of one of nine
        trees, operations in the least order that this tree has. Skips alone are skips of a chain."""
        tables, archs = _rewritings(), archs.long()
        links, operations = archs[..., :_NODES], archs[..., _NODES:]
        skips = (operations == _SKIP).long() @ (2 ** torch.arange(_NODES))
        at = _ops.index(links, self.choices[:_NODES]) * 2**_NODES + skips
        # All orders of the nodes that give the benchmark's tree; the repeated ones among them change nothing.
        written_PN = (
            operations[..., None, :].expand(*at.shape, tables.orders.shape[1], _NODES).gather(-1, tables.orders[at])
        )
        least = (written_PN @ (len(_OPERATIONS) ** torch.arange(_NODES).flip(0))).argmin(-1)[..., None, None]
        chosen = written_PN.gather(-2, least.expand(*at.shape, 1, _NODES)).squeeze(-2)
        return torch.cat([tables.links[at], chosen], -1)

    def build(self, arch: Tensor, task: Task) -> nn.Module:
        """The network: of images, whose pixels are the graph's nodes, to logits; `nodes` takes any graph.

        Raises `UserError` where PyTorch Geometric is missing.
        """
        try:
            from search_spaces._graph_network import GraphNetwork
        except ImportError:
            raise UserError(
                "Networks of space 'nasbench-graph' need PyTorch Geometric: pip install 'metacell[graph]'. A table is searched "
                "without it."
            ) from None
        links, operations = arch.tolist()[:_NODES], [_OPERATIONS[o] for o in arch.tolist()[_NODES:]]
        return GraphNetwork(links, operations, task, self.width)

    def cost(self, archs: Tensor, task: Task) -> tuple[Tensor, Tensor]:
        """Parameters and FLOPs (multiply-accumulates of one image, its pixels the nodes) of `archs` `[..., D]`, int64 `[...]`
        each; the sums over neighbors are no multiplications."""
        links, operations = archs[..., :_NODES].long(), archs[..., _NODES:].long()
        channels, height, width = task.input_shape
        leaves = _NODES - (links[..., None] == torch.arange(1, _NODES + 1)).any(-2).sum(-1)
        squares, vectors, used = torch.tensor([_WEIGHTS[name] for name in _OPERATIONS]).unbind(-1)
        first, square = channels * self.width, self.width**2
        classifier = self.width * leaves * task.num_classes
        biases = (vectors[operations].sum(-1) + 1) * self.width + task.num_classes
        places = height * width
        parameters = squares[operations].sum(-1) * square + first + classifier + biases
        return parameters, places * (used[operations].sum(-1) * square + first) + classifier

    def describe(self, arch: Tensor) -> str:
        """What each node reads and its operation, as `0 gcn, 1 gat, 1 skip, 2 fc`."""
        read, operation = arch.tolist()[:_NODES], arch.tolist()[_NODES:]
        return ", ".join(f"{link} {_OPERATIONS[o]}" for link, o in zip(read, operation))

    def parse(self, text: str) -> Tensor:
        pairs = re.findall(r"\s*(\d)\s+(\w+)\s*(?:,|$)", text)
        known = all(name in _OPERATIONS for _, name in pairs)
        if len(pairs) != _NODES or not known or any(int(link) > at for at, (link, _) in enumerate(pairs)):
            raise UserError(
                f"Architecture '{text}' takes four nodes, as '0 gcn, 1 gat, 1 skip, 2 fc': an earlier node or 0 for the input, "
                f"and one of {', '.join(_OPERATIONS)}."
            )
        return torch.tensor([int(link) for link, _ in pairs] + [_OPERATIONS.index(name) for _, name in pairs])


class _Rewritings(NamedTuple):
    """By what nodes read and which are skips: how the benchmark writes the network."""

    links: Tensor
    """int64 `[24 x 16, 4]`."""
    orders: Tensor
    """int64 `[24 x 16, P, 4]` for each order that gives these links, which node comes at each place; then some of them again."""


@lru_cache(maxsize=1)
def _rewritings() -> _Rewritings:
    rows = []
    for links in itertools.product(*(range(n) for n in range(1, _NODES + 1))):
        for skips in range(2**_NODES):
            rows.append(_written(links, {n for n in range(_NODES) if skips >> n & 1}))
    return _Rewritings(torch.tensor([links for links, _ in rows]), torch.tensor([orders for _, orders in rows]))


def _written(links: tuple[int, ...], skips: set[int]) -> tuple[tuple[int, ...], list[list[int]]]:
    """The benchmark's tree, and `P` orders of the nodes (from 0) that give it."""
    parent = {n + 1: link for n, link in enumerate(links)}
    moved: list[int] = []
    while (idle := next((n for n in parent if n - 1 in skips and _is_idle(n, parent, skips)), None)) is not None:
        above = parent.pop(idle)
        parent = {n: above if p == idle else p for n, p in parent.items()}
        moved.append(idle)
    # The skips that do nothing become a chain behind the input, and what read the input reads its end.
    chain = {n: 0 if at == 0 else moved[at - 1] for at, n in enumerate(moved)}
    end = moved[-1] if moved else 0
    parent = chain | {n: p or end for n, p in parent.items()}
    found = []
    for order in itertools.permutations(range(1, _NODES + 1)):
        place = {0: 0} | {n: at + 1 for at, n in enumerate(order)}
        read = tuple(place[parent[n]] for n in order)
        if read in _TREES:
            found.append((read, [n - 1 for n in order]))
    orders = [order for _, order in found]
    return found[0][0], (orders * 24)[:24]


def _is_idle(n: int, parent: dict[int, int], skips: set[int]) -> bool:
    """Whether a skip does nothing: others read it, or it alone reads what it reads, or it would hand the input to the output."""
    is_leaf = n not in parent.values()
    alone = sum(p == parent[n] for p in parent.values()) == 1
    from_input = parent[n] == 0 or all(a - 1 in skips for a in _ancestors(n, parent))
    return not is_leaf or alone or from_input


def _ancestors(n: int, parent: dict[int, int]) -> list[int]:
    found = []
    while parent[n]:
        n = parent[n]
        found.append(n)
    return found
