"""What a final training should be unlike a short one in: changes of a good pipeline, trained long, on many data sets.

The base is the ResNet-8 shape with crops, smoothed labels and averaged weights, with mirrors where trainings of `pipelines.py` at
its higher level had more right with them. Each change is trained with the same compute on training images alone. The validation
images score it, alone and in an ensemble with the base: by the mean of both networks' logarithms of probabilities. A
training that is done is kept in a file of rows, and not done again; its logits are kept in a folder. One thread.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nas import datasets, training
from nas.datasets import meta_features
from nas.evaluators._pipeline_trainings import Key, PipelineTrainings
from search_spaces import Task
from search_spaces.pipeline import Pipeline

sys.path.insert(0, str(Path(__file__).parent))
import data_sets
import pipelines

SPACE = Pipeline()
BASE, SEED, MIRRORS, END = "base", "another seed", "other mirrors", "end"
SHORT = 28.0
"""10^9 multiply-accumulates of the lower level of trainings that say what mirror images change."""
CHANGES: dict[str, str] = {
    BASE: "",
    SEED: "",
    "stem 1": "stem=1",
    "width 32": "width=32",
    "RandAugment": "augment=yes",
    "mixup, cutout": "mixup=0.2 cutout=0.25",
    MIRRORS: "",
    END: "augment=yes",
    f"{END}, stem 1": "augment=yes stem=1",
    f"{END}, width 32": "augment=yes width=32",
}
"""Settings that differ from the base's. `other mirrors` has mirrors where the base has none, and none where it has them; the last
three have them where a search's final trainings do."""
ENDS = tuple(name for name in CHANGES if name.startswith(END))
OFTEN = 0.9
"""The share right on mirror images from which final trainings have mirrors."""
_SEED = 409
"""What another seed is, as `PipelineJobs.seed_of` counts them."""
_CELL = SPACE.describe(SPACE.reference_arch).split()[0]
_COMMON = {"cells": "0", "stem": "2", "crop": "0.125", "smoothing": "0.1", "average": "0.3"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", type=Path, help="the folder of .npz files")
    parser.add_argument("--sets", help="comma-separated; by default all of the folder")
    parser.add_argument("--changes", default=",".join(n.replace(",", ";") for n in CHANGES if n not in ENDS))
    parser.add_argument("--compute", type=float, default=1024.0, help="10^9 multiply-accumulates of each training")
    parser.add_argument("--part", type=int, default=0, help="which of the parts that the trainings are dealt to")
    parser.add_argument("--parts", type=int, default=1, help="processes that share the work")
    parser.add_argument("--archive", type=Path, default=Path("runs/pipelines.jsonl.xz"))
    parser.add_argument("--rows", type=Path, default=Path("runs/pipeline_ends.jsonl"))
    parser.add_argument("--out", type=Path, default=Path("runs/pipeline_ends"), help="the folder of logits")
    parser.add_argument("--table", action="store_true", help="only print the table of what is there")
    parser.add_argument("--sizes", action="store_true", help="of larger networks alone, whatever the compute")
    parser.add_argument(
        "--mirrored",
        action="store_true",
        help="only print what short trainings say of mirror images, half a minute a set",
    )
    asked = parser.parse_args()
    torch.set_num_threads(1)
    names = asked.sets.split(",") if asked.sets else pipelines.sets(asked.images)
    if asked.mirrored:
        for name in names:
            print(f"{name}: {mirrored_share(asked, name):.1%} as much is right on mirror images", flush=True)
        return
    changes = [name.replace(";", ",") for name in asked.changes.split(",")]
    changes = list(ENDS) if asked.sizes else changes
    for change, name in [] if asked.table else [(c, n) for c in changes for n in names][asked.part :: asked.parts]:
        if (name, change, asked.compute) in read(asked.rows):
            continue
        row = {"set": name, "change": change, "compute": asked.compute} | train(asked, name, change)
        row["with_base"] = with_base(asked, name, change)
        with asked.rows.open("a") as opened:
            opened.write(f"\n{json.dumps(row)}")
        print(name, change, row["score"], f"{row['seconds']} s", file=sys.stderr)
    rows = read(asked.rows).values()
    print(sizes(list(rows)) if asked.sizes else table([row for row in rows if row["compute"] == asked.compute]))


def read(file: Path) -> dict[tuple[str, str, float], dict[str, Any]]:
    """The finished rows by set, change and compute."""
    rows = [json.loads(line) for line in file.read_text().splitlines() if line] if file.exists() else []
    return {(row["set"], row["change"], row["compute"]): row for row in rows}


def pipeline(asked: argparse.Namespace, name: str, change: str) -> Tensor:
    """The architecture `[D]` of a change on a data set."""
    mirrors = has_mirrors(asked.archive, name) != (change == MIRRORS)
    if change in ENDS:
        mirrors = mirrored_share(asked, name) >= OFTEN
    chosen = _COMMON | {"mirror": "yes" if mirrors else "no", "twice": "yes" if mirrors else "no"}
    chosen |= dict(word.split("=") for word in CHANGES[change].split())
    return SPACE.canonical(SPACE.parse(" ".join([_CELL, *(f"{key}={value}" for key, value in chosen.items())])))


def has_mirrors(archive: Path, name: str) -> bool:
    """Whether ResNet-8 shapes with mirrors have more right on a data set, in the mean, in trainings at the higher level."""
    own = [row for row in pipelines.archived(archive) if row["set"] == name and row["level"] == pipelines.LEVELS[-1]]
    scores = {
        word: [row["score"] for row in own if "cells=0" in row["arch"] and f"mirror={word}" in row["arch"]]
        for word in ("yes", "no")
    }
    return statistics.mean(scores["yes"]) > statistics.mean(scores["no"])


def trainings(asked: argparse.Namespace, name: str, unit: float) -> PipelineTrainings:
    """Those of a data set, in bfloat16."""
    data = datasets.load(f"npz:{asked.images / name}.npz")
    shape = (data.x_train.shape[1], data.x_train.shape[2], data.x_train.shape[3])
    features = meta_features.features(data.x_train, data.y_train)
    task = Task(name, shape, len(data.class_names), features, pipelines.LEVELS)
    return PipelineTrainings(SPACE, task, data, 0, torch.device("cpu"), pipelines.LEVELS, unit, precision="bf16")


def mirrored_share(asked: argparse.Namespace, name: str) -> float:
    """What a search knows of mirror images after the base without them at its higher level."""
    own = trainings(asked, name, 1e9 * SHORT)
    arch = SPACE.describe(SPACE.parse(" ".join([_CELL, *(f"{key}={value}" for key, value in _COMMON.items())])))
    own.train([Key(arch, pipelines.LEVELS[-1])])
    return own.mirrored_share()


def train(asked: argparse.Namespace, name: str, change: str) -> dict[str, Any]:
    """One training, and its validation accuracy in percent."""
    own = trainings(asked, name, pipelines.UNIT)
    data = own.data
    arch = SPACE.describe(pipeline(asked, name, change))
    job = own.job(arch, 1e9 * asked.compute)
    if change == SEED:  # Not a repeat, which would have a split of its own.
        job = job._replace(recipe=job.recipe._replace(seed=_SEED))
    job = job._replace(scored=own.images(datasets.resize(data.x_valid, job.task.input_shape[1]), data.y_valid))
    done = training.train_alone(job, torch.device("cpu"))
    assert done.logits is not None
    asked.out.mkdir(parents=True, exist_ok=True)
    torch.save({"logits": done.logits, "y": data.y_valid}, kept(asked, name, change))
    found = {"arch": arch, "score": score(done.logits, data.y_valid), "images": len(data.y_valid)}
    return found | {"epochs": job.recipe.epochs, "seconds": round(done.seconds, 1)}


def kept(asked: argparse.Namespace, name: str, change: str) -> Path:
    return asked.out / f"{name}-{list(CHANGES).index(change)}-{asked.compute:g}.pt"


def score(logits: Tensor, y: Tensor) -> float:
    """Accuracy in percent."""
    return round(100 * (logits.argmax(-1) == y).double().mean().item(), 3)


def with_base(asked: argparse.Namespace, name: str, change: str) -> float | None:
    """The score of an ensemble of a change and the base; None of the base, and where its logits are gone."""
    files = [kept(asked, name, one) for one in (BASE, change)]
    if change == BASE or not files[0].exists():
        return None
    base, changed = (torch.load(file) for file in files)
    return score(base["logits"].log_softmax(-1) + changed["logits"].log_softmax(-1), base["y"])


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: the validation accuracy of the base, and in points what each change adds, alone and with the base."""
    found = {(row["set"], row["change"]): row for row in rows}
    changes = [name for name in CHANGES if any(row["change"] == name for row in rows) and name not in (BASE, *ENDS)]
    names_of = {MIRRORS: "mirrors"}
    heads = [f"{names_of.get(change, change)}{both}" for change in changes for both in ("", ", with the base")]
    lines = [f"| data set | {BASE} | {' | '.join(heads)} |", "|---|---:|" + "---:|" * len(heads)]
    gains: dict[str, dict[str, float]] = {head: {} for head in heads}
    for name in sorted({name for name, change in found if change == BASE}):
        base = found[name, BASE]["score"]
        for change in changes:
            row = found.get((name, change), {"score": None, "with_base": None, "arch": ""})
            # Of a base with mirrors the change has none: the gain is that of mirrors all the same.
            sign, called = (-1 if change == MIRRORS and "mirror=no" in row["arch"] else 1), names_of.get(change, change)
            for head, value in (called, row["score"]), (f"{called}, with the base", row["with_base"]):
                if value is not None:
                    gains[head][name] = sign * (value - base)
        cells = [f"{gains[head][name]:+.1f}" if name in gains[head] else "" for head in heads]
        lines.append(f"| {name}{' *' if name in data_sets.DEVELOPMENT else ''} | {base:.1f} | {' | '.join(cells)} |")
    for title, names in ("all", None), ("development sets, *", data_sets.DEVELOPMENT):
        means = [
            _mean([gain for name, gain in own.items() if names is None or name in names]) for own in gains.values()
        ]
        lines.append(f"| mean ± standard error (sets), {title} | | {' | '.join(means)} |")
    return "\n".join(lines)


def sizes(rows: list[dict[str, Any]]) -> str:
    """Markdown: the validation accuracy of networks of three sizes after equal compute, with their epochs in brackets."""
    found = {(row["set"], row["compute"], row["change"]): row for row in rows if row["change"] in ENDS}
    heads = ("stem of stride 2", "stem of stride 1", "stem of stride 2, 32 channels")
    lines = [f"| data set | compute | {' | '.join(heads)} |", "|---|---:|---:|---:|---:|"]
    for name, compute in sorted({key[:2] for key in found}, key=lambda key: key[::-1]):
        each = [found.get((name, compute, change)) for change in ENDS]
        cells = [f"{row['score']:.1f} ({row['epochs']})" if row else "" for row in each]
        lines.append(f"| {name} | {compute:,.0f} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _mean(values: list[float]) -> str:
    if len(values) < 2:
        return ""
    return f"{statistics.mean(values):+.1f} ± {statistics.stdev(values) / len(values) ** 0.5:.1f} ({len(values)})"


if __name__ == "__main__":
    main()
