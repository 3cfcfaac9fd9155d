"""The instructions of `cell_kernels.c`, and where in its workspace each of them reads and writes.

Shapes: `L` lanes; a value of `c` channels and `h` x `w` pixels takes `c h w L` numbers.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

_CODES = ("conv", "norm", "relu", "add", "pool", "halve", "zero", "head")
_VECTOR = 16
"""Numbers of the widest vector: everything begins at a multiple of it."""


class Value(NamedTuple):
    """What an instruction reads or writes."""

    number: int
    channels: int
    height: int
    width: int

    @property
    def size(self) -> int:
        return self.channels * self.height * self.width


class Step(NamedTuple):
    """One instruction; forward writes `out`, backward the gradient of `source`, from which `out` was made."""

    op: str
    source: Value | None
    """None: the images."""
    out: Value
    height: int
    width: int
    inputs: int
    outputs: int
    kernel: int = 1
    stride: int = 1
    weight: int = 0
    stats: int = -1
    running: int = 0


class Layout(NamedTuple):
    """Where everything lies."""

    code: Tensor
    """int64, a row for each instruction as the C code reads it."""
    offsets: tuple[int, int, int, int]
    """Of the gradients, the packed weights, the sums and the logits."""
    size: int
    """Numbers of the whole workspace."""


def place(steps: list[Step], L: int, *, stats: int, parameters: int, classes: int) -> Layout:
    """The memory of a program: every value has its place, gradients share theirs where none is needed any more."""
    end = 0
    at: dict[int, int] = {}

    def take(size: int) -> int:
        nonlocal end
        start, end = end, end + -(-size // _VECTOR) * _VECTOR
        return start

    for step in steps:
        for value in (step.source, step.out):
            if value is not None and value.number not in at:
                at[value.number] = take(value.size * L)
    shift = take(stats)
    gradient_at, adds = _gradients(steps, L, take)
    channels = max(max(s.inputs, s.outputs) for s in steps)
    gradients = take(parameters)
    packed = take(max(s.kernel**2 * s.inputs * s.outputs for s in steps))
    sums = take(channels + _VECTOR + 2 * channels * _VECTOR)
    logits = take((classes + channels) * L)
    rows, written = [], set()
    for number, s in enumerate(steps):
        source, out = (-1 if s.source is None else at[s.source.number]), at[s.out.number]
        shape = (s.inputs, s.outputs, s.height, s.width, s.kernel, s.stride, s.weight)
        flags = (int(s.out.number in written), adds[number], -1 if s.stats < 0 else shift + s.stats, s.running)
        rows.append((_CODES.index(s.op), source, out, *shape, *gradient_at[number], *flags))
        written.add(s.out.number)
    return Layout(torch.tensor(rows), (gradients, packed, sums, logits), end)


def _gradients(steps: list[Step], L: int, take) -> tuple[list[tuple[int, int]], list[int]]:
    """Where each instruction writes and reads gradients, and whether it adds to what lies there; places are used again."""
    alias = {s.out.number: s.source.number for s in steps if s.op == "relu" and s.source is not None}
    at: dict[int, int] = {}
    free: dict[int, list[int]] = {}
    places, adds = [(-1, -1)] * len(steps), [0] * len(steps)
    first_writer = {}
    for number, s in enumerate(steps):
        first_writer.setdefault(alias.get(s.out.number, s.out.number), number)
    for number in reversed(range(len(steps))):
        s = steps[number]
        of = at.get(alias.get(s.out.number, s.out.number), -1)
        into = -1
        if s.source is not None:
            key = alias.get(s.source.number, s.source.number)
            adds[number] = int(key in at)
            if key not in at:
                size = s.source.size * L
                at[key] = free[size].pop() if free.get(size) else take(size)
            into = at[key]
        places[number] = (into, of)
        mine = alias.get(s.out.number, s.out.number)
        if first_writer[mine] == number and mine in at and s.op != "relu":
            free.setdefault(s.out.size * L, []).append(at[mine])
    return places, adds
