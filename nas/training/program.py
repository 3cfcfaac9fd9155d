"""A three-stage network as a list of instructions for `cell_kernels.c`. Only what reaches the logits is computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from nas.training.instructions import Layout, Step, Value, live, place
from search_spaces import Skeleton, Task, _cells


class Place(NamedTuple):
    """Where a named weight lies: from `start`, of `shape` in memory; a convolution's is [ky, kx, in, out]."""

    start: int
    shape: tuple[int, ...]


@dataclass
class Program:
    """What is computed for one architecture."""

    classes: int
    instructions: list[Step] = field(default_factory=list)
    weights: dict[str, Place] = field(default_factory=dict)
    statistics: dict[str, Place] = field(default_factory=dict)
    parameters: int = 0
    running: int = 0
    stats: int = 0
    values: int = 0

    def views(self, weights: Tensor, running: Tensor | None = None) -> dict[str, Tensor]:
        """A flat `weights` by the names of PyTorch's module, convolutions as `[out, in, ky, kx]`."""
        out = {}
        for name, (start, shape) in self.weights.items():
            value = weights[start : start + torch.Size(shape).numel()].view(shape)
            out[name] = value.permute(3, 2, 0, 1) if len(shape) == 4 else value
        if running is not None:
            for name, (start, shape) in self.statistics.items():
                out[name] = running[start : start + shape[0]]
                out[name.rsplit(".", 1)[0] + ".num_batches_tracked"] = torch.tensor(0)
        return out

    @property
    def work(self) -> int:
        """Multiply-accumulates of a forward pass of one image."""
        return sum(
            s.kernel**2 * s.inputs * s.outputs * (s.height // s.stride) * (s.width // s.stride)
            for s in self.instructions
            if s.op == "conv"
        )

    def placed(self, lanes: int) -> Layout:
        """The instructions as the C code reads them, and where in its workspace everything lies."""
        # Training and evaluation have different lanes, and each asks again for every network and block.
        if lanes not in self._placed:
            self._placed[lanes] = place(
                self.instructions, lanes, stats=self.stats, parameters=self.parameters, classes=self.classes
            )
        return self._placed[lanes]

    _placed: dict[int, Layout] = field(default_factory=dict, repr=False)


class Builder:
    """Writes a program from the images to the logits."""

    def __init__(self, classes: int):
        self.program = Program(classes)

    def value(self, channels: int, height: int, width: int) -> Value:
        self.program.values += 1
        return Value(self.program.values - 1, channels, height, width)

    def weight(self, name: str, *shape: int) -> int:
        start = self.program.parameters
        self.program.weights[name] = Place(start, shape)
        self.program.parameters += torch.Size(shape).numel()
        return start

    def norm_weights(self, name: str, channels: int) -> tuple[int, int]:
        """Where weight and bias begin, and where the running mean and variance."""
        start = self.weight(f"{name}.weight", channels)
        self.weight(f"{name}.bias", channels)
        for what in ("mean", "var"):
            self.program.statistics[f"{name}.running_{what}"] = Place(self.program.running, (channels,))
            self.program.running += channels
        return start, self.program.running - 2 * channels

    def step(self, op: str, source: Value, out: Value, **more: int) -> None:
        self.program.instructions.append(
            Step(op, source, out, source.height, source.width, source.channels, out.channels, **more)
        )

    def relu(self, x: Value) -> Value:
        out = self.value(*x[1:])
        self.step("relu", x, out)
        return out

    def conv(self, name: str, x: Value, out: Value, kernel: int, stride: int = 1, stats: int = -1) -> None:
        at = self.weight(f"{name}.weight", kernel, kernel, x.channels, out.channels)
        self.step("conv", x, out, kernel=kernel, stride=stride, weight=at, stats=stats)

    def conv_norm(self, conv: str, norm: str, x: Value, out: Value, kernel: int, stride: int = 1) -> None:
        """A convolution and its batch norm, added to `out`."""
        stats = self.program.stats
        self.program.stats += 2 * out.channels
        convolved = self.value(*out[1:])
        self.conv(conv, x, convolved, kernel, stride, stats)
        weight, running = self.norm_weights(norm, out.channels)
        self.step("norm", convolved, out, weight=weight, running=running, stats=stats)

    def cell(self, prefix: str, x: Value, names: Sequence[str]) -> Value:
        """`_cells.Cell`: of each node first what needs no ReLU, then its ReLU and the convolutions on it."""
        nodes = [x, *[self.value(*x[1:]) for _ in range(1, _cells.NODES)]]
        # Every node begins as zero; `_living` drops the zeros that something overwrites.
        for node in nodes[1:]:
            self.program.instructions.append(Step("zero", None, node, x.height, x.width, x.channels, x.channels))
        for i in range(_cells.NODES - 1):
            leaving = [(e, j, names[e]) for e, (start, j) in enumerate(_cells.EDGES) if start == i]
            for _, j, name in leaving:
                if name in ("skip_connect", "avg_pool_3x3"):
                    self.step("add" if name == "skip_connect" else "pool", nodes[i], nodes[j])
            convs = [(e, j, name) for e, j, name in leaving if name.startswith("nor_conv")]
            # One ReLU for all convolutions on a node, after what needs none: backward masks the convolutions' gradients alone.
            positive = self.relu(nodes[i]) if convs else nodes[i]
            for e, j, name in convs:
                where = f"{prefix}.edges.{e}"
                self.conv_norm(f"{where}.1", f"{where}.2", positive, nodes[j], int(name[-1]))
        return nodes[-1]

    def residual(self, prefix: str, x: Value) -> Value:
        """`_cells.ResidualBlock`."""
        smaller = (2 * x.channels, -(-x.height // 2), -(-x.width // 2))
        pooled, middle, out = self.value(x.channels, *smaller[1:]), self.value(*smaller), self.value(*smaller)
        self.step("halve", x, pooled)
        self.conv_norm(f"{prefix}.conv_a.1", f"{prefix}.conv_a.2", self.relu(x), middle, 3, 2)
        self.conv_norm(f"{prefix}.conv_b.1", f"{prefix}.conv_b.2", self.relu(middle), out, 3)
        self.conv(f"{prefix}.downsample.1", pooled, out, 1)
        return out

    def head(self, x: Value) -> None:
        weight, running = self.norm_weights("head.0", x.channels)
        self.weight("head.4.weight", self.program.classes, x.channels)
        self.weight("head.4.bias", self.program.classes)
        stats = self.program.stats
        self.program.stats += 2 * x.channels
        self.step("head", x, self.value(1, 1, 1), weight=weight, running=running, stats=stats)


def compiled(operations: Sequence[str], task: Task, channels: int, cells: int, stem_stride: int = 1) -> Program:
    """The program of `_cells.three_stages`."""
    return _compiled(tuple(operations), task.input_shape, task.num_classes, channels, cells, stem_stride)


# A search asks for the same programs again at every fidelity; 256 is more than one batch of networks.
@lru_cache(256)
def _compiled(
    operations: tuple[str, ...], shape: tuple[int, int, int], classes: int, channels: int, cells: int, stride: int
) -> Program:
    build = Builder(classes)
    return three_stages(
        build, lambda name, x: build.cell(name, x, operations), shape, Skeleton(channels, cells, stride)
    )


def three_stages(
    build: Builder, cell: Callable[[str, Value], Value], shape: tuple[int, int, int], skeleton: Skeleton
) -> Program:
    """The program of `_cells.three_stages` for images of `shape`, with cells as `cell` writes them by name and input."""
    channels, cells, stride = skeleton
    in_channels, height, width = shape
    images = build.value(in_channels, height, width)
    x = build.value(channels, -(-height // stride), -(-width // stride))
    build.conv_norm("stem.0", "stem.1", images, x, 3, stride)
    number = 0
    for stage in range(3):
        if stage:
            x = build.residual(f"body.{number}", x)
            number += 1
        for _ in range(_cells.cells_of(stage, cells)):
            x = cell(f"body.{number}", x)
            number += 1
    build.head(x)
    program = build.program
    program.instructions = live(program.instructions, images)
    return program
