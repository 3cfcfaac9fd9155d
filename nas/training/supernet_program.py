"""Programs of a supernet for `supernet_kernels.c`: a cell that holds every operation on every edge, and single paths through it.

All programs of a supernet share one layout of parameters: the operation `o` on edge `e` of cell `n` is `body.n.edges.e.o`, and a
path names the places of the operations that it uses. Only what a path uses is computed.
Shapes: `D` decisions (edges), `C` choices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from nas.training.instructions import Step, Value
from nas.training.program import Builder, Program, three_stages
from search_spaces import Skeleton, Task, _cells

PATHS = 2048
"""Programs of single paths that are kept: a search draws some hundred, and each holds some ten kilobytes."""


class Weights(NamedTuple):
    """The shared weights of one search."""

    params: Tensor
    """`[P]`."""
    momentum: Tensor
    """`[P]` of the optimizer."""


class Scored(NamedTuple):
    """What images say of a mixture."""

    logits: Tensor
    """`[T, N, K]`."""
    loss: Tensor
    """float64 `[T]` mean cross entropy of each batch."""
    slope: Tensor | None
    """float64 `[D, C]` the derivative of the mean loss by the mixture's weights; of a single path, by those of its options."""


@dataclass(frozen=True)
class Mixed:
    """A program whose edges mix."""

    program: Program
    mix: Tensor
    """int64, of each instruction its place among the `D x C` weights; -1 where nothing is mixed."""
    ranges: Tensor
    """int64 `[R, 2]` start and length of the parameters that it uses."""


@dataclass(frozen=True)
class SupernetPrograms:
    """The programs of one supernet."""

    operations: tuple[tuple[str, ...], ...]
    """The options' names of each edge, as a space has them."""
    task: Task
    skeleton: Skeleton
    partial: int = 1
    """Of a node's channels one in so many is mixed, the others pass (PC-DARTS, Xu et al. 2020, section 3.2)."""

    @cached_property
    def whole(self) -> Mixed:
        """Every operation on every edge; its program's layout is everybody's."""
        return _mixed(self._program([tuple(range(len(names))) for names in self.operations]))

    def of(self, mixture: Tensor) -> Mixed:
        """That of a mixture `[D, C]`: a path's where each edge has exactly one option, else the whole."""
        alone = ((mixture == 1).sum(-1) == 1) & ((mixture == 0).sum(-1) == mixture.shape[-1] - 1)
        return _path(self, tuple(mixture.argmax(-1).tolist())) if bool(alone.all()) else self.whole

    def _program(self, options: Sequence[Sequence[int]]) -> Program:
        build = Builder(self.task.num_classes)

        def cell(name: str, x: Value) -> Value:
            return _cell(build, name, x, self.operations, options, self.partial)

        return three_stages(build, cell, self.task.input_shape, self.skeleton)

    def relocated(self, arch: tuple[int, ...]) -> Mixed:
        """The program of a path, with its parameters where the supernet has them."""
        own, shared = self._program([(option,) for option in arch]), self.whole.program
        names = {place.start: name for name, place in own.weights.items()}
        figures = {place.start: name for name, place in own.statistics.items()}
        steps = [_moved(step, names, figures, shared) for step in own.instructions]
        program = Program(
            own.classes,
            steps,
            shared.weights,
            shared.statistics,
            shared.parameters,
            shared.running,
            own.stats,
            own.values,
        )
        return _mixed(program)


@lru_cache(PATHS)
def _path(programs: SupernetPrograms, arch: tuple[int, ...]) -> Mixed:
    return programs.relocated(arch)


def _moved(step: Step, names: dict[int, str], figures: dict[int, str], shared: Program) -> Step:
    if step.op == "conv":
        return step._replace(weight=shared.weights[names[step.weight]].start)
    if step.op in ("norm", "head"):
        running = shared.statistics[figures[step.running]].start
        return step._replace(weight=shared.weights[names[step.weight]].start, running=running)
    return step


def _mixed(program: Program) -> Mixed:
    steps = program.instructions
    ranges = [(step.weight, _length(step, program.classes)) for step in steps if step.op in ("conv", "norm", "head")]
    return Mixed(program, torch.tensor([step.mix for step in steps]), torch.tensor(ranges))


def _length(step: Step, classes: int) -> int:
    """Parameters of an instruction, which lie side by side."""
    if step.op == "conv":
        return step.kernel**2 * step.inputs * step.outputs
    return 2 * step.inputs + (classes * (step.inputs + 1) if step.op == "head" else 0)


def _cell(
    build: Builder, prefix: str, x: Value, operations: Sequence[Sequence[str]], options: Sequence[Sequence[int]],
    partial: int,
) -> Value:  # fmt: skip
    """As `Builder.cell`, with several operations on an edge; what each adds to a node is mixed."""
    choices = max(map(len, operations))
    nodes = [x, *_zeros(build, x)]
    # What is mixed of each node: all of it, or a part that is written apart.
    mixed = [x, *_zeros(build, x._replace(channels=x.channels // partial))] if partial > 1 else nodes
    for i in range(_cells.NODES - 1):
        edges = [(e, j) for e, (start, j) in enumerate(_cells.EDGES) if start == i]
        part = nodes[i]
        if partial > 1:
            if i:
                build.step("spread", mixed[i], nodes[i], stride=partial)
            for e, j in edges:
                build.step("pass", nodes[i], nodes[j], stride=partial, weight=len(operations[e]), mix=e * choices)
            part = build.value(x.channels // partial, x.height, x.width)
            build.step("part", nodes[i], part, stride=partial)
        leaving = [(e, j, c, operations[e][c]) for e, j in edges for c in options[e]]
        raw = [edge for edge in leaving if edge[-1] in ("skip_connect", "avg_pool_3x3")]
        pooled = part
        if any(name == "avg_pool_3x3" for *_, name in raw):
            # Once for all edges that leave the node; it begins as zero, as nodes do, for the pooling of a node that is zero.
            pooled = _zero(build, part)
            build.step("pool", part, pooled)
        for e, j, c, name in raw:
            build.step("add", part if name == "skip_connect" else pooled, mixed[j], mix=e * choices + c)
        convs = [edge for edge in leaving if edge[-1].startswith("nor_conv")]
        positive = build.relu(part) if convs else part
        for e, j, c, name in convs:
            where = f"{prefix}.edges.{e}.{name}"
            build.conv_norm(f"{where}.1", f"{where}.2", positive, mixed[j], int(name[-1]))
            build.program.instructions[-1] = build.program.instructions[-1]._replace(mix=e * choices + c)
    if partial > 1:
        build.step("spread", mixed[-1], nodes[-1], stride=partial)
    return nodes[-1]


def _zeros(build: Builder, like: Value) -> list[Value]:
    """The nodes behind the first, as zeros."""
    values = [build.value(*like[1:]) for _ in range(1, _cells.NODES)]
    for value in values:
        _cleared(build, value)
    return values


def _zero(build: Builder, like: Value) -> Value:
    value = build.value(*like[1:])
    _cleared(build, value)
    return value


def _cleared(build: Builder, value: Value) -> None:
    build.program.instructions.append(
        Step("zero", None, value, value.height, value.width, value.channels, value.channels)
    )
