"""One table of one row a function from the finished trainings of `measure_tasks`, two bytes a value.

The format is `nas-table/2` (`nas.tables.table`); a search reads it as it is.

Shapes: `P` functions, `R` functions with several seeds, `S` seeds.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
import torch
from safetensors import safe_open
from torch import Tensor

from nas.tables import plan_file, task_plans
from nas.tables import table as tables
from nas.tables.measure_tasks import shard_file
from nas.tables.seed_noise import noise
from nas.tables.table import Column
from nas.tables.task_plans import Plan, fidelities
from search_spaces import Task, UserError, _ops
from search_spaces._files import atomic_write
from search_spaces.nasbench201 import NasBench201

FAMILY = "many-{}"
"""What a family of these tasks is called among those of all tables, whose accuracies are a family too."""
_STEP = 0.01
"""Of what is no count of images, in percent: less than a tenth of the standard deviation over seeds."""
_LAST = 2
"""Fidelities that are kept of a training that is not the first of its data set, the last ones: the table must stay small."""


class PackedColumn(NamedTuple):
    """A column as it is stored."""

    about: Column
    values: Tensor
    """int16 `[P]`, below zero where not measured, or float32 `[P]`."""
    scale: float
    noise: dict[str, float] | None
    """`archs`, `deviation` (in the column's unit) and `ceiling`, as `seed_noise.Noise`."""

    @property
    def numbers(self) -> Tensor:
        """float32 `[P]`, NaN where not measured."""
        return tables.scaled(self.values, self.scale)


class Finished(NamedTuple):
    """A whole training: each metric `[..., P, S]`, NaN where a function has no such seed."""

    plan: Plan
    about: dict[str, Any]
    metrics: dict[str, Tensor]


def finished(plan: Plan, folder: Path) -> Finished | None:
    """What a folder holds; None where shards are missing."""
    every = task_plans.shards(plan)
    files = [shard_file(folder, shard.number) for shard in every]
    if not all(file.exists() for file in files):
        return None
    indices = task_plans.functions(plan)
    out: dict[str, Tensor] = {}
    for file in files:
        held = safetensors.torch.load(file.read_bytes())
        at, seed = torch.searchsorted(indices, held.pop("ranks").long()), int(held.pop("seed"))
        # A network that diverged has a loss of NaN; its accuracy would otherwise be that of a constant answer.
        failed_P = held["loss"][-1].isnan()
        for name, values in held.items():
            if name.endswith("seconds"):
                values = values.expand(len(at))
            if name not in out:
                out[name] = torch.full((*values.shape[:-1], len(indices), plan.seeds), torch.nan)
            out[name][..., at, seed] = values.float().masked_fill(failed_P, torch.nan)
    return Finished(plan, plan_file.read(folder), out)


def columns(done: Finished) -> dict[str, PackedColumn]:
    """The columns of one training, by name; of seed 0."""
    plan, metrics, end = done.plan, done.metrics, done.plan.epochs
    count = done.about["pictures"]
    kept = {}

    def keep(task: str, metric: str, split: str, epochs: int, values_PS: Tensor, scale: float) -> None:
        stored = (values_PS[:, 0].double() / scale).round()
        if not (stored[~stored.isnan()] < 2**15).all():
            raise ValueError(f"{task}/{metric} does not fit into 16 bits by steps of {scale}.")
        about = Column(task, metric, split, epochs, "percent", True, seeds=1)
        packed = PackedColumn(about, stored.nan_to_num(-1).short(), scale, _noise(values_PS))
        kept[f"{task}/{split}_{metric}@{epochs}"] = packed

    for epochs, correct_PS in zip(fidelities(plan), metrics["valid"], strict=True):
        if plan.variant == "base" or epochs in fidelities(plan)[-_LAST:]:
            keep(plan.name, "accuracy", "valid", epochs, correct_PS * (100 / count["valid"]), 100 / count["valid"])
    keep(plan.name, "accuracy", "test", end, metrics["test"] * (100 / count["test"]), 100 / count["test"])
    for split in ("valid", "test"):
        # Higher is better everywhere: 100 less the error, and the geometric mean of the true class's probability.
        calibration = 100 - metrics[f"{split}_calibration_error"]
        likelihood = 100 * (-metrics[f"{split}_cross_entropy"]).exp()
        keep(f"{plan.name}-calibration", "score", split, end, calibration, _STEP)
        keep(f"{plan.name}-likelihood", "score", split, end, likelihood, _STEP)
        keep(f"{plan.name}-worst_class", "accuracy", split, end, metrics[f"{split}_worst_class"], _STEP)
    if plan.robust:
        for measured, named, of in (("corrupted", "corruptions", "valid"), ("attacked", "attacks", "attacked")):
            step = 100 / count[of]
            for name, correct_PS in zip(done.about[named], metrics[measured], strict=True):
                keep(f"{plan.name}-{name}", "robust_accuracy", "valid", end, correct_PS * step, step)
    return kept


def _noise(values_PS: Tensor) -> dict[str, float] | None:
    found = noise(values_PS)
    return None if found is None else {name: round(value, 4) for name, value in found._asdict().items()}


def cost_columns(indices: Tensor) -> dict[str, PackedColumn]:
    """Parameters and FLOPs of the networks of `base`, `deep` and `wide`, in closed form."""
    archs = _ops.from_index(indices, NasBench201.choices)
    out = {}
    for variant in ("base", "deep", "wide"):
        plan = next(p for p in task_plans.plans() if p.variant == variant)
        size = (3, plan.image_size, plan.image_size)
        for metric, values in zip(("params", "flops"), plan.space.cost(archs, Task(plan.set, size, 10)), strict=True):
            about = Column(f"network_{variant}", metric, None, None, "million", False)
            out[f"network_{variant}/{metric}"] = PackedColumn(about, values.float() / 1e6, 1.0, None)
    return out


def pack(work: Path, out: Path, more: dict[str, PackedColumn] | None = None) -> list[str]:
    """Write every finished training below `work`, and `more`, into one table; returns the trainings that are not finished."""
    kept: dict[str, PackedColumn] = {}
    images: dict[str, Any] = {}
    notes, missing = [], []
    for plan in task_plans.plans():
        done = finished(plan, work / plan.folder)
        if done is None:
            missing.append(plan.folder)
        else:
            kept |= columns(done)
            shape, classes, examples = done.about["shape"], done.about["classes"], done.about["pictures"]["train"]
            images[plan.name] = {"input_shape": shape, "classes": classes, "examples": examples}
            notes.append(f"{plan.name}: {describe(done)}")
    if not kept:
        raise UserError(f"No training in '{work}' is finished; a table takes one or more.")
    indices = task_plans.functions(task_plans.plans()[0])
    write(
        out,
        _ops.from_index(indices, NasBench201.choices),
        kept | cost_columns(indices) | (more or {}),
        "; ".join(notes),
        images,
    )
    return missing


def describe(done: Finished) -> str:
    """How a training was done, for the table's header."""
    plan, count = done.plan, done.about["pictures"]
    return (
        f"{plan.image_size}x{plan.image_size} pixels, {plan.channels} channels, {plan.cells} cells a stage, "
        f"stem of stride {plan.stem_stride}, "
        f"{count['train']} images to train, {count['valid']} to validate, {count['test']} to test, "
        f"batch {plan.batch}, SGD with Nesterov momentum, cosine from {plan.lr}, weight decay {plan.weight_decay}, "
        f"crops of {plan.crop}, cut-outs of {plan.cutout}, {plan.label_noise:.0%} of labels drawn anew, {plan.epochs} epochs, "
        f"{plan.repeats} functions with {plan.seeds} seeds"
    )


def write(
    path: Path, archs: Tensor, kept: dict[str, PackedColumn], source: str, images: dict[str, Any] | None = None
) -> None:
    """A packed table with its checksum, whole or not at all.

    Args:
        images: by the name of a training, `input_shape`, `classes` and `examples` of its images.
    """
    tensors = {name: packed.values.contiguous() for name, packed in kept.items()} | {"archs": archs.to(torch.int8)}
    header = {
        "format": tables.PACKED, "space": NasBench201.name, "rows": "functions", "source": source, "licence": "MIT",
        "columns": json.dumps({
            name: packed.about._asdict() | {"scale": packed.scale, "noise": packed.noise} for name, packed in kept.items()
        }),
        "families": json.dumps({
            task: FAMILY.format(task_plans.families(task)[0]) for task in sorted({c.about.task for c in kept.values()})
        }),
        "images": json.dumps(images or {}),
        "sha256": tables.checksum(tensors),
    }  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as partial_file:
        partial_file.write_bytes(safetensors.torch.save(tensors, header))


def read(path: Path) -> tuple[Tensor, dict[str, PackedColumn], str]:
    """Architectures int8 `[P, 6]`, columns and source of a packed table."""
    with safe_open(path, framework="pt") as file:
        header = file.metadata() or {}
        if header.get("format") != tables.PACKED:
            raise UserError(f"'{path}' has format '{header.get('format')}'; a packed table has '{tables.PACKED}'.")
        kept = {}
        for name, about in json.loads(header["columns"]).items():
            scale, of_seeds = about.pop("scale"), about.pop("noise")
            kept[name] = PackedColumn(Column(**about), file.get_tensor(name), scale, of_seeds)
        return file.get_tensor("archs"), kept, header["source"]


def unpack(path: Path, out: Path) -> None:
    """Write a packed table as `nas-table/1`, a row for each architecture: what earlier versions and other programs read."""
    table = tables.read(path)
    spread = {name: (about, table.column(name)) for name, about in table.columns.items()}
    tables.write(out, table.space, table.archs, spread, table.source, table.licence)
