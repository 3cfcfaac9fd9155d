"""A new table: every cell of `nasbench201` trained on a dataset, shard by shard, so that it can stop and resume.

Cells that compute the same function are trained once and share their metrics (`CellSpace.equivalents`). Several fidelities are
read off one training. Shapes: `P` cells, `E` epochs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import safetensors.torch
import torch
from torch import Tensor

from nas import datasets, training
from nas.datasets import DataSet, meta_features
from nas.tables import plan_file
from nas.tables.functions import function_index
from nas.tables.table import Column
from nas.training import Images, Recipe
from search_spaces import CellSpace, Task, UserError, _noise, _ops
from search_spaces._files import atomic_write
from search_spaces.nasbench201 import NasBench201


class Plan(NamedTuple):
    """What is measured: one task of one table."""

    task: str
    """A dataset's name, as `digits` or `npz:FILE`."""
    epochs: int
    channels: int = 4
    cells: int = 1
    stem_stride: int = 1
    image_size: int | None = None
    train_images: int | None = None
    """Training images used; None: all."""
    # Half of `Recipe`'s; not ablated.
    batch: int = 32
    lr: float = 0.1
    noise_sample: int = 300
    """Random functions trained with every seed, to measure the noise: 300 with three seeds give its deviation to 3%,
    1 / sqrt(2 x 600 degrees of freedom)."""
    seeds: int = 3
    shard: int = 32
    """Networks trained at once."""


def fidelities(plan: Plan) -> list[int]:
    """After how many epochs accuracies are measured: 1, 2, 4, ... and at the end."""
    return [*[2**k for k in range(plan.epochs.bit_length()) if 2**k < plan.epochs], plan.epochs]


class Shard(NamedTuple):
    """Networks trained at once, and with which seed."""

    number: int
    seed: int
    indices: Tensor


def shards(plan: Plan) -> list[Shard]:
    """All there is to train: every function with seed 0, `noise_sample` of them with the other seeds."""
    functions = function_index(_space(plan)).unique()
    # One fixed order, so that a larger `noise_sample` contains a smaller.
    order = _noise.bits(torch.tensor([0]), 0, len(functions))[0].argsort()
    again = functions[order[: plan.noise_sample]].sort().values
    work = [(0, indices) for indices in functions.split(plan.shard)]
    work += [(seed, indices) for seed in range(1, plan.seeds) for indices in again.split(plan.shard)]
    return [Shard(number, seed, indices) for number, (seed, indices) in enumerate(work)]


def build(plan: Plan, folder: Path) -> Iterator[tuple[int, int]]:
    """Train in this process what is missing in `folder`, one file a shard; yields (shards done, shards in all)."""
    work, left = len(shards(plan)), missing(plan, folder)
    train = worker(plan)
    for done, number in enumerate(left, work - len(left) + 1):
        keep(folder, number, train(number))
        yield done, work


def missing(plan: Plan, folder: Path) -> list[int]:
    """The numbers of the shards that have no file in `folder`. Raises `UserError` for a folder of another plan."""
    plan_file.keep(folder, plan._asdict())
    return [shard.number for shard in shards(plan) if not _file(folder, shard.number).exists()]


def keep(folder: Path, number: int, content: bytes) -> None:
    """Write the file of a shard, whole or not at all."""
    with atomic_write(_file(folder, number)) as partial:
        partial.write_bytes(content)


def _file(folder: Path, number: int) -> Path:
    return folder / f"{number:04d}.safetensors"


def worker(plan: Plan) -> Callable[[int], bytes]:
    """What trains a shard by its number, and gives what its file holds; the images are read once."""
    data = datasets.load(plan.task, plan.image_size)
    picked = datasets.pick(len(data.y_train), plan.train_images)
    train = Images(data.x_train[picked], data.y_train[picked], data.mean, data.std)
    valid, test = (
        Images(x, y, data.mean, data.std) for x, y in ((data.x_valid, data.y_valid), (data.x_test, data.y_test))
    )
    task, work = _task(plan, data), shards(plan)
    return lambda number: safetensors.torch.save(_measure(plan, work[number], task, train, valid, test))


