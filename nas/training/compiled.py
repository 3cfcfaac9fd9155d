"""Many networks on a CPU, each trained by compiled code that keeps one network's step in one core's cache (`cell_kernels.c`).

A network is one thread's work from its first step to its last: no other network can change its bits, and every core is used.
The code is compiled on first use and cached; without a compiler, `library` is None and PyTorch does the work.
Shapes: `P` networks, `S` steps, `N` images, `L` lanes (`N` rounded up to whole vectors), `K` classes.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from threading import local

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.training import compiler
from nas.training.network_batch import Steps
from nas.training.program import compiled
from nas.training.recipe import WeightAverage
from nas.training.running_statistics import MOMENTUM
from search_spaces import Task

_BLOCK = 1 << 23
"""Values of prepared images in memory at once, 32 MB in float32: enough steps for one call of the C code; not ablated."""
EVALUATED = 64
"""Images scored at once: as many as a training step has, so that a workspace made for training serves; not ablated."""


class CNetwork(ctypes.Structure):
    """As `Network` of the C code: the same fields, types and order."""

    _fields_ = (
        *[(name, ctypes.c_int64) for name in ("instructions", "images", "lanes", "classes", "parameters", "pixels_in")],
        *[(name, ctypes.c_int64) for name in ("gradients", "packed", "sums", "logits")],
        ("momentum", ctypes.c_double),
        ("weight_decay", ctypes.c_double),
    )


class CompiledNetworks:
    """The three-stage networks of `P` architectures; what `GroupedNetworks` is, for a CPU with a compiler."""

    def __init__(
        self,
        operations: Sequence[Sequence[str]],
        task: Task,
        channels: int,
        cells: int,
        stem_stride: int = 1,
        dtype: torch.dtype = torch.float32,
    ):
        library = compiler.library(dtype)
        if library is None:
            raise RuntimeError("No C compiler; ask `compiler.library` first.")
        self.library, self.dtype, self.classes, self.shape = library, dtype, task.num_classes, task.input_shape
        self.average, self._thread, self._pool = WeightAverage(), local(), None
        self.counted: list[tuple[Tensor, Tensor]] = []
        self.programs = [compiled(names, task, channels, cells, stem_stride) for names in operations]
        self.weights = [torch.zeros(program.parameters, dtype=dtype) for program in self.programs]
        self.momenta = [torch.zeros_like(weights) for weights in self.weights]
        self.running = [torch.zeros(program.running, dtype=dtype) for program in self.programs]
        # Variances and scales of batch norm begin at one, as PyTorch's do; `initialise` sets what has more dimensions.
        for p in range(len(self.programs)):
            for name, value in self.state_of(p).items():
                if name.endswith("running_var") or (value.dim() == 1 and name.endswith(".weight")):
                    value.fill_(1.0)

    def state_of(self, p: int) -> dict[str, Tensor]:
        """Views of network `p`'s weights, by the names that its own network, `_cells.three_stages`, has for them."""
        return self.programs[p].views(self.weights[p], self.running[p])

    def momentum_of(self, p: int) -> dict[str, Tensor]:
        """Views of the optimizer's momentum, by the same names."""
        return self.programs[p].views(self.momenta[p])

    def running_statistics(self, steps: int) -> Iterator[tuple[Tensor, Tensor, float]]:
        share = (1 - MOMENTUM) ** steps
        return ((mean, variance, share) for mean, variance in self._means_and_variances)

    @cached_property
    def _means_and_variances(self) -> list[tuple[Tensor, Tensor]]:
        """Views of those of every batch norm, made once: to make them takes as long as a step of small networks."""
        found = []
        for p, program in enumerate(self.programs):
            state = self.state_of(p)
            means = [name for name in program.statistics if name.endswith("running_mean")]
            found += [(state[name], state[name.replace("_mean", "_var")]) for name in means]
        return found

    def learn(self, steps: Steps, momentum: float, weight_decay: float) -> Tensor:
        """Take SGD steps, as `NetworkBatch` has it; the mean loss of each network, `[P]`."""
        total, count = torch.zeros(len(self.programs), dtype=torch.float64), 0
        for images_SNCHW, targets, rates in _blocks(steps):
            S, N = targets.shape[:2]
            x, rates_S = self.lanes(images_SNCHW), torch.tensor(rates, dtype=torch.float64)
            soft = targets.is_floating_point()
            targets = targets.to(self.dtype if soft else torch.int64).contiguous()
            train = self.library.train_soft if soft else self.library.train
            # float64, as is the total: a mean over many steps in float32 would depend on how steps fall into blocks.
            losses_PS = torch.zeros(len(self.programs), S, dtype=torch.float64)

            # Defaults bind this block's tensors: a closure reads the loop's names when it runs, and they may be the next block's.
            def work(
                p: int, N: int = N, S: int = S, x=x, y=targets, rates=rates_S, losses=losses_PS, train=train
            ) -> None:
                network, code, space = self.c_network(p, N, x, momentum, weight_decay)
                arrays = (x, y, rates, self.weights[p], self.momenta[p], self.running[p], space, losses[p])
                train(ctypes.byref(network), code, ctypes.c_int64(S), *map(pointer, arrays))

            self._each(work)
            total, count = total + losses_PS.sum(1), count + S
        return (total / count).float()

    def logits(self, images: Tensor) -> Tensor:
        """The logits `[P, N, K]` of images `[N, C, H, W]`, in evaluation."""
        N = len(images)
        padded = F.pad(images, (0, 0) * 3 + (0, -N % EVALUATED)).unflatten(0, (-1, EVALUATED))
        x = self.lanes(padded)
        logits_PBKL = torch.zeros(len(self.programs), len(x), self.classes, x.shape[-1], dtype=self.dtype)

        def work(p: int) -> None:
            network, code, space = self.c_network(p, EVALUATED, x, 0.0, 0.0)
            arrays = (x, self.weights[p], self.running[p], space, logits_PBKL[p])
            self.library.predict(ctypes.byref(network), code, ctypes.c_int64(len(x)), *map(pointer, arrays))

        self._each(work)
        return logits_PBKL[..., :EVALUATED].transpose(2, 3).flatten(1, 2)[:, :N]

    def to(self, device: torch.device | str) -> CompiledNetworks:
        """Itself: it lives on the CPU."""
        return self

    def lanes(self, images_SNCHW: Tensor) -> Tensor:
        """Images `[S, N, C, H, W]` as the C code reads them, `[S, H, W, C, L]`, zeros beyond the last one.

        Raises `ValueError` for images of another shape: the C code would read beyond their end.
        """
        if images_SNCHW.shape[2:] != self.shape:
            ours, given = (" x ".join(map(str, shape)) for shape in (self.shape, images_SNCHW.shape[2:]))
            raise ValueError(f"These networks take images of {ours}, not of {given}.")
        return to_lanes(images_SNCHW.to(self.dtype), self.library)

    def c_network(
        self, p: int, N: int, x: Tensor, momentum: float, decay: float
    ) -> tuple[CNetwork, ctypes.c_void_p, Tensor]:
        """The C code's description of network `p`, its instructions, and this thread's workspace."""
        program, L = self.programs[p], x.shape[-1]
        code, places, size = program.placed(L)
        network = CNetwork(len(code), N, L, self.classes, program.parameters, x[0].numel(), *places, momentum, decay)
        return network, ctypes.c_void_p(code.data_ptr()), self._workspace(size)

    def _workspace(self, size: int) -> Tensor:
        """A workspace of at least `size` numbers, of this thread."""
        buffer: Tensor | None = getattr(self._thread, "space", None)
        if buffer is None or len(buffer) < size:
            buffer = self._thread.space = torch.empty(size, dtype=self.dtype)
            # Large pages: a workspace of some hundred megabytes has too many small ones for the processor to keep track of.
            self.library.touch_pages(pointer(buffer), ctypes.c_int64(buffer.nbytes))
        return buffer

    def _each(self, work) -> None:
        P, threads = len(self.programs), torch.get_num_threads()
        if threads == 1 or P == 1:
            for p in range(P):
                work(p)
            return
        if self._pool is None:
            # Threads, not processes: ctypes releases the interpreter's lock while the C code runs.
            self._pool = ThreadPoolExecutor(min(threads, P))
        # Longest job first: otherwise the last network can run alone while the other cores wait.
        heaviest_first = sorted(range(P), key=lambda p: -self.programs[p].work)
        list(self._pool.map(work, heaviest_first))


