"""The instructions of `cell_kernels.c`, and where in its workspace each of them reads and writes.

Shapes: `L` lanes; a value of `c` channels and `h` x `w` pixels takes `c h w L` numbers.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

# In the order of the C code's enums: an instruction is its index. The last three are the supernet's alone.
_CODES = ("conv", "norm", "relu", "add", "pool", "halve", "zero", "head", "part", "spread", "pass")
_VECTOR = 16
"""Numbers of the widest vector (AVX-512, float32): everything begins at a multiple of it, as aligned loads want."""


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
    mix: int = -1
    """Of a supernet: the place among the weights of a mixture of what the instruction adds to a node; -1: nothing is mixed."""


class Layout(NamedTuple):
    """Where everything lies."""

    code: Tensor
    """int64, a row for each instruction as the C code reads it."""
    offsets: tuple[int, int, int, int]
    """Of the gradients, the packed weights, the sums and the logits."""
    size: int
    """Numbers of the whole workspace."""


def live(steps: list[Step], images: Value) -> list[Step]:
    """The instructions that reach the logits. A node to which nothing is added is zero; a convolution of it still has a bias."""
    zero: set[Value] = set()
    written: list[Step] = []
    for step in steps:
        # A node that only zeros were added to stays zero, so that its skips and poolings can be left out.
        if step.op == "zero":
            zero.add(step.out)
        elif step.op in ("add", "pool", "spread") and step.source in zero:
            continue
        else:
            zero.discard(step.out)
        written.append(step)
    needed: set[Value] = set()
    reaching: list[Step] = []
    # Backwards: what no later instruction reads cannot reach the logits.
    for step in reversed(written):
        if step.op == "head" or (step.out in needed and (step.op != "zero" or step.out in zero)):
            reaching.append(step)
            needed |= {step.source} if step.source else set()
    return [s._replace(source=None) if s.source == images else s for s in reversed(reaching)]


def place(steps: list[Step], L: int, *, stats: int, parameters: int, classes: int) -> Layout:
    """The memory of a program: every value has its own place; a gradient's place is used again once nothing reads it."""
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
    # Statistics of a batch lie in the workspace and not with the weights: the backward pass of the same step reads them.
    shift = take(stats)
    gradient_at, adds = _gradients(steps, L, take)
    channels = max(max(s.inputs, s.outputs) for s in steps)
    gradients = take(parameters)
    packed = take(max(s.kernel**2 * s.inputs * s.outputs for s in steps))
    # A shift for each channel, then two vectors of partial sums: of values less the shift, and of their squares.
    sums = take(channels + _VECTOR + 2 * channels * _VECTOR)
    logits = take((classes + channels) * L)
    rows, written = [], set()
    for number, s in enumerate(steps):
        source, out = (-1 if s.source is None else at[s.source.number]), at[s.out.number]
        shape = (s.inputs, s.outputs, s.height, s.width, s.kernel, s.stride, s.weight)
        # The first instruction that writes a value overwrites it; later ones add. So no value is cleared beforehand.
        flags = (int(s.out.number in written), adds[number], -1 if s.stats < 0 else shift + s.stats, s.running)
        rows.append((_CODES.index(s.op), source, out, *shape, *gradient_at[number], *flags))
        written.add(s.out.number)
    return Layout(torch.tensor(rows), (gradients, packed, sums, logits), end)


def _gradients(steps: list[Step], L: int, take) -> tuple[list[tuple[int, int]], list[int]]:
    """Where each instruction writes and reads gradients, and whether it adds to what lies there; places are used again."""
    # A ReLU works in place on the gradient of its source, so that both have one.
    alias = {s.out.number: s.source.number for s in steps if s.op == "relu" and s.source is not None}
    at: dict[int, int] = {}
    free: dict[int, list[int]] = {}
    places, adds = [(-1, -1)] * len(steps), [0] * len(steps)
    first_writer = {}
    for number, s in enumerate(steps):
        first_writer.setdefault(alias.get(s.out.number, s.out.number), number)
    # As the backward pass runs, from the end. A place is free once the first writer of its value has been passed.
    for number in reversed(range(len(steps))):
        s = steps[number]
        of = at.get(alias.get(s.out.number, s.out.number), -1)
        into = -1
        if s.source is not None:
            key = alias.get(s.source.number, s.source.number)
            adds[number] = int(key in at)
            if key not in at:
                size = s.source.size * L
                # Places of the same size only: it keeps the search trivial, and cells of a stage are alike.
                at[key] = free[size].pop() if free.get(size) else take(size)
            into = at[key]
        places[number] = (into, of)
        mine = alias.get(s.out.number, s.out.number)
        if first_writer[mine] == number and mine in at and s.op != "relu":
            free.setdefault(s.out.size * L, []).append(at[mine])
    return places, adds