def _measure(plan: Plan, shard: Shard, task: Task, train: Images, valid: Images, test: Images) -> dict[str, Tensor]:
    space = _space(plan)
    archs = _ops.from_index(shard.indices, space.choices)
    started = time.perf_counter()
    population = training.networks(space, archs, task, shard.seed)
    recipe = Recipe(plan.epochs, plan.batch, plan.lr, seed=shard.seed)
    valid_EP, test_EP, loss_EP = [], [], []
    for epoch, loss_P in enumerate(training.train(population, train, recipe), 1):
        if epoch in fidelities(plan):
            loss_EP.append(loss_P)
            valid_EP.append(training.accuracy(population, valid))
            test_EP.append(training.accuracy(population, test))
    # Of the whole shard, shared out evenly: networks trained at once have no time of their own.
    seconds = (time.perf_counter() - started) / len(archs)
    # A network that diverged has a loss of NaN; its accuracy would otherwise be that of a constant answer.
    failed_EP = torch.stack(loss_EP).isnan()
    return {
        "indices": shard.indices,
        "seed": torch.tensor(shard.seed),
        "valid": torch.stack(valid_EP).masked_fill(failed_EP, torch.nan),
        "test": torch.stack(test_EP).masked_fill(failed_EP, torch.nan),
        "seconds": torch.full(shard.indices.shape, seconds),
    }


def columns(plan: Plan, folder: Path, name: str) -> dict[str, tuple[Column, Tensor]]:
    """The columns of a finished `folder`, by the task's `name` in the table; equivalent cells have the same values.

    Accuracies are of seed 0; the `_per_seed` columns hold all seeds of the last fidelity, NaN where a cell had one only.
    """
    space = _space(plan)
    representatives = function_index(space)
    parts = [safetensors.torch.load(path.read_bytes()) for path in sorted(folder.glob("*.safetensors"))]
    if len(parts) < len(shards(plan)):
        raise UserError(f"'{folder}' holds {len(parts)} of {len(shards(plan))} shards; build the rest first.")
    N = len(representatives)
    accuracy = {split: torch.full((len(fidelities(plan)), N, plan.seeds), torch.nan) for split in ("valid", "test")}
    seconds = torch.full((N,), torch.nan)
    for shard in parts:
        for split, values in accuracy.items():
            values[:, shard["indices"], int(shard["seed"])] = shard[split]
        # Seed 0 alone: it is the one that every cell has.
        if int(shard["seed"]) == 0:
            seconds[shard["indices"]] = shard["seconds"]
    out: dict[str, tuple[Column, Tensor]] = {}
    for split, values in accuracy.items():
        spread = values[:, representatives]
        for epochs, at_fidelity in zip(fidelities(plan), spread):
            about = Column(name, "accuracy", split, epochs, "percent", True, seeds=1)
            out[f"{name}/{split}_accuracy@{epochs}"] = (about, at_fidelity[:, 0])
        about = Column(name, "accuracy", split, plan.epochs, "percent", True)
        out[f"{name}/{split}_accuracy_per_seed@{plan.epochs}"] = (about, spread[-1])
    cost = Column(name, "train_seconds", "train", plan.epochs, "second", False)
    out[f"{name}/train_seconds@{plan.epochs}"] = (cost, seconds[representatives])
    params, _ = space.cost(_ops.enumerate_all(space.choices), _task(plan, datasets.load(plan.task, plan.image_size)))
    out[f"{name}/params"] = (Column(name, "params", None, None, "million", False), params / 1e6)
    return out


def _space(plan: Plan) -> CellSpace:
    return NasBench201(plan.channels, plan.cells, plan.stem_stride)


def _task(plan: Plan, data: DataSet) -> Task:
    features = meta_features.features(data.x_train, data.y_train, plan.train_images)
    return Task(plan.task, tuple(data.x_train.shape[1:]), len(data.class_names), features)  # pyright: ignore[reportArgumentType]


def describe(plan: Plan) -> str:
    """How a task was measured, for the table's header."""
    return (
        f"{f'{plan.image_size}x{plan.image_size} pixels, ' if plan.image_size else ''}"
        f"{plan.channels} channels, {plan.cells} cells a stage, stem of stride {plan.stem_stride}, "
        f"{plan.train_images or 'all'} training images, batch {plan.batch}, SGD with Nesterov momentum, cosine from {plan.lr}, "
        f"{plan.epochs} epochs; all functions one seed, {plan.noise_sample} functions {plan.seeds} seeds"
    )
