"""One encoder for the cells of every space: it runs a cell on vectors as the cell runs on images.

A node is the sum of its incoming edges; `none` gives zero, `skip` hands on, every other operation is one small network that is
given the operation's traits and its edge's position. So equivalent cells have equal embeddings, and a cell with other edges,
choices or operations needs no new weights.

Shapes: `N` architectures, `D` decisions, `C` choices, `H` width, `R` components.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from controller.models import features
from controller.models.task_features import NUM_TASK_FEATURES
from search_spaces import Space

WIDTH = 64
COMPONENTS = 16
"""Along which the encoder's scores vary between tasks. Width and components were not ablated."""
NODES = 8
"""Nodes of a cell that are told apart; later ones share the last place."""
_POSITION = 2 * NODES + 2
_PATH_STATS = 14
"""Numbers of `ArchFeatures.path_stats`."""
_CHUNK = 1024
"""Architectures that are computed at a time: what they need then stays in the processor's cache."""


class SpaceEncoding(NamedTuple):
    """What the network knows of a space: what each option does and where each edge lies."""

    op_traits: Tensor
    """float32 `[D, C, traits]` `features.operation_features` of every option."""
    edge_position: Tensor
    """float32 `[D, positions]` one-hot the edge's first and last node, and both as shares of the last node."""
    edges: tuple[tuple[int, int], ...]
    """(from, to) of each decision."""


def encode_space(space: Space, dtype: torch.dtype = torch.float32) -> SpaceEncoding:
    """The encoding of a space."""
    edges = features.edges(space)
    last = max(j for _, j in edges)
    position = torch.zeros(len(edges), _POSITION, dtype=dtype)
    for d, (i, j) in enumerate(edges):
        position[d, min(i, NODES - 1)] = 1
        position[d, NODES + min(j, NODES - 1)] = 1
        position[d, -2], position[d, -1] = i / last, j / last
    return SpaceEncoding(features.operation_feature_table(space).to(dtype), position, edges)


class CellEncoder(nn.Module):
    """Architectures `[N, D]` to embeddings `[N, H]`, and from these a mean score and components of variation over tasks."""

    def __init__(self) -> None:
        super().__init__()
        self.input_embedding = nn.Parameter(torch.randn(WIDTH) * 0.5)
        self.op_embedding = nn.Linear(len(features.OPERATION_FEATURES) + _POSITION, WIDTH)
        self.message_in = nn.Linear(2 * WIDTH, 2 * WIDTH)
        self.message_out = nn.Linear(2 * WIDTH, WIDTH)
        self.norm = nn.LayerNorm(WIDTH)
        self.readout = nn.Sequential(
            nn.Linear(2 * WIDTH + _PATH_STATS, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH)
        )
        self.mean_head = nn.Linear(WIDTH, 1)
        self.component_head = nn.Linear(WIDTH, COMPONENTS)
        self.task_to_components = nn.Linear(NUM_TASK_FEATURES, COMPONENTS, bias=False)

    def options(self, encoding: SpaceEncoding) -> Tensor:
        """Every option as a vector, `[D, C, H]`."""
        C = encoding.op_traits.shape[1]
        return self.op_embedding(torch.cat([encoding.op_traits, encoding.edge_position[:, None].expand(-1, C, -1)], -1))

    def forward(self, encoding: SpaceEncoding, archs: Tensor, path_stats: Tensor) -> Tensor:
        options_DCH = self.options(encoding)
        zero = torch.zeros(len(archs), WIDTH, dtype=self.input_embedding.dtype)
        nodes = [self.input_embedding.expand(len(archs), -1), *[zero] * max(j for _, j in encoding.edges)]
        op_sum = zero
        for d, (i, j) in topological_order(encoding):
            edge, op_term = self._edge(encoding, options_DCH, d, nodes[i], archs[:, d])
            nodes[j], op_sum = edge + nodes[j], op_sum + op_term
        return self._readout(encoding, nodes[-1], op_sum, path_stats)

    @torch.no_grad()
    def encode_all(self, encoding: SpaceEncoding, archs: Tensor, path_stats: Tensor) -> Tensor:
        """The same for many architectures: what several of them have in common is computed once."""
        options_DCH, C = self.options(encoding), encoding.op_traits.shape[1]
        nothing_N = torch.zeros(len(archs), dtype=torch.long)
        empty = [(torch.zeros(1, WIDTH, dtype=self.input_embedding.dtype), nothing_N)] * (
            1 + max(j for _, j in encoding.edges)
        )
        nodes = [(self.input_embedding[None], nothing_N), *empty[1:]]
        op_sum = torch.zeros(len(archs), WIDTH, dtype=self.input_embedding.dtype)
        for d, (i, j) in topological_order(encoding):
            (source, from_N), (node, at_N) = nodes[i], nodes[j]
            distinct, edge_N = (from_N * C + archs[:, d]).unique(return_inverse=True)
            edge, op_term = self._edge(encoding, options_DCH, d, source[distinct // C], distinct % C)
            sums, sum_N = (edge_N * len(node) + at_N).unique(return_inverse=True)
            nodes[j] = edge[sums // len(node)] + node[sums % len(node)], sum_N
            op_sum += op_term[edge_N]
        end, at_N = nodes[-1]
        parts = zip(*(x.split(_CHUNK) for x in (at_N, op_sum, path_stats)))
        return torch.cat([self._readout(encoding, end[at], *rest) for at, *rest in parts])

    def _edge(
        self, encoding: SpaceEncoding, options_DCH: Tensor, d: int, source: Tensor, choice: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The message of decision `d`'s edge from its node `source` `[N, H]`, and the operation's own term, `[N, H]` each."""
        token = options_DCH[d][choice]
        none, same = encoding.op_traits[d, :, 0][choice, None], encoding.op_traits[d, :, 1][choice, None]
        present = (source.abs().amax(-1, keepdim=True) > 0).to(source.dtype)
        made = self.message_out(F.gelu(self.message_in(torch.cat([self.norm(source), token], -1)))) * present
        return (1 - none) * torch.where(same > 0, source, made), (1 - none) * F.gelu(token) * present

    def _readout(self, encoding: SpaceEncoding, end: Tensor, op_sum: Tensor, path_stats: Tensor) -> Tensor:
        return self.readout(torch.cat([self.norm(end), op_sum / len(encoding.edges), path_stats.to(end.dtype)], -1))

    def mean_and_components(self, embedding: Tensor) -> tuple[Tensor, Tensor]:
        """The mean score over tasks `[N]` and the components along which tasks differ, `[N, R]`."""
        return self.mean_head(embedding).squeeze(-1), self.component_head(embedding)


def topological_order(encoding: SpaceEncoding) -> list[tuple[int, tuple[int, int]]]:
    """Decisions with their (from, to), each after those that lead to where it begins."""
    return sorted(enumerate(encoding.edges), key=lambda e: e[1][1])
