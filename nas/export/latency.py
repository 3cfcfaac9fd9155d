"""How long an exported network takes on this machine: ONNX Runtime, one thread.

Shapes: `N` images, `B` batch sizes.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nas.export import formats
from nas.export.read_back import has_onnx
from nas.text import counted

_ROUNDS = 7
"""The least of seven: a round that another process disturbed is only ever slower. Not ablated."""
_SECONDS = 0.01
"""Of a round: another process disturbs it as a whole or not at all. Not ablated."""


_CALLS, _LONGEST = 400, 1.0
"""Calls of which `median_milliseconds` is the median, and the seconds after which it has enough, with 20 calls at least. For
six networks of 0.07 to 0.24 ms, medians of 400 calls differed by 2% at most between processes while eight others shared two
cores; the least of rounds of 10 ms, by up to 60%."""
_FEWEST = 20
# ONNX Runtime with one thread computes in the thread that calls it. That one's processor time leaves out what other processes
# take, which wall clock of calls beyond a few milliseconds does not. Where it ticks coarsely (Windows), wall clock has to do.
_clock = time.thread_time if time.get_clock_info("thread_time").resolution < 1e-5 else time.perf_counter


def milliseconds(network: nn.Module, pixels: Tensor, batches: Sequence[int]) -> Tensor:
    """Milliseconds of a batch of each size, float32 `[B]`: the least of the rounds' means. It takes a quiet machine.

    Args:
        network: in evaluation.
        pixels: `[N, C, H, W]`, as many as the largest batch has.
    """
    session = _session(network, pixels)
    inputs = [pixels[:size].numpy() for size in batches]
    return torch.tensor([_least(lambda x=x: session.run(["logits"], {"pixels": x})) for x in inputs])


def median_milliseconds(network: nn.Module, pixels: Tensor) -> float:
    """Milliseconds of one image on one core, the median of many calls; other processes hardly disturb it.

    Args:
        network: in evaluation.
        pixels: `[N, C, H, W]`, two or more, of which the first is used.
    """
    session, image = _session(network, pixels), {"pixels": pixels[:1].numpy()}
    times, began = [], time.perf_counter()
    while len(times) < _CALLS and (len(times) < _FEWEST or time.perf_counter() - began < _LONGEST):
        started = _clock()
        session.run(["logits"], image)
        times.append(_clock() - started)
    return 1000 * statistics.median(times)


def _session(network: nn.Module, pixels: Tensor) -> Any:
    onnxruntime = formats.onnx_runtime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        formats.save_onnx_from_module(network, pixels[:2], path)
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def of_networks(networks: Sequence[nn.Module], shape: tuple[int, ...]) -> tuple[list[float], str]:
    """Milliseconds of one image of `shape` `[C, H, W]` by each network, and by what: all by ONNX Runtime, or all by PyTorch.

    PyTorch runs them where ONNX Runtime is not installed, or where one of them cannot be written as ONNX.
    """
    pixels = torch.zeros(2, *shape)
    if has_onnx():
        try:
            times = [median_milliseconds(network, pixels) for network in networks]
            return times, f"ONNX Runtime {formats.onnx_runtime().__version__}, one thread"
        except Exception:  # Networks of users' spaces: exporters and runtimes raise what they like.
            pass
    with torch.inference_mode():
        times = [_least(lambda network=network: network(pixels[:1])) for network in networks]
    return times, f"PyTorch {torch.__version__}, {counted(torch.get_num_threads(), 'thread')}"


def _least(run: Callable[[], object]) -> float:
    """Milliseconds of a call."""
    # The first call allocates.
    run()
    started = time.perf_counter()
    run()
    repeats = max(1, round(_SECONDS / (time.perf_counter() - started)))
    rounds = []
    for _ in range(_ROUNDS):
        started = time.perf_counter()
        for _ in range(repeats):
            run()
        rounds.append((time.perf_counter() - started) / repeats)
    return 1000 * min(rounds)
