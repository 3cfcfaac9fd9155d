"""The six-edge cell of NAS-Bench-201 (Dong & Yang 2020, section 2.1) and the network that repeats it.

A cell has four nodes. Node 0 is its input, node 3 its output; a node is the sum of its incoming edges, each one operation on
an earlier node. A network is a stem, three stages of cells with residual blocks of stride 2 between them, and a head.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor, nn

from search_spaces import _ops
from search_spaces._base import OperationFeatures, Space, Task, UserError

NODES = 4
EDGES = tuple((i, j) for j in range(1, NODES) for i in range(j))
"""(from, to) of each decision: 0-1, 0-2, 1-2, 0-3, 1-3, 2-3."""
EDGE_NAMES = tuple(f"{i}-{j}" for i, j in EDGES)
FEATURES = {
    "none": OperationFeatures(none=1.0),
    "skip_connect": OperationFeatures(identity=1.0),
    "nor_conv_1x1": OperationFeatures(convolution=1.0, kernel=1 / 9),
    "nor_conv_3x3": OperationFeatures(convolution=1.0, kernel=1.0),
    "avg_pool_3x3": OperationFeatures(pooling=1.0),
}
"""What the benchmarks' operations do, by their names."""
_RESNET = ("nor_conv_3x3", "none", "nor_conv_3x3", "skip_connect", "none", "skip_connect")
"""Edge by edge, a ResNet's basic block: two 3x3 convolutions in a row (0-1, 1-2) beside a skip (0-3)."""


class ReluConvBn(nn.Sequential):
    """ReLU, convolution without bias, batch norm: the benchmark's order."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1):
        super().__init__(
            nn.ReLU(),
            nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False),
            nn.BatchNorm2d(outputs),
        )


class Zero(nn.Module):
    """No edge: zeros of the input's shape."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a pooled 1x1 one; halves the image (rounding up)."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv_a = ReluConvBn(inputs, outputs, 3, stride=2)
        self.conv_b = ReluConvBn(outputs, outputs, 3)
        self.downsample = nn.Sequential(nn.AvgPool2d(2, 2, ceil_mode=True), nn.Conv2d(inputs, outputs, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        return self.downsample(x) + self.conv_b(self.conv_a(x))


def operation(name: str, inputs: int, outputs: int) -> nn.Module:
    """The module of one edge. Where the width changes, skip and pooling gain a 1x1 convolution, as in the benchmark."""
    if name == "none":
        return Zero()
    if name == "nor_conv_1x1":
        return ReluConvBn(inputs, outputs, 1)
    if name == "nor_conv_3x3":
        return ReluConvBn(inputs, outputs, 3)
    if name == "skip_connect":
        if inputs == outputs:
            return nn.Identity()
        return nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))
    pool = nn.AvgPool2d(3, 1, padding=1, count_include_pad=False)
    return pool if inputs == outputs else nn.Sequential(ReluConvBn(inputs, outputs, 1), pool)


class Cell(nn.Module):
    """Six operations between four nodes; `[N, inputs, H, W]` to `[N, outputs, H, W]`."""

    def __init__(self, operations: Sequence[str], inputs: int, outputs: int):
        super().__init__()
        self.operations = tuple(operations)
        self.widths = (inputs, outputs)
        self.edges = nn.ModuleList(
            operation(name, inputs if i == 0 else outputs, outputs) for name, (i, _) in zip(operations, EDGES)
        )

    def forward(self, x: Tensor) -> Tensor:
        nodes = [x]
        edges = iter(self.edges)
        for j in range(1, NODES):
            node = next(edges)(nodes[0])
            for i in range(1, j):
                node = node + next(edges)(nodes[i])
            nodes.append(node)
        return nodes[-1]


