"""A table of our own: every cell of `nasbench201` trained on a data set, shard by shard, so that it can stop and go on.

Cells that compute the same function are trained once (`_cells.twins(deep=True)`) and spread to their twins. Several fidelities
are read off one training. Shapes: `P` cells, `E` epochs.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import safetensors.torch
import torch
from torch import Tensor

from nas import data_sets, training
from nas.training import Images, Recipe
from search_spaces import _cells, _noise, _ops
from search_spaces._base import Task
from search_spaces.nasbench201 import NasBench201


class Plan(NamedTuple):
    """What is measured: one task of one table."""

    task: str
    """A data set's name, as `digits` or `npz:FILE`."""
    epochs: int
    channels: int = 4
    cells: int = 1
    stem_stride: int = 1
    image_size: int | None = None
    examples: int | None = None
    """Training images used; None: all."""
    batch: int = 32
    lr: float = 0.1
    repeats: int = 300
    """Random functions that are trained with three seeds, for the noise ceiling."""
    seeds: int = 3
    shard: int = 32
    """Cells trained together."""


def fidelities(plan: Plan) -> list[int]:
    """After how many epochs figures are taken: 1, 2, 4, ... and at the end."""
    return [*[2**k for k in range(plan.epochs.bit_length()) if 2**k < plan.epochs], plan.epochs]


class Shard(NamedTuple):
    """Cells trained together, and with which seed."""

    number: int
    seed: int
    ranks: Tensor


def shards(plan: Plan) -> list[Shard]:
    """All there is to train: every function with seed 0, `repeats` of them with the other seeds."""
    functions = _cells.twins(NasBench201.operations[0], deep=True).unique()
    order = _noise.bits(torch.tensor([0]), 0, len(functions))[0].argsort()
    again = functions[order[: plan.repeats]].sort().values
    work = [(0, ranks) for ranks in functions.split(plan.shard)]
    work += [(seed, ranks) for seed in range(1, plan.seeds) for ranks in again.split(plan.shard)]
    return [Shard(number, seed, ranks) for number, (seed, ranks) in enumerate(work)]


def build(plan: Plan, folder: Path, share: tuple[int, int] = (0, 1)) -> Iterator[tuple[int, int]]:
    """Train what is missing in `folder`, one file a shard; yields (shards done, shards in all).

    Args:
        share: (which, of how many): processes that each take their part of the shards.
    """
    folder.mkdir(parents=True, exist_ok=True)
    data = data_sets.load(plan.task, plan.image_size)
    picked = data_sets.pick(len(data.y_train), plan.examples)
    train = Images(data.x_train[picked], data.y_train[picked], data.mean, data.std)
    valid, test = (
        Images(x, y, data.mean, data.std) for x, y in ((data.x_valid, data.y_valid), (data.x_test, data.y_test))
    )
    task = Task(plan.task, tuple(data.x_train.shape[1:]), len(data.class_names))  # pyright: ignore[reportArgumentType]
    work = shards(plan)
    for shard in work[share[0] :: share[1]]:
        path = folder / f"{shard.number:04d}.safetensors"
        if not path.exists():
            figures = _measure(plan, shard, task, train, valid, test)
            partial = path.with_suffix(f".{share[0]}")
            partial.write_bytes(safetensors.torch.save(figures))
            partial.replace(path)
        yield sum(1 for _ in folder.glob("*.safetensors")), len(work)


def _measure(plan: Plan, shard: Shard, task: Task, train: Images, valid: Images, test: Images) -> dict[str, Tensor]:
    space = NasBench201(plan.channels, plan.cells, plan.stem_stride)
    archs = _ops.from_index(shard.ranks, space.choices)
    started = time.perf_counter()
    population = training.networks(space, archs, task, shard.seed)
    recipe = Recipe(plan.epochs, plan.batch, plan.lr, seed=shard.seed)
    valid_EP, test_EP, loss_EP = [], [], []
    for epoch, loss_P in enumerate(training.train(population, train, recipe), 1):
        if epoch in fidelities(plan):
            loss_EP.append(loss_P)
            valid_EP.append(training.accuracy(population, valid))
            test_EP.append(training.accuracy(population, test))
    seconds = (time.perf_counter() - started) / len(archs)
    failed_EP = torch.stack(loss_EP).isnan()
    return {
        "ranks": shard.ranks,
        "seed": torch.tensor(shard.seed),
        "valid": torch.stack(valid_EP).masked_fill(failed_EP, torch.nan),
        "test": torch.stack(test_EP).masked_fill(failed_EP, torch.nan),
        "seconds": torch.full(shard.ranks.shape, seconds),
    }
