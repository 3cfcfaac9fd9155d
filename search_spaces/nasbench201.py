"""NAS-Bench-201's cells and network (Dong & Yang 2020, arXiv:2001.00326): 15,625 architectures."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor, nn

from search_spaces import _cell_costs, _cell_equivalents, _cell_strings, _cells, _ops
from search_spaces._base import Loads, Skeleton, Task

__all__ = ["NasBench201"]

_OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")


@dataclass(frozen=True)
class NasBench201:
    """Six edges, five operations; the network is a stem, three stages of cells, a head.

    The defaults are the benchmark's. Smaller `channels` and `cells` make a proxy that trains faster.
    """

    channels: int = 16
    """Width of the first stage; the others have twice and four times that."""
    cells: int = 5
    """Cells a stage."""
    stem_stride: int = 1
    """2 halves the image in the stem: a quarter of the work."""

    name = "nasbench201"
    choices = (len(_OPERATIONS),) * len(_cells.EDGES)
    decisions = _cells.EDGE_NAMES
    edges = _cells.EDGES
    operations = (_OPERATIONS,) * len(_cells.EDGES)
    operation_features = (tuple(_cells.FEATURES[name] for name in _OPERATIONS),) * len(_cells.EDGES)

    def valid(self, archs: Tensor) -> Tensor:
        return _ops.in_range(archs, self.choices)

    def canonical(self, archs: Tensor) -> Tensor:
        return _cell_equivalents.canonical(archs, _OPERATIONS)

    def equivalents(self, archs: Tensor, *, deep: bool = False) -> Tensor:
        return _cell_equivalents.canonical(archs, _OPERATIONS, deep=deep)

    def build(self, arch: Tensor, task: Task) -> nn.Module:
        names = [_OPERATIONS[c] for c in arch.tolist()]
        return _cells.three_stages(names, task, self.channels, self.cells, self.stem_stride)

    def describe(self, arch: Tensor) -> str:
        return _cell_strings.describe(arch, _OPERATIONS)

    def parse(self, text: str) -> Tensor:
        return _cell_strings.parse(text, _OPERATIONS)

    @property
    def reference_arch(self) -> Tensor:
        return _cells.reference_arch(_OPERATIONS)

    @property
    def skeleton(self) -> Skeleton:
        return Skeleton(self.channels, self.cells, self.stem_stride)

    def proxy(self, channels: int, cells: int, stem_stride: int) -> NasBench201:
        return replace(self, channels=channels, cells=cells, stem_stride=stem_stride)

    def cost(self, archs: Tensor, task: Task) -> tuple[Tensor, Tensor]:
        """In closed form; FLOPs as the benchmark counts them."""
        return _cell_costs.three_stages_cost(archs, _OPERATIONS, task, self.channels, self.cells, self.stem_stride)

    def loads(self, archs: Tensor, task: Task) -> Loads:
        return _cell_costs.three_stages_loads(archs, _OPERATIONS, task, self.channels, self.cells, self.stem_stride)
