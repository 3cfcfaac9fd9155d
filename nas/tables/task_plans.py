"""Which trainings the table of many tasks is measured by, in which order, and which tasks are held out.

All of it is data: `data/many_tasks.json`. Shapes: `P` functions.
"""

from __future__ import annotations

import fnmatch
import json
import re
from typing import NamedTuple

import torch
from torch import Tensor

from nas.paths import DATA
from nas.tables.functions import function_index
from search_spaces import _noise
from search_spaces.nasbench201 import NasBench201

_WORK = DATA / "many_tasks.json"


class Plan(NamedTuple):
    """One training of every function: on which data set, and how. Field names are those of the `plan.json` of a folder."""

    set: str
    """`digits`, or the name of a `.npz` file in the folder of images."""
    variant: str
    epochs: int
    channels: int
    cells: int
    stem_stride: int
    image_size: int
    examples: int
    """Training images used, at most."""
    batch: int
    lr: float
    weight_decay: float = 5e-4
    crop: int = 0
    cutout: int = 0
    label_noise: float = 0.0
    """Share of the training labels that are drawn anew from all classes."""
    robust: bool = False
    """Corruptions and attacks are measured too."""
    repeats: int = 256
    """Random functions that are trained with `seeds` seeds, for the noise ceiling of every column."""
    seeds: int = 3
    shard: int = 32
    """Functions trained at once."""
    functions: int | None = None
    """Of all, the first so many; None: all."""

    @property
    def name(self) -> str:
        """Its task in a table: `cifar10`, `cifar10:quarter`."""
        return self.set if self.variant == "base" else f"{self.set}:{self.variant}"

    @property
    def folder(self) -> str:
        return f"{self.set}-{self.variant}"

    @property
    def space(self) -> NasBench201:
        return NasBench201(self.channels, self.cells, self.stem_stride)


def plans() -> list[Plan]:
    """All trainings, in the order of work."""
    work = json.loads(_WORK.read_text(encoding="utf-8"))
    return [
        Plan(name, part["variant"], **work["recipe"] | work["sets"].get(name, {}) | work["variants"][part["variant"]])
        for part in work["work"]
        for name in part["sets"]
    ]


def fidelities(plan: Plan) -> list[int]:
    """After how many epochs validation accuracy is measured: 1, 2, 4, ... and at the end."""
    return [*[2**k for k in range(plan.epochs.bit_length()) if 2**k < plan.epochs], plan.epochs]


def functions(plan: Plan) -> Tensor:
    """The index of the cheapest cell of each function, int64 `[P]`, ascending."""
    return function_index(NasBench201()).unique()[: plan.functions]


class Shard(NamedTuple):
    """Functions trained at once, and with which seed."""

    number: int
    seed: int
    indices: Tensor


def shards(plan: Plan) -> list[Shard]:
    """Every function with seed 0, `repeats` of them with the other seeds."""
    every = functions(plan)
    # One fixed order, so that a larger `repeats` contains a smaller.
    order = _noise.bits(torch.tensor([0]), 0, len(every))[0].argsort()
    again = every[order[: plan.repeats]].sort().values
    work = [(0, indices) for indices in every.split(plan.shard)]
    work += [(seed, indices) for seed in range(1, plan.seeds) for indices in again.split(plan.shard)]
    return [Shard(number, seed, indices) for number, (seed, indices) in enumerate(work)]


def families(task: str) -> list[str]:
    """The families of a task: first that of its metric, then those of how its networks were trained."""
    patterns = json.loads(_WORK.read_text(encoding="utf-8"))["families"]
    return [name for name, globs in patterns.items() if any(fnmatch.fnmatchcase(task, glob) for glob in globs)]


def data_set(task: str) -> str:
    """The data set of a task: `cifar10` of `cifar10:quarter-calibration`."""
    return re.split("[:-]", task)[0]


def held_out(split: str, task: str) -> bool:
    """Whether a split of `many_tasks.json` holds a task out: it does so by whole data sets and whole families."""
    kept = json.loads(_WORK.read_text(encoding="utf-8"))["splits"][split]
    return data_set(task) in kept.get("sets", ()) or not set(families(task)).isdisjoint(kept.get("families", ()))
