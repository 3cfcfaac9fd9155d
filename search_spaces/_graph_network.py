"""The network of NAS-Bench-Graph's space, in PyTorch Geometric.

Shapes: `n` nodes of a graph, `m` edges, `F` features of a node, `N` images of `H` x `W` pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch_geometric.nn import (  # pyright: ignore[reportMissingImports]
    ARMAConv,
    ChebConv,
    GATConv,
    GCNConv,
    GINConv,
    GraphConv,
    SAGEConv,
)

from search_spaces._base import Task


def _operation(name: str, width: int) -> nn.Module:
    """One of the benchmark's graph convolutions, or what reads a node alone (Qin et al. 2022, section 3.1)."""
    made = {
        "gat": lambda: GATConv(width, width // 2, heads=2),
        "gcn": lambda: GCNConv(width, width),
        "gin": lambda: GINConv(nn.Linear(width, width)),
        "cheb": lambda: ChebConv(width, width, K=2),
        "sage": lambda: SAGEConv(width, width),
        "arma": lambda: ARMAConv(width, width),
        "graph": lambda: GraphConv(width, width),
        "fc": lambda: nn.Linear(width, width),
        "skip": nn.Identity,
    }
    return made[name]()


class GraphNetwork(nn.Module):
    """Logits of images, whose pixels are nodes with their four neighbors; `nodes` gives those of each node of any graph.

    A linear layer brings the input to the width of all nodes, so that a skip from the input has the shape of the others.
    """

    def __init__(self, links: list[int], operations: list[str], task: Task, width: int):
        super().__init__()
        self.links, self.reads_neighbors = links, [name not in ("fc", "skip") for name in operations]
        self.leaves = [n for n in range(1, len(links) + 1) if n not in links]
        self.first = nn.Linear(task.input_shape[0], width)
        self.operations = nn.ModuleList(_operation(name, width) for name in operations)
        self.is_skip = [name == "skip" for name in operations]
        self.classify = nn.Linear(width * len(self.leaves), task.num_classes)

    def _outputs(self, features: Tensor, edge_index: Tensor) -> Tensor:
        """What the leaves give, `[n, width x leaves]`."""
        found = [self.first(features)]
        for link, operation, neighbors, skip in zip(self.links, self.operations, self.reads_neighbors, self.is_skip):
            given = operation(found[link], edge_index) if neighbors else operation(found[link])
            found.append(given if skip else given.relu())
        return torch.cat([found[leaf] for leaf in self.leaves], -1)

    def nodes(self, features: Tensor, edge_index: Tensor) -> Tensor:
        """Logits of each node, `[n, num_classes]`, of features `[n, F]` and edges int64 `[2, m]` from the first to the second."""
        return self.classify(self._outputs(features, edge_index))

    def forward(self, images: Tensor) -> Tensor:
        """Logits `[N, num_classes]` of images `[N, F, H, W]`, by the mean over their pixels."""
        count, height, width = len(images), images.shape[-2], images.shape[-1]
        features = images.flatten(2).mT.reshape(count * height * width, -1)
        found = self._outputs(features, _grid(count, height, width, images.device))
        return self.classify(found.view(count, height * width, -1).mean(1))


def _grid(count: int, height: int, width: int, device: torch.device) -> Tensor:
    """The edges of `count` grids between neighbors above, below, left and right, both ways, int64 `[2, m]`."""
    at = torch.arange(count * height * width, device=device).view(count, height, width)
    below = torch.stack([at[:, :-1].flatten(), at[:, 1:].flatten()])
    right = torch.stack([at[:, :, :-1].flatten(), at[:, :, 1:].flatten()])
    return torch.cat([below, below.flip(0), right, right.flip(0)], 1)
