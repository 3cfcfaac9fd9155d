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
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        formats.save_onnx_from_module(network, pixels[:2], path)
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    inputs = [pixels[:size].numpy() for size in batches]
    return torch.tensor([_least(lambda x=x: session.run(["logits"], {"pixels": x})) for x in inputs])


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
