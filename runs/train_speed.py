"""How fast cells train: one network at a time and as a population, beside the matrix-product rate of the same core.

Each way runs in a process of its own, `--rounds` times in turn; its best round counts. Time is CPU time, so that a busy
machine does not show: figures are for one core, and two threads count twice. "Together" is what `nas.training` makes of
the cells: compiled code, a cell a core; and without a compiler PyTorch, one module for all or the networks side by side.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from nas import training
from nas.training import Images, Recipe
from search_spaces import Task, _ops
from search_spaces.nasbench201 import NasBench201

BATCH = 64
STEPS_OF_A_TRAINING = 8 * 18
"""What a cell trained is taken to be: 8 epochs of 1,150 images, the digits' training split, 64 at a time."""


class Size(NamedTuple):
    side: int
    colours: int
    channels: int
    cells: int
    population: int
    """Cells trained together."""


SIZES = {
    "small": Size(8, 1, 8, 1, 32),
    "middle": Size(16, 3, 16, 1, 16),
    "large": Size(32, 3, 16, 5, 4),
}
WAYS = {
    "alone": 1,
    "alone, 2 threads": 2,
    "alone, torch.compile": 1,
    "together": 1,
    "together, 2 threads": 2,
    "together, no compiler": 1,
}
"""Threads of each way."""


def main() -> None:
    """Print one table a size."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", nargs=2, metavar=("WAY", "SIZE"))
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(measure(*asked.one)))
        return
    print(f"PyTorch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}; CPU time, one core; batch {BATCH}")
    for name, size in SIZES.items():
        table(name, size, asked.rounds)


def table(name: str, size: Size, rounds: int) -> None:
    """Measure every way in turn and print what came out."""
    found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for _ in range(rounds):
        for way in WAYS:
            command = [sys.executable, __file__, "--one", way, name]
            environment = os.environ | ({"NAS_COMPILE": "0"} if "no compiler" in way else {})
            done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
            found[way].append(json.loads(done.stdout.splitlines()[-1]))
    best = {way: min(rows, key=lambda row: row["seconds"]) for way, rows in found.items()}
    peak = max(row["peak"] for rows in found.values() for row in rows)
    hourly = {way: 3600 / (row["seconds"] * STEPS_OF_A_TRAINING + row["setup"]) for way, row in best.items()}
    alone = [way for way in WAYS if way.startswith("alone")]
    step, hour = min(best[way]["seconds"] for way in alone), max(hourly[way] for way in alone)
    print(f"\n{name}: {size.side}x{size.side}x{size.colours}, {size.channels} channels, {size.cells} cells a stage")
    print('  "x": against the best way alone; cells an hour with what compiling costs, the step without')
    print(f"  {'way':24}{'cells/h':>9}{'x':>7}{'ms a step':>11}{'x':>7}{'GFLOP/s':>9}{'of peak':>9}{'MB':>7}")
    for way, row in best.items():
        rate = row["flops"] / row["seconds"] / 1e9
        print(
            f"  {way:24}{hourly[way]:9.0f}{hourly[way] / hour:6.2f}x{1e3 * row['seconds']:11.2f}{step / row['seconds']:6.2f}x"
            f"{rate:9.1f}{rate / peak:9.1%}{row['memory']:7.0f}"
            + (f"   {row['setup']:.0f} s a cell to compile" * (row["setup"] > 1))
        )
    print(f"  the core's matrix product: {peak:.0f} GFLOP/s (1024 x 1024, float32)")


def measure(way: str, name: str) -> dict[str, float]:
    """CPU seconds of one training step of one cell, and what belongs to it."""
    torch.set_num_threads(WAYS[way])
    size = SIZES[name]
    task = Task("noise", (size.colours, size.side, size.side), 10)
    space = NasBench201(size.channels, size.cells)
    archs = _ops.from_index((torch.arange(size.population) * 4177 + 11) % 15_625, space.choices)
    noise = torch.Generator().manual_seed(0)
    x = torch.randint(256, (BATCH * 4, *task.input_shape), generator=noise).byte()
    y = torch.randint(10, (len(x),), generator=noise)
    images = Images(x, y, torch.full((size.colours,), 0.5), torch.full((size.colours,), 0.3))
    start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    setup = 0.0
    if way.startswith("together"):
        population = training.networks(space, archs, task, 0)
        seconds = _per_epoch(training.train(population, images, Recipe(100, BATCH))) / len(archs) / 4
    else:
        compiled = "torch.compile" in way
        some = archs[:2] if compiled else archs
        times = []
        for arch in some:
            network = space.build(arch, task).to(memory_format=torch.channels_last)
            began = time.perf_counter()
            epochs = alone(torch.compile(network) if compiled else network, images)  # pyright: ignore[reportArgumentType]
            next(epochs)
            setup += (time.perf_counter() - began) / len(some) if compiled else 0.0
            times.append(_per_epoch(epochs) / 4)
        seconds = sum(times) / len(times)
        if compiled:
            seconds *= float(space.cost(archs, task)[1].float().mean() / space.cost(some, task)[1].float().mean())
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start) / 1024
    forward_and_backward, multiply_add = 3, 2
    flops = space.cost(archs, task)[1].float().mean().item() * multiply_add * forward_and_backward * BATCH
    return {"seconds": seconds, "setup": setup, "memory": memory, "flops": flops, "peak": matrix_product_rate()}


def alone(network: Callable[[Tensor], Tensor], images: Images) -> Iterator[None]:
    """Plain training of one network, epoch after epoch."""
    parameters = network.parameters()  # pyright: ignore[reportFunctionMemberAccess]
    optimiser = torch.optim.SGD(parameters, 0.1, 0.9, weight_decay=5e-4, nesterov=True, fused=True)
    while True:
        for a in range(0, len(images.y), BATCH):
            part = slice(a, a + BATCH)
            x = images.normalised(part).contiguous(memory_format=torch.channels_last)
            loss = F.cross_entropy(network(x), images.y[part])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        yield


def matrix_product_rate() -> float:
    """GFLOP/s of one thread."""
    torch.set_num_threads(1)
    a, b = torch.rand(1024, 1024), torch.rand(1024, 1024)
    return 2 * 1024**3 / _least(lambda: a @ b, 8) / 1e9


def _per_epoch(epochs: Iterator[object]) -> float:
    next(epochs)
    return _least(lambda: next(epochs), 2)


def _least(work: Callable[[], object], times: int) -> float:
    spent = []
    for _ in range(times):
        began = time.process_time()
        work()
        spent.append(time.process_time() - began)
    return min(spent)


if __name__ == "__main__":
    main()
