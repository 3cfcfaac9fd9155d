"""The edges of a cell whose result reaches its output: all that an exported file needs."""

from __future__ import annotations

from typing import NamedTuple

from search_spaces._cells import EDGES, NODES

SHORT_NAMES = {"skip_connect": "skip", "nor_conv_1x1": "conv1x1", "nor_conv_3x3": "conv3x3", "avg_pool_3x3": "pool3x3"}


class Edge(NamedTuple):
    """One edge that reaches the output."""

    start: int
    end: int
    operation: str
    shift: bool
    """Whether it is a convolution of zeros, which is one number a channel."""

    @property
    def name(self) -> str:
        return ("shift" if self.shift else SHORT_NAMES[self.operation]) + f"_{self.start}{self.end}"


def live_edges(operations: tuple[str, ...]) -> list[Edge]:
    """The edges of a cell whose result reaches the output, in order."""
    # Forwards for nodes that something reaches, backwards for nodes that reach the output.
    filled, edges = {0}, []
    for (start, end), operation in zip(EDGES, operations):
        shift = start not in filled
        if operation == "none" or (shift and not operation.startswith("nor_conv")):
            continue
        edges.append(Edge(start, end, operation, shift))
        filled.add(end)
    used = {NODES - 1}
    for edge in reversed(edges):
        if edge.end in used and not edge.shift:
            used.add(edge.start)
    return [edge for edge in edges if edge.end in used]
