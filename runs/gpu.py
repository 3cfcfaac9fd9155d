"""Many cells at once against one at a time on one device, at the three sizes of `train_speed.py`; exactness in float64.

The ways: `one at a time` is plain PyTorch, each network by itself; `grouped` the networks of `nas.training` as one module;
`grouped, fast` the same with TF32 products and, on a graphics card, its step recorded as a CUDA graph: a step is one launch.
Seconds are of the wall clock after a synchronization; on a card nothing else runs.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.training.population import GroupedNetworks
from search_spaces import Task, _ops
from search_spaces.nasbench201 import NasBench201

BATCH = 64
SIZES = {"small": (8, 1, 8, 1, 256), "middle": (16, 3, 16, 1, 128), "large": (32, 3, 16, 5, 32)}
"""Side, colors, channels, cells a stage, networks at once: those of `runs/train_speed.py`, with as many as fill a card."""
DRY = {"small": (8, 1, 4, 1, 3)}
MEASURED_SECONDS = 20.0
"""Of each way at each size, at most: three ways at three sizes are three minutes, with warming up and exactness five."""
WAYS = ("one at a time", "grouped", "grouped, fast")


def main() -> None:
    """Print a JSON line for each measurement."""
    parser = argparse.ArgumentParser(description="Many cells at once against one at a time.")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dry", action="store_true", help="One small size and two steps: whether it all runs.")
    asked = parser.parse_args()
    device = torch.device(asked.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    peaks = {kind: matrix_rate(device, kind, asked.dry) for kind in ("float32", "tf32", "bfloat16")}
    print(json.dumps({"device": name, "torch": torch.__version__, "GFLOP/s of a matrix product": peaks}))
    for size, shape in (DRY if asked.dry else SIZES).items():
        print(json.dumps({"size": size, "exactness": exactness(shape, device)}))
        rows = {way: measure(way, shape, device, 2 if asked.dry else None) for way in WAYS}
        for way, row in rows.items():
            row["times as fast"] = rows["one at a time"]["seconds"] / row["seconds"]
            row["of the peak"] = row["GFLOP/s"] / peaks["tf32" if "fast" in way else "float32"]
            print(json.dumps({"size": size, "way": way} | {k: round(v, 6) for k, v in row.items()}), flush=True)


def setup(shape: tuple[int, ...], device: torch.device) -> tuple[Any, ...]:
    """The space, its architectures, the task and a batch of images."""
    side, colors, channels, cells, count = shape
    task, space = Task("noise", (colors, side, side), 10), NasBench201(channels, cells)
    archs = _ops.from_index((torch.arange(count) * 4177 + 11) % 15_625, space.choices)
    noise = torch.Generator().manual_seed(0)
    x = torch.randn(BATCH, *task.input_shape, generator=noise).to(device)
    return space, archs, task, x, torch.randint(10, (BATCH,), generator=noise).to(device)


def grouped(space: NasBench201, archs: Tensor, task: Task, device: torch.device) -> GroupedNetworks:
    """The networks as one module, with weights of each network's own key."""
    operations = [[space.operations[d][i] for d, i in enumerate(arch)] for arch in archs.tolist()]
    networks = GroupedNetworks(operations, task, space.channels, space.cells)
    with torch.no_grad():
        for number, parameter in enumerate(networks.parameters()):
            noise = torch.Generator().manual_seed(number)
            parameter.copy_(0.1 * torch.randn(parameter.shape, generator=noise))
    return networks.to(device)


def step_of(networks: nn.Module, x: Tensor, y: Tensor) -> Callable[[], Tensor]:
    """One training step of all networks `[P]`, each by its own loss."""
    optimizer = torch.optim.SGD(networks.parameters(), 0.05, 0.9, nesterov=True)

    def step() -> Tensor:
        logits = networks(x)
        logits = logits if logits.dim() == 3 else logits[None]
        P, N, K = logits.shape
        loss = F.cross_entropy(logits.reshape(P * N, K), y.repeat(P), reduction="sum") / N
        optimizer.zero_grad(set_to_none=False)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def measure(way: str, shape: tuple[int, ...], device: torch.device, steps: int | None) -> dict[str, float]:
    """Seconds of one step of one network, and what belongs to it."""
    space, archs, task, x, y = setup(shape, device)
    fast = "fast" in way
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = fast
    if way == "one at a time":
        some = archs[: max(1, len(archs) // 16)]  # Each takes as long as it does; a part of them is enough.
        seconds = 0.0
        for arch in some:
            network = space.build(arch, task).to(device).to(memory_format=torch.channels_last)
            seconds += timed(step_of(network, x, y), device, steps, MEASURED_SECONDS / len(some)) / len(some)
    else:
        step = step_of(grouped(space, archs, task, device), x, y)
        if fast and device.type == "cuda":
            step = recorded(step)
        seconds = timed(step, device, steps, MEASURED_SECONDS) / len(archs)
    # Forward and backward are three times the forward; a multiply-accumulate is two operations.
    operations = 6 * BATCH * space.cost(archs, task)[1].double().mean().item()
    return {"seconds": seconds, "GFLOP/s": operations / seconds / 1e9}


def recorded(step: Callable[[], Tensor]) -> Callable[[], Any]:
    """The step as one launch of a CUDA graph, after the warming up that PyTorch asks for."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def timed(step: Callable[[], Any], device: torch.device, steps: int | None, limit: float) -> float:
    """Seconds of a step: the mean over many after two that warm up."""
    for _ in range(2):
        step()
    synchronize(device)
    began, done = time.perf_counter(), 0
    while done < (steps or 200) and (time.perf_counter() - began < limit or not done):
        step()
        done += 1
        if done % 10 == 0:
            synchronize(device)  # Else the clock would run ahead of the card.
    synchronize(device)
    return (time.perf_counter() - began) / done


def exactness(shape: tuple[int, ...], device: torch.device) -> dict[str, float]:
    """The largest relative difference of the grouped networks' gradients from those of float64 on the CPU, by number type."""
    space, archs, task, x, y = setup((*shape[:4], min(shape[4], 4)), device)
    found = {}
    for kind in (torch.float64, torch.float32):
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        exact = gradients(grouped(space, archs, task, torch.device("cpu")).double(), x.double().cpu(), y.cpu())
        ours = gradients(grouped(space, archs, task, device).to(kind), x.to(kind), y)
        scale = max(g.abs().max().item() for g in exact)
        difference = max((a - b.double().cpu()).abs().max().item() for a, b in zip(exact, ours))
        found[str(kind).removeprefix("torch.")] = difference / scale
    return found


def gradients(networks: nn.Module, x: Tensor, y: Tensor) -> list[Tensor]:
    """Of the sum of all losses by every parameter."""
    logits = networks(x)
    loss = F.cross_entropy(logits.reshape(-1, logits.shape[-1]), y.repeat(len(logits)))
    return list(torch.autograd.grad(loss, [*networks.parameters()]))


def matrix_rate(device: torch.device, kind: str, dry: bool) -> float:
    """GFLOP/s of a product of square matrices."""
    torch.backends.cuda.matmul.allow_tf32 = kind == "tf32"
    side = 64 if dry else 8192 if device.type == "cuda" else 1024
    a = torch.randn(side, side, device=device, dtype=torch.bfloat16 if kind == "bfloat16" else torch.float32)
    return round(2 * side**3 / timed(lambda: a @ a, device, 2 if dry else 50, 5.0) / 1e9, 1)


def synchronize(device: torch.device) -> None:
    """Wait until the card has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main()
