"""The latency of the exported network of every function, shard by shard, so that it can stop and resume.

Shapes: `P` functions, `B` batch sizes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from nas.export.latency import milliseconds
from nas.tables.measure_tasks import lock, shard_file
from nas.tables.pack_tasks import PackedColumn
from nas.tables.table import Column
from nas.tables.task_plans import Plan, functions
from search_spaces import Task, _noise, _ops
from search_spaces._files import atomic_write

BATCHES = (1, 64)
"""One image, as on a device that waits for each, and a batch as in a server."""


def work(plan: Plan, folder: Path) -> Iterator[int]:
    """Measure the shards that `folder` lacks; yields the number of each that it finished."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, indices in enumerate(functions(plan).split(plan.shard)):
        path = shard_file(folder, number)
        with lock(path.with_suffix(".lock")) as mine:
            if mine and not path.exists():
                latencies_PB = torch.stack([_of_function(plan, index) for index in indices])
                with atomic_write(path) as partial_file:
                    partial_file.write_bytes(safetensors.torch.save({"ranks": indices, "milliseconds": latencies_PB}))
                yield number


def _of_function(plan: Plan, index: Tensor) -> Tensor:
    """Milliseconds of a batch, float32 `[B]`. RGB images and ten classes, whatever the data set."""
    task = Task(plan.set, (3, plan.image_size, plan.image_size), 10)
    network = plan.space.build(_ops.from_index(index, plan.space.choices), task).eval()
    pixels = _noise.uniform(torch.tensor([0]), 0, max(BATCHES), *task.input_shape)[0]
    return milliseconds(network, pixels, BATCHES)


def columns(plan: Plan, folder: Path) -> dict[str, PackedColumn]:
    """The latencies of a finished folder, by name; nothing where shards are missing."""
    indices = functions(plan)
    files = [shard_file(folder, number) for number in range(len(indices.split(plan.shard)))]
    if not all(file.exists() for file in files):
        return {}
    shards = [safetensors.torch.load(file.read_bytes()) for file in files]
    values_PB = torch.full((len(indices), len(BATCHES)), torch.nan)
    at = torch.searchsorted(indices, torch.cat([shard["ranks"] for shard in shards]))
    values_PB[at] = torch.cat([shard["milliseconds"] for shard in shards])
    task = f"network_{plan.variant}"
    out = {}
    for batch, values_P in zip(BATCHES, values_PB.T):
        about = Column(task, f"latency_{batch}", None, None, "millisecond", False)
        out[f"{task}/{about.metric}"] = PackedColumn(about, values_P.contiguous(), 1.0, None)
    return out
