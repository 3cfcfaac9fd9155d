"""Counts the cells of NAS-Bench-101 that are not isomorphic, of two to seven vertices: 423,624 in the paper (section 2.1).

Some minutes. Graphs without operations come first; only one of each kind is then given all operations.

Example: python runs/nasbench101_count.py
"""

import itertools

import torch

from search_spaces.nasbench101 import NasBench101

PUBLISHED = 423_624
CHUNK = 1 << 16
SPACE = NasBench101()
PLACES = list(itertools.combinations(range(7), 2))


def representatives(archs: torch.Tensor) -> torch.Tensor:
    """One of each class of the valid ones of `archs` `[N, D]`."""
    parts = [part[SPACE.valid(part)] for part in archs.split(CHUNK)]
    return torch.cat([SPACE.canonical(part).unique(dim=0) for part in parts if len(part)]).unique(dim=0)


def main() -> None:
    """Prints the count of each number of vertices, and of all."""
    every = (torch.arange(1 << len(PLACES))[:, None] >> torch.arange(len(PLACES))) & 1
    graphs = representatives(torch.cat([every, torch.zeros(len(every), 5, dtype=torch.long)], 1))
    operations = torch.cartesian_prod(*[torch.arange(3)] * 5)
    total, by_vertices = 0, torch.zeros(8, dtype=torch.long)
    for graph in graphs:
        labeled = torch.cat([graph[: len(PLACES)].expand(len(operations), -1), operations], 1)
        found = len(representatives(labeled))
        used = {v for edge, there in zip(PLACES, graph.tolist()) if there for v in edge}
        by_vertices[len(used)] += found
        total += found
    print(f"graphs without operations: {len(graphs):,}")
    print("cells by vertices: " + ", ".join(f"{n}: {int(by_vertices[n]):,}" for n in range(2, 8)))
    print(f"cells: {total:,}, published: {PUBLISHED:,}")


if __name__ == "__main__":
    main()