def to_lanes(images_SNCHW: Tensor, library: ctypes.CDLL) -> Tensor:
    """Images `[S, N, C, H, W]` as compiled code reads them, `[S, H, W, C, L]`, zeros beyond the last one."""
    # An image a lane: the C code's inner loops run over whole vectors whatever the number of channels.
    lanes = library.bytes_of_a_vector() // images_SNCHW.dtype.itemsize
    x = images_SNCHW.permute(0, 3, 4, 2, 1)
    return F.pad(x, (0, -x.shape[-1] % lanes)).contiguous()


def pointer(x: Tensor) -> ctypes.c_void_p:
    """Where the numbers of a contiguous tensor begin; the caller keeps the tensor alive."""
    return ctypes.c_void_p(x.data_ptr())


def _blocks(steps: Steps):
    """Steps with batches of one size, as many together as `_BLOCK` admits: images `[S, N, C, H, W]`, targets, rates."""
    block: list[tuple[Tensor, Tensor, float]] = []
    for step in steps:
        block.append(step)
        if len(block) * step[0].numel() >= _BLOCK:
            yield _stacked(block)
            block = []
    if block:
        yield _stacked(block)


def _stacked(block: list[tuple[Tensor, Tensor, float]]) -> tuple[Tensor, Tensor, list[float]]:
    x, y, rates = zip(*block)
    return torch.stack(x), torch.stack(y), list(rates)