class CellNetwork(nn.Module):
    """Stem, body, head; images `[N, *task.input_shape]` to logits `[N, num_classes]`."""

    def __init__(self, task: Task, stem_width: int, body: Sequence[nn.Module], out_width: int, stem_stride: int = 1):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(task.input_shape[0], stem_width, 3, stem_stride, padding=1, bias=False),
            nn.BatchNorm2d(stem_width),
        )
        self.body = nn.Sequential(*body)
        self.head = nn.Sequential(
            nn.BatchNorm2d(out_width), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
            nn.Linear(out_width, task.num_classes),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(self.stem(x)))


def three_stages(operations: Sequence[str], task: Task, channels: int, cells: int, stem_stride: int = 1) -> CellNetwork:
    """NAS-Bench-201's skeleton (its figure 1): widths `channels`, twice and four times that, `cells` cells a stage."""
    body: list[nn.Module] = []
    for stage in range(3):
        width = channels << stage
        if stage:
            body.append(ResidualBlock(width // 2, width))
        body.extend(Cell(operations, width, width) for _ in range(cells))
    return CellNetwork(task, channels, body, channels << 2, stem_stride)


def three_stages_cost(
    archs: Tensor, operations: Sequence[str], task: Task, channels: int, cells: int, stem_stride: int = 1
) -> tuple[Tensor, Tensor]:
    """Parameters and FLOPs of `three_stages` networks, int64 `[...]` each, for `archs` `[..., 6]`.

    FLOPs follow NAS-Bench-201: the multiply-accumulates of convolutions and of the classifier for one image; batch norm,
    pooling, additions and biases count nothing.
    """
    image_channels, height, width = task.input_shape
    height, width = -(-height // stem_stride), -(-width // stem_stride)
    params = 9 * image_channels * channels + 2 * channels
    flops = 9 * image_channels * channels * height * width
    counts = [torch.as_tensor(archs == operations.index(f"nor_conv_{k}x{k}")).sum(-1) for k in (1, 3)]
    params_cells, flops_cells = 0, 0
    for stage in range(3):
        c = channels << stage
        if stage:
            height, width = -(-height // 2), -(-width // 2)
            weights = 9 * c * (c // 2) + 9 * c * c + c * (c // 2)
            params, flops = params + weights + 4 * c, flops + weights * height * width
        for count, k in zip(counts, (1, 3)):
            params_cells = params_cells + cells * count * (k * k * c * c + 2 * c)
            flops_cells = flops_cells + cells * count * k * k * c * c * height * width
    out = channels << 2
    params += 2 * out + out * task.num_classes + task.num_classes
    flops += out * task.num_classes
    return params + torch.as_tensor(params_cells), flops + torch.as_tensor(flops_cells)


def reference_arch(operations: Sequence[str]) -> Tensor:
    """The ResNet-like cell `[6]`."""
    return torch.tensor([operations.index(name) for name in _RESNET])


def additive_cost(space: Space, archs: Tensor, task: Task) -> tuple[Tensor, Tensor]:
    """Parameters and FLOPs, int64 `[...]` each, of `archs` `[..., D]` whose decisions each add their own share.

    So it is wherever no operation changes the size of what another one sees. Shares are differences to the first
    architecture, counted on networks without memory (device `meta`).
    """
    table_DC2 = _shares(space, task)
    base_2 = torch.tensor(_counts(space, torch.zeros(len(space.choices), dtype=torch.long), task))
    total = base_2 + table_DC2[torch.arange(len(space.choices)), archs].sum(-2)
    return total[..., 0], total[..., 1]


@lru_cache
def _shares(space: Space, task: Task) -> Tensor:
    """What each option adds to the first of its decision, int64 `[D, C, 2]`."""
    first = torch.zeros(len(space.choices), dtype=torch.long)
    base_2 = torch.tensor(_counts(space, first, task))
    table_DC2 = torch.zeros(len(space.choices), max(space.choices), 2, dtype=torch.long)
    for d, options in enumerate(space.choices):
        for c in range(1, options):
            arch = first.clone()
            arch[d] = c
            table_DC2[d, c] = torch.tensor(_counts(space, arch, task)) - base_2
    return table_DC2


def _counts(space: Space, arch: Tensor, task: Task) -> tuple[int, int]:
    """Parameters and FLOPs of one network: weights times places of convolutions and of the classifier, no biases."""
    flops = 0

    def count(layer: nn.Module, _inputs: object, output: Tensor) -> None:
        nonlocal flops
        if isinstance(layer, nn.Conv2d | nn.Linear):
            flops += layer.weight.numel() * (output[0, 0].numel() if output.dim() == 4 else 1)

    with torch.device("meta"):
        network = space.build(arch, task).eval()
        for layer in network.modules():
            layer.register_forward_hook(count)
        network(torch.zeros(1, *task.input_shape))
    return sum(p.numel() for p in network.parameters()), flops


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


def unique_string(arch: Sequence[int], operations: Sequence[str]) -> str:
    """What the cell computes, written so that equivalent cells are equal: nats_bench's `get_unique_str`."""
    return node_strings(arch, operations)[-1]


def node_strings(arch: Sequence[int], operations: Sequence[str], *, strided: bool = False) -> list[str]:
    """What each node computes: `#` is zero, `(x)@op` an operation on `x`, `+` the sum of sorted terms.

    In a `strided` cell a skip from the input changes the shape, and so is an operation like the others.
    """
    nodes = ["0"]
    edge = iter(arch)
    for j in range(1, NODES):
        terms = []
        for i in range(j):
            name = operations[next(edge)]
            if name == "none" or nodes[i] == "#":
                terms.append("#")
            else:
                skips = name == "skip_connect" and not (strided and i == 0)
                terms.append(nodes[i] if skips else f"({nodes[i]})@{name}")
        nodes.append("+".join(sorted(terms)))
    return nodes


def function_string(arch: Sequence[int], operations: Sequence[str]) -> str:
    """As `unique_string`, and sums of zeros are zero and sums of sums one sum: 4,930 classes where that sees 6,466."""
    nodes: list[tuple[str, ...]] = [("0",)]
    edge = iter(arch)
    for j in range(1, NODES):
        terms: list[str] = []
        for i in range(j):
            name = operations[next(edge)]
            if name == "none" or not nodes[i]:
                continue
            terms.extend(nodes[i] if name == "skip_connect" else [f"({'+'.join(nodes[i])})@{name}"])
        nodes.append(tuple(sorted(terms)))
    return "+".join(nodes[-1])


@lru_cache
def equivalent_archs(operations: tuple[str, ...], *, deep: bool = False, strided: bool = False) -> Tensor:
    """For each cell by index, the index of the cheapest cell that computes the same, int64 `[len(operations)^6]`.

    Same is decided by `unique_string`, or by `function_string` if `deep`, or by `node_strings` of a cell that keeps the size
    in some places and is `strided` in others. Cheapest is fewest weights of convolutions, then lowest index.
    """
    name = function_string if deep else unique_string
    if strided:
        name = lambda arch, operations: node_strings(arch, operations, strided=True)[-1]  # noqa: E731
    cost = [{"nor_conv_1x1": 1, "nor_conv_3x3": 9}.get(o, 0) for o in operations]
    archs = list(itertools.product(range(len(operations)), repeat=len(EDGES)))
    names = [name(arch, operations) for arch in archs]
    cheapest: dict[str, tuple[int, int]] = {}
    for index, (arch, key) in enumerate(zip(archs, names)):
        candidate = (sum(cost[c] for c in arch), index)
        cheapest[key] = min(cheapest.get(key, candidate), candidate)
    return torch.tensor([cheapest[key][1] for key in names])


def canonical(archs: Tensor, operations: tuple[str, ...], *, deep: bool = False, strided: bool = False) -> Tensor:
    """The cheapest equivalent of each of `archs` `[..., 6]`; arguments as in `equivalent_archs`."""
    choices = (len(operations),) * len(EDGES)
    found = equivalent_archs(operations, deep=deep, strided=strided).to(archs.device)[_ops.index(archs, choices)]
    return _ops.from_index(found, choices).to(archs.dtype)
