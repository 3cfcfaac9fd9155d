"""Trainings of whole pipelines on many sets of images, command by command; `runs/pipelines.sh` says which.

Configuration `i` is tried on every set before configuration `i + 1` is on any: any prefix of the work is a useful one. Every
other configuration is the same on all sets, for a portfolio; the rest differ from set to set, so that a mean function sees more.
"""

from __future__ import annotations

import json
import lzma
import math
import sys
import time
from functools import lru_cache
from pathlib import Path

import click
import torch
from torch import Tensor

from nas import datasets
from nas.datasets import meta_features
from nas.evaluators._pipeline_trainings import Key, PipelineTrainings
from search_spaces import Task, UserError, _noise, _sampling
from search_spaces._files import atomic_write
from search_spaces.pipeline import Pipeline

SPACE = Pipeline()
UNIT = 56e9
"""Multiply-accumulates of level 1: about 5 seconds of a core. Half of it left the plain ResNet at chance where the data have many
classes: its images passed the network half a time."""
LEVELS = (1, 4)
LONGER = 2
"""One configuration in so many is trained at the higher level too: those that are the same on all sets. What is best at level 1
is the smallest network that learns anything; final trainings are ten times as long and more."""
LEFT_OUT = ("omniglot_full", "tin_fewshot")
"""One has too many classes for so little compute, the other none of its own training images."""
_NEAR = 0.35
"""Share of the decisions of a drawn configuration that are drawn; the others are those of one to begin with."""
_UNIFORM = 4
"""One configuration in so many is drawn uniformly from the whole space."""
_BASE, _DRAWN, _SAME = 0, 1, 2
"""Streams of random numbers."""


@click.group()
def main() -> None:
    """Train pipelines on many sets of images, and learn a prior from them."""


_out = click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="The folder of trainings, a file a set."
)
_archive = click.option(
    "--archive", required=True, type=click.Path(path_type=Path), help="A .jsonl.xz file of trainings."
)


def sets(images: Path) -> list[str]:
    """The sets of a folder, in order."""
    return [p.stem for p in sorted(images.glob("*.npz")) if p.stem not in LEFT_OUT]


