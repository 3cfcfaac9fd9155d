"""A supernet of cells: one set of weights for all operations on all edges, trained and scored along mixtures and single paths.

Compiled code does the work where there is a compiler, PyTorch elsewhere (`nas.training.supernet_autograd`). Batch norm takes the
batch's own statistics, in training and in scoring: running ones would mix those of all paths (Guo et al. 2020, arXiv:1904.00420,
section 3.4, recalibrate them for the same reason).
Shapes: `P` parameters, `T` batches, `N` images, `K` classes, `D` decisions, `C` choices.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from threading import local
from typing import Protocol

import torch
from torch import Tensor

from nas.training import compiler
from nas.training.compiled import CNetwork, pointer, to_lanes
from nas.training.supernet_autograd import AutogradSupernet
from nas.training.supernet_program import Mixed, Scored, SupernetPrograms, Weights
from search_spaces import Skeleton, Task, _noise

_SOURCE = Path(__file__).with_name("supernet_kernels.c")
_INIT = 253
"""Stream of random numbers of the first weights."""


class Supernet(Protocol):
    """What trains and scores shared weights; of one search at a time, so that no other search can change a bit."""

    @property
    def programs(self) -> SupernetPrograms: ...

    def learn(
        self,
        weights: Weights,
        mixture: Tensor,
        images: Tensor,
        labels: Tensor,
        rates: list[float],
        momentum: float,
        decay: float,
    ) -> tuple[Weights, Tensor]:
        """New weights after a step of SGD for each batch, and the losses before each, float64 `[T]`.

        Parameters that the mixture `[D, C]` does not use rest, and so does their momentum.

        Args:
            images: `[T, N, C, H, W]`, normalised.
            labels: int64 `[T, N]`.
            decay: of weights.
        """
        ...

    def score(self, weights: Weights, mixture: Tensor, images: Tensor, labels: Tensor, *, slope: bool) -> Scored:
        """The logits of batches, which need not be for learning."""
        ...

    def gradients(self, params: Tensor, mixture: Tensor, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Of one batch's loss: by the weights, `[P]`, 0 where the mixture uses them not; by the mixture, float64 `[D, C]`."""
        ...


def make(
    operations: Sequence[Sequence[str]], task: Task, skeleton: Skeleton, device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32, partial: int = 1,
) -> Supernet:  # fmt: skip
    """The supernet of NAS-Bench-201's network with these options on each edge; of each node 1 / `partial` of the channels mix."""
    programs = SupernetPrograms(tuple(map(tuple, operations)), task, skeleton, partial)
    code = library(dtype) if torch.device(device).type == "cpu" else None
    if code is None:
        return AutogradSupernet(programs, torch.device(device))
    return CompiledSupernet(programs, code, dtype)


def engine(device: torch.device | str) -> str:
    """What trains supernets on a device, in words: where it is the same, they are bitwise the same."""
    if torch.device(device).type == "cpu" and library() is not None:
        return f"compiled code {compiler.build(torch.float32, _SOURCE).digest} (supernet, float32, torch {torch.__version__})"
    return f"PyTorch {torch.__version__} (supernet, float32, {torch.device(device).type})"


def initial(
    operations: Sequence[Sequence[str]], task: Task, skeleton: Skeleton, seeds: Tensor, partial: int = 1
) -> Tensor:
    """The first weights of searches, float32 `[S, P]`: PyTorch's defaults, uniform in +-1/sqrt(fan-in), scales of norms 1."""
    program = SupernetPrograms(tuple(map(tuple, operations)), task, skeleton, partial).whole.program
    params = torch.zeros(len(seeds), program.parameters)
    for number, (name, place) in enumerate(sorted(program.weights.items())):
        start, shape = place
        size = math.prod(shape)
        if len(shape) == 1 and name != "head.4.bias":
            params[:, start : start + size] = float(name.endswith("weight"))
            continue
        fan_in = program.weights["head.4.weight"].shape[1] if name.startswith("head") else math.prod(shape[:3])
        noise = _noise.uniform(seeds, number, size, stream=_INIT)
        params[:, start : start + size] = (2 * noise - 1) * fan_in**-0.5
    return params


@lru_cache
def library(dtype: torch.dtype = torch.float32) -> ctypes.CDLL | None:
    """The compiled code; None where there is no compiler."""
    loaded = compiler.library(dtype, _SOURCE)
    if loaded is not None:
        loaded.mixed_learn.restype = loaded.mixed_score.restype = None
    return loaded


