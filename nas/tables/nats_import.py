"""The official NATS-Bench download becomes a table: an architecture at a time, in bounded memory, from where it stopped.

Imported: accuracies after the last epoch of each recipe, training seconds, parameters, FLOPs, latency. Not imported: losses,
and ImageNet's and CIFAR-100's `ori-test`, which is validation and test together.
Shapes: `N` architectures, `F` values of one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from nas import plugins
from nas.tables import nats_files
from nas.tables import table as tables
from nas.tables.nats_files import Download, Record
from nas.tables.table import Column
from search_spaces import Space, UserError
from search_spaces._files import atomic_write

_DATA = {"cifar10": "cifar10", "cifar100": "cifar100", "ImageNet16-120": "ImageNet16-120"}
_VALID_DATA = _DATA | {"cifar10": "cifar10-valid"}
"""CIFAR-10 was trained twice: on half of it, where the other half validates, and on all of it."""
_TEST_SET = {"cifar10": "ori-test", "cifar100": "x-test", "ImageNet16-120": "x-test"}
# The seeds that NATS-Bench trained with; some architectures lack some of them.
_SEEDS = (777, 888, 999)
_RECIPES = {"nasbench201": ("12", "200"), "natsbench-size": ("01", "12", "90")}
_SAVED_EVERY = 5.0
"""Seconds between saves, which a kill can lose. A save writes all that was read so far, so not after each architecture."""


class Target(NamedTuple):
    """One column of the table to be; `seeds` 1 or the number of seeds."""

    name: str
    about: Column
    recipe: str
    seeds: int


class Progress(NamedTuple):
    """How far an import has come."""

    done: int
    of: int | None


def run(path: Path, out: Path) -> Iterator[Progress]:
    """Import the download at `path` into the table `out`; stop anywhere and call again to go on.

    Raises `UserError` for a path that is no download, a file that is damaged, and an import of another download under way.
    """
    download = nats_files.open_download(path)
    space = _space(download)
    targets = list(_targets(space.name))
    width = sum(f.seeds for f in targets)
    partial = out.with_name(f".{out.name}.import")
    values_NF, done_N = _resume(partial, path, len(download.meta_archs), width)
    archs_ND = torch.stack([space.parse(text) for text in download.meta_archs])
    out.parent.mkdir(parents=True, exist_ok=True)
    saved = time.monotonic()
    yield Progress(int(done_N.sum()), download.count)
    try:
        for record in nats_files.records(download, set(done_N.nonzero()[:, 0].tolist())):
            _check(download, record)
            values_NF[record.index] = torch.tensor([v for f in targets for v in _values(f, record)])
            done_N[record.index] = True
            if time.monotonic() - saved > _SAVED_EVERY:
                _save(partial, path, values_NF, done_N)
                saved = time.monotonic()
            yield Progress(int(done_N.sum()), download.count)
    finally:  # Ctrl-C and a damaged file too: what was read so far is not read again.
        _save(partial, path, values_NF, done_N)
    columns = dict(_columns(targets, values_NF[done_N]))
    source = f"NATS-Bench (Dong et al. 2021), imported from {path.name}"
    tables.write(out, space.name, archs_ND[done_N], columns, source, "MIT")
    partial.unlink()


def _space(download: Download) -> Space:
    # Architectures of the topology space read `|op~0|...`, those of the size space `8:16:...`.
    size = ":" in download.meta_archs[0]
    return plugins.load("space", "natsbench_size" if size else "nasbench201")()


def _targets(space: str) -> Iterator[Target]:
    """The columns, named as the tables of these benchmarks name them; each seed apart after the full training."""
    full = _RECIPES[space][-1]
    for data in _DATA:
        for recipe in _RECIPES[space]:
            epochs = int(recipe)
            for split in ("valid", "test"):
                about = Column(data, "accuracy", split, epochs, "percent", True)
                # Only this column is per seed and has no mean beside it: the tables of these benchmarks are so.
                seeds_only = recipe == full and (data, split) == ("cifar10", "valid")
                yield Target(f"{data}/{split}_accuracy@{epochs}", about, recipe, len(_SEEDS) if seeds_only else 1)
                if recipe == full and not seeds_only:
                    yield Target(f"{data}/{split}_accuracy_per_seed@{epochs}", about, recipe, len(_SEEDS))
            train = Column(data, "accuracy", "train", epochs, "percent", True)
            yield Target(f"{data}/train_accuracy_one_seed@{epochs}", train, recipe, 1)
            seconds = Column(data, "train_seconds", "train", epochs, "second", False)
            yield Target(f"{data}/train_seconds@{epochs}", seconds, recipe, 1)
        for metric, unit in (("params", "million"), ("flops", "million"), ("latency", "second")):
            yield Target(f"{data}/{metric}", Column(data, metric, None, None, unit, False), full, 1)


def _values(target: Target, record: Record) -> list[float]:
    """`target.seeds` numbers; NaN where the download has none."""
    about = target.about
    of_test = about.split == "test"
    data = (_DATA if of_test else _VALID_DATA)[about.task]
    results = record.infos.get(target.recipe, {}).get("all_results", {})
    by_seed: dict[int, dict[str, Any]] = {seed: result for (name, seed), result in results.items() if name == data}
    if about.metric != "accuracy":
        return [_cost(about.metric, by_seed)]
    read = {seed: _accuracy(result, about) for seed, result in by_seed.items()}
    if target.seeds > 1:
        return [read.get(seed, math.nan) for seed in _SEEDS]
    return [next(iter(read.values()), math.nan) if about.split == "train" else _mean(list(read.values()))]


def _accuracy(result: dict[str, Any], about: Column) -> float:
    last = result["epochs"] - 1
    if about.split == "train":
        return float(result["train_acc1es"].get(last, math.nan))
    name = "x-valid" if about.split == "valid" else _TEST_SET[about.task]
    return float(result["eval_acc1es"].get(f"{name}@{last}", math.nan))


def _cost(metric: str, by_seed: dict[int, dict[str, Any]]) -> float:
    if metric == "train_seconds":
        return _mean([sum(r["train_times"].values()) for r in by_seed.values() if r["train_times"]])
    if metric == "latency":
        return _mean([sum(r["latency"]) / len(r["latency"]) for r in by_seed.values() if r["latency"]])
    counts = {seed: float(r["flop" if metric == "flops" else metric]) for seed, r in by_seed.items()}
    # The seeds of some architectures disagree on their size; nats_bench then believes seed 888.
    if len({f"{count:.5f}" for count in counts.values()}) > 1:
        return counts.get(888, math.nan)
    return _mean(list(counts.values()))


def _mean(values: list[float]) -> float:
    known = [v for v in values if not math.isnan(v)]
    return sum(known) / len(known) if known else math.nan


def _columns(targets: list[Target], values_NF: Tensor) -> Iterator[tuple[str, tuple[Column, Tensor]]]:
    """Those that hold at least one value."""
    for target, values in zip(targets, values_NF.split([f.seeds for f in targets], 1)):
        if not values.isnan().all():
            yield target.name, (target.about, values.squeeze(1) if target.seeds == 1 else values)


def _check(download: Download, record: Record) -> None:
    stored = next(iter(record.infos.values())).get("arch_str")
    if not 0 <= record.index < len(download.meta_archs) or stored != download.meta_archs[record.index]:
        raise UserError(f"Architecture {record.index} of '{download.path}' is '{stored}', and its list says another.")


def _save(partial: Path, path: Path, values_NF: Tensor, done_N: Tensor) -> None:
    header = {"of": str(path.resolve()), "format": "nas-import/1"}
    with atomic_write(partial) as beside:
        beside.write_bytes(safetensors.torch.save({"values": values_NF, "done": done_N}, header))


def _resume(partial: Path, path: Path, rows: int, width: int) -> tuple[Tensor, Tensor]:
    fresh = torch.full((rows, width), math.nan), torch.zeros(rows, dtype=torch.bool)
    if not partial.is_file():
        return fresh
    try:
        with safe_open(partial, framework="pt") as file:
            header = file.metadata() or {}
            values, done = file.get_tensor("values"), file.get_tensor("done")
    except SafetensorError:  # Cut short by a power failure, say: it only saved time.
        return fresh
    if header.get("of") != str(path.resolve()):
        raise UserError(f"'{partial}' is half an import of '{header.get('of')}'; delete it or choose another --out.")
    return (values, done) if values.shape == fresh[0].shape else fresh
