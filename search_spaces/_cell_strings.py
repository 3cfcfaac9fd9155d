"""NAS-Bench-201's string of a cell (Dong & Yang 2020), written and read."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import Tensor

from search_spaces._base import UserError
from search_spaces._cells import EDGES, NODES


def describe(arch: Tensor, operations: Sequence[str]) -> str:
    """The benchmark's string, as `|nor_conv_3x3~0|+|none~0|skip_connect~1|+|...|`."""
    edge = iter(arch.tolist())
    nodes = ["|" + "|".join(f"{operations[next(edge)]}~{i}" for i in range(j)) + "|" for j in range(1, NODES)]
    return "+".join(nodes)


def parse(text: str, operations: Sequence[str]) -> Tensor:
    """The architecture `[6]` of the benchmark's string; `UserError` names the edge at fault."""
    nodes = text.strip().split("+")
    example = describe(torch.zeros(len(EDGES), dtype=torch.long), operations)
    if len(nodes) != NODES - 1:
        raise UserError(f"Architecture '{text}' has {len(nodes)} nodes joined by '+'; it takes 3, as in '{example}'.")
    arch = []
    for j, node in enumerate(nodes, 1):
        edges = node.strip("|").split("|")
        if len(edges) != j:
            raise UserError(
                f"Node {j} of architecture '{text}' has {len(edges)} edges; it takes {j}, as in '{example}'."
            )
        for i, edge in enumerate(edges):
            match = re.fullmatch(r"(\w+)~(\d+)", edge)
            if not match or int(match[2]) != i:
                raise UserError(f"Edge {i}-{j} of architecture '{text}' reads '{edge}'; it takes 'OPERATION~{i}'.")
            if match[1] not in operations:
                raise UserError(
                    f"Edge {i}-{j} of architecture '{text}' has operation '{match[1]}'; there are: {', '.join(operations)}."
                )
            arch.append(operations.index(match[1]))
    return torch.tensor(arch)
