"""TransNAS-Bench-101's micro space (Duan et al. 2021, arXiv:2105.11871): six edges, four operations, 4,096 cells."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from search_spaces import _cell_costs, _cell_equivalents, _cells, _ops, _transnas
from search_spaces._base import Task, UserError

__all__ = ["TransNasMicro"]

_OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3")
_MODULES = "41414"
"""The benchmark's skeleton for this space: 1 keeps the size, 4 halves the image and doubles the width."""


@dataclass(frozen=True)
class TransNasMicro:
    """Six edges, four operations; the network is a stem, five modules of cells, a linear classifier."""

    channels: int = 64
    """Width of the first module's input, the benchmark's; the last has eight times that."""
    cells: int = 2
    """Cells a module; the first does what the module does."""
    stem_stride: int = 4
    """1, 2 or 4: how often the stem's two convolutions halve the image; the benchmark's images are large."""

    name = "transnas-micro"
    choices = (len(_OPERATIONS),) * len(_cells.EDGES)
    edges = _cells.EDGES
    operations = (_OPERATIONS,) * len(_cells.EDGES)
    operation_features = (tuple(_cells.FEATURES[name] for name in _OPERATIONS),) * len(_cells.EDGES)
    decisions = _cells.EDGE_NAMES

    def valid(self, archs: Tensor) -> Tensor:
        return _ops.in_range(archs, self.choices)

    def canonical(self, archs: Tensor) -> Tensor:
        """Equivalent in cells that halve the image as well: there a skip from the input has weights of its own."""
        return _cell_equivalents.canonical(archs, _OPERATIONS, strided=True)

    def equivalents(self, archs: Tensor, *, deep: bool = False) -> Tensor:
        """Those of `canonical`, also if `deep`: what zeros hide in a cell that halves the image was never worked out."""
        return self.canonical(archs)

    @property
    def reference_arch(self) -> Tensor:
        return _cells.reference_arch(_OPERATIONS)

    @property
    def skeleton(self) -> None:
        """Its network is another than NAS-Bench-201's."""
        return None

    def proxy(self, channels: int, cells: int, stem_stride: int) -> TransNasMicro:
        return replace(self, channels=channels, cells=cells, stem_stride=stem_stride)

    def cost(self, archs: Tensor, task: Task) -> tuple[Tensor, Tensor]:
        return _cell_costs.additive_cost(self, archs, task)

    def build(self, arch: Tensor, task: Task) -> nn.Module:
        return _Network([_OPERATIONS[c] for c in arch.tolist()], task, self)

    def describe(self, arch: Tensor) -> str:
        """The benchmark's string, as `64-41414-1_02_333`: node by node, the operation from each earlier node."""
        digits = "".join(str(c) for c in arch.tolist())
        return f"{self.channels}-{_MODULES}-{digits[0]}_{digits[1:3]}_{digits[3:]}"

    def parse(self, text: str) -> Tensor:
        match = re.fullmatch(r"(?:\d+-\d+-)?(\d)_(\d\d)_(\d\d\d)", text.strip())
        if not match:
            raise UserError(f"Architecture '{text}' takes the form '64-{_MODULES}-1_02_333', or its last part.")
        digits = "".join(match.groups())
        for edge, digit in zip(_cells.EDGE_NAMES, digits):
            if int(digit) >= len(_OPERATIONS):
                there_are = ", ".join(f"{i} ({name})" for i, name in enumerate(_OPERATIONS))
                raise UserError(f"Edge {edge} of architecture '{text}' has operation {digit}; there are: {there_are}.")
        return torch.tensor([int(digit) for digit in digits])


class _Network(nn.Module):
    """Images `[N, *task.input_shape]` to logits `[N, num_classes]`."""

    def __init__(self, operations: list[str], task: Task, space: TransNasMicro):
        super().__init__()
        channels = space.channels
        self.stem = _transnas.stem(task, channels, space.stem_stride)
        cells, width = [], channels
        for module in _MODULES:
            inputs, width, stride = width, width * (2 if module == "4" else 1), 2 if module == "4" else 1
            cells.append(_Cell(operations, inputs, width, stride))
            cells.extend(_Cell(operations, width, width, 1) for _ in range(space.cells - 1))
        self.body = nn.Sequential(*cells)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, task.num_classes))
        _transnas.initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(self.stem(x)))


class _Cell(nn.Module):
    """Operations that leave node 0 change width and stride, as in DARTS's reduction cells."""

    def __init__(self, operations: list[str], inputs: int, outputs: int, stride: int):
        super().__init__()
        self.edges = nn.ModuleList(
            _operation(name, inputs, outputs, stride) if i == 0 else _operation(name, outputs, outputs, 1)
            for name, (i, _) in zip(operations, _cells.EDGES)
        )

    def forward(self, x: Tensor) -> Tensor:
        nodes = [x]
        edges = iter(self.edges)
        for j in range(1, _cells.NODES):
            nodes.append(torch.stack([next(edges)(nodes[i]) for i in range(j)]).sum(0))
        return nodes[-1]


def _operation(name: str, inputs: int, outputs: int, stride: int) -> nn.Module:
    if name == "none":
        return _Nothing(outputs, stride)
    if name == "skip_connect":
        return nn.Identity() if stride == 1 and inputs == outputs else _cells.FactorizedReduce(inputs, outputs, stride)
    return _cells.ReluConvBn(inputs, outputs, 1 if name == "nor_conv_1x1" else 3, stride)


class _Nothing(nn.Module):
    """Zeros of the shape that an operation would give."""

    def __init__(self, outputs: int, stride: int):
        super().__init__()
        self.outputs, self.stride = outputs, stride

    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x[:, :1, :: self.stride, :: self.stride]).expand(-1, self.outputs, -1, -1)