def configuration(number: int, place: int) -> Tensor:
    """Configuration `number` `[D]` of the set with this place among all; the same for all sets where `number` is even."""
    first = SPACE.first_archs
    if number % 2 == 0 and number // 2 < len(first):
        return SPACE.canonical(first[number // 2])
    seed = torch.tensor([0 if number % 2 == 0 else 1 + place])
    drawn = _sampling.sample(SPACE, seed, number, 1, stream=_DRAWN)[0, 0]
    if number // 2 % _UNIFORM == _UNIFORM - 1:
        return SPACE.canonical(drawn)
    base = first[int(_noise.bits(seed, number, 1, stream=_BASE)[0]) * len(first) >> 32]
    new = _noise.uniform(seed, number, len(drawn), stream=_SAME)[0] < _NEAR
    return SPACE.canonical(torch.where(new, drawn, base))


@lru_cache(maxsize=32)
def trainings(images: Path, name: str, out: Path) -> PipelineTrainings:
    """All trainings of a set, those that are done read from its file."""
    data = datasets.load(f"npz:{images / name}.npz")
    shape = (data.x_train.shape[1], data.x_train.shape[2], data.x_train.shape[3])
    task = Task(name, shape, len(data.class_names), meta_features.features(data.x_train, data.y_train), LEVELS)
    out.mkdir(parents=True, exist_ok=True)
    found = PipelineTrainings(SPACE, task, data, 0, torch.device("cpu"), LEVELS, UNIT)
    found.cache_to(out / f"{name}.jsonl")
    return found


@main.command()
@click.option("--images", required=True, type=click.Path(path_type=Path), help="A folder of npz data sets.")
@click.option("--count", default=400, show_default=True, help="Configurations a set.")
@click.option("--part", default=0, show_default=True, help="Which of the parts that the sets are dealt to, from 0.")
@click.option(
    "--parts", default=1, show_default=True, help="Processes that share the work, each with a part of the sets."
)
@_out
def work(images: Path, count: int, part: int, parts: int, out: Path) -> None:
    """Train what is missing, in one thread. It can be killed and started again."""
    torch.set_num_threads(1)
    for number in range(count):
        for place, name in list(enumerate(sets(images)))[part::parts]:
            own = trainings(images, name, out)
            arch = SPACE.describe(configuration(number, place))
            levels = LEVELS if number % LONGER == 0 else LEVELS[:1]
            missing = [Key(arch, level) for level in levels if Key(arch, level) not in own.results]
            own.train(missing)
            own.forget_images()  # Of all sets at all sizes they would fill the memory.
            for key in missing:
                found = own.results[key]
                said = f"{found.score:.2f}% {found.seconds:.1f} s {found.error}"
                click.echo(f"{time.strftime('%H:%M:%S')} {number:4} {name} level {key.level} {said}")


@main.command()
@_out
def status(out: Path) -> None:
    """How many trainings of each set are finished, by level."""
    for file in sorted(out.glob("*.jsonl")):
        rows = read(file)
        counts = ", ".join(f"{sum(row['level'] == level for row in rows)} of level {level}" for level in LEVELS)
        click.echo(f"{file.stem:24} {counts}")


def read(file: Path) -> list[dict]:
    """The rows of a set's file, without those that a kill cut short."""
    rows = []
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        rows.append({name: row[name] for name in ("arch", "level", "repeat", "score", "seconds", "error")})
    return rows


@main.command()
@_archive
@_out
def keep(out: Path, archive: Path) -> None:
    """Add the finished trainings of all sets to the archive, without the losses of their epochs."""
    before = {row_key(row): row for row in archived(archive)} if archive.exists() else {}
    here = {
        row_key(row): row
        for file in sorted(out.glob("*.jsonl"))
        for row in ({"set": file.stem} | r for r in read(file))
    }
    # What was kept stays as it is: a training done twice differs in its seconds alone.
    rows = here | before
    text = "".join(f"{json.dumps(rows[key])}\n" for key in sorted(rows))
    with atomic_write(archive) as beside:
        beside.write_bytes(lzma.compress(text.encode(), preset=6 | lzma.PRESET_EXTREME))
    size = archive.stat().st_size / 1e6
    click.echo(f"{archive}: {len(rows)} trainings, {len(rows) - len(before)} of them new, {size:.2f} MB")


@main.command()
@_archive
@_out
def restore(out: Path, archive: Path) -> None:
    """Write the trainings of the archive that the folder lacks."""
    out.mkdir(parents=True, exist_ok=True)
    new = 0
    for name in sorted({row["set"] for row in archived(archive)}):
        file = out / f"{name}.jsonl"
        have = {row_key({"set": name} | row) for row in read(file)} if file.exists() else set()
        lacking = [row for row in archived(archive) if row["set"] == name and row_key(row) not in have]
        with file.open("a", encoding="utf-8") as opened:
            opened.write(
                "".join(
                    f"\n{json.dumps({k: v for k, v in row.items() if k != 'set'} | {'loss': []})}" for row in lacking
                )
            )
        new += len(lacking)
    click.echo(f"{out}: {new} trainings new")


def row_key(row: dict) -> tuple:
    """What tells trainings apart."""
    return row["set"], row["arch"], row["level"], row["repeat"]


@lru_cache(maxsize=1)
def archived(archive: Path) -> tuple[dict, ...]:
    """All trainings of an archive. Raises `UserError` for a file that is none."""
    try:
        lines = lzma.decompress(archive.read_bytes()).decode().splitlines()
        rows = tuple(json.loads(line) for line in lines)
    except (OSError, lzma.LZMAError, ValueError) as error:
        raise UserError(f"'{archive}' is no whole archive of trainings ({error}).") from None
    return tuple(row | {"score": math.nan if row["score"] is None else row["score"]} for row in rows)


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