class CompiledSupernet:
    """One core's work: `supernet_kernels.c`."""

    def __init__(self, programs: SupernetPrograms, code: ctypes.CDLL, dtype: torch.dtype):
        self.programs, self.code, self.dtype, self._thread = programs, code, dtype, local()

    def learn(
        self,
        weights: Weights,
        mixture: Tensor,
        images: Tensor,
        labels: Tensor,
        rates: list[float],
        momentum: float,
        decay: float,
    ) -> tuple[Weights, Tensor]:
        return self._learned(weights, mixture, images, labels, rates, momentum, decay)[:2]

    def gradients(self, params: Tensor, mixture: Tensor, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        # The momentum after a first step of SGD is the gradient itself.
        resting = Weights(params, torch.zeros_like(params))
        after, _, slope = self._learned(resting, mixture, images, labels, [0.0], 0.0, 0.0)
        return after.momentum, slope

    def _learned(
        self,
        weights: Weights,
        mixture: Tensor,
        images: Tensor,
        labels: Tensor,
        rates: list[float],
        momentum: float,
        decay: float,
    ) -> tuple[Weights, Tensor, Tensor]:
        """As `learn`, and the sum over batches of the gradients by the mixture, float64 `[D, C]`."""
        mixed, x = self.programs.of(mixture), to_lanes(images.to(self.dtype), self.code)
        after = Weights(weights.params.clone(), weights.momentum.clone())
        losses = torch.zeros(len(x), dtype=torch.float64)
        network, code, spaces = self._described(mixed, labels.shape[1], x, momentum, decay)
        mix, slope = mixture.to(self.dtype).contiguous(), torch.zeros(mixture.shape, dtype=torch.float64)
        rates_T = torch.tensor(rates, dtype=torch.float64)
        counts = ctypes.c_int64(len(mixed.ranges)), ctypes.c_int64(len(x))
        running, work = spaces
        held = (x, labels.contiguous(), rates_T, after.params, after.momentum, running, work, slope, losses)
        tables = (code, mixed.mix, mix, mixed.ranges)
        self.code.mixed_learn(ctypes.byref(network), *map(pointer, tables), *counts, *map(pointer, held))
        return after, losses, slope

    def score(self, weights: Weights, mixture: Tensor, images: Tensor, labels: Tensor, *, slope: bool) -> Scored:
        mixed, x = self.programs.of(mixture), to_lanes(images.to(self.dtype), self.code)
        losses = torch.zeros(len(x), dtype=torch.float64)
        network, code, spaces = self._described(mixed, labels.shape[1], x, 0.0, 0.0)
        mix, total = mixture.to(self.dtype).contiguous(), torch.zeros(mixture.shape, dtype=torch.float64)
        logits = torch.zeros(len(x), network.classes, x.shape[-1], dtype=self.dtype)
        tables, params, labels = (code, mixed.mix, mix), weights.params.contiguous(), labels.contiguous()
        held = [pointer(t) for t in (x, labels, params, *spaces)]
        self.code.mixed_score(
            ctypes.byref(network), *map(pointer, tables), ctypes.c_int64(len(x)), *held,
            pointer(total) if slope else ctypes.c_void_p(None), pointer(losses), pointer(logits),
        )  # fmt: skip
        return Scored(logits[..., : labels.shape[1]].transpose(1, 2), losses, total / len(x) if slope else None)

    def _described(
        self, mixed: Mixed, N: int, x: Tensor, momentum: float, decay: float
    ) -> tuple[CNetwork, Tensor, tuple[Tensor, Tensor]]:
        """The C code's description of a program, its instructions, and this thread's workspaces."""
        program, L = mixed.program, x.shape[-1]
        code, places, size = program.placed(L)
        network = CNetwork(len(code), N, L, program.classes, program.parameters, x[0].numel(), *places, momentum, decay)
        return network, code, (self._space("running", program.running), self._space("work", size))

    def _space(self, name: str, size: int) -> Tensor:
        buffer: Tensor | None = getattr(self._thread, name, None)
        if buffer is None or len(buffer) < size:
            buffer = torch.zeros(size, dtype=self.dtype)
            setattr(self._thread, name, buffer)
        return buffer
