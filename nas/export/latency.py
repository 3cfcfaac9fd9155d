"""How long an exported network takes on this machine: ONNX Runtime, one thread.

To be run on a quiet machine, by one process. Shapes: `N` images, `B` batch sizes.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from nas.export import formats
from nas.export.read_back import has_onnx
from nas.text import counted

_ROUNDS = 7
"""The least of seven: a round that another process disturbed is only ever slower. Not ablated."""
_SECONDS = 0.01
"""Of a round: another process disturbs it as a whole or not at all. Not ablated."""


def milliseconds(network: nn.Module, pixels: Tensor, batches: Sequence[int]) -> Tensor:
    """Milliseconds of a batch of each size, float32 `[B]`: the least of the rounds' means.

    Args:
        network: in evaluation.
        pixels: `[N, C, H, W]`, as many as the largest batch has.
    """
    onnxruntime = formats.onnx_runtime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        formats.save_onnx_from_module(network, pixels[:2], path)
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    inputs = [pixels[:size].numpy() for size in batches]
    return torch.tensor([_least(lambda x=x: session.run(["logits"], {"pixels": x})) for x in inputs])


def of_networks(networks: Sequence[nn.Module], shape: tuple[int, ...]) -> tuple[list[float], str]:
    """Milliseconds of one image of `shape` `[C, H, W]` by each network, and by what: all by ONNX Runtime, or all by PyTorch.

    PyTorch runs them where ONNX Runtime is not installed, or where one of them cannot be written as ONNX.
    """
    pixels = torch.zeros(2, *shape)
    if has_onnx():
        import onnxruntime

        try:
            times = [milliseconds(network, pixels, (1,)).item() for network in networks]
            return times, f"ONNX Runtime {onnxruntime.__version__}, one thread"
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
