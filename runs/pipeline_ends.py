"""What a final training should be unlike a short one in: changes of a good pipeline, trained long, on many data sets.

The base is the ResNet-8 shape with crops, smoothed labels and averaged weights, with mirrors where trainings of `pipelines.py` at
its higher level had more right with them. Each change is trained with the same compute on training images alone, and scored by the
validation images. A training that is done is kept in a file of rows, and not done again. One thread.
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
from nas.evaluators._pipeline_trainings import PipelineTrainings
from search_spaces import Task
from search_spaces.pipeline import Pipeline

sys.path.insert(0, str(Path(__file__).parent))
import pipelines

SPACE = Pipeline()
BASE = "base"
CHANGES: dict[str, str] = {
    BASE: "",
    "stem 1": "stem=1",
    "width 32": "width=32",
    "RandAugment": "augment=yes",
    "mixup, cutout": "mixup=0.2 cutout=0.25",
    "other mirrors": "",
}
"""Settings that differ from the base's; the last takes mirrors where the base has none, and none where it has them."""
_COMMON = {"cells": "0", "stem": "2", "crop": "0.125", "smoothing": "0.1", "average": "0.3"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", type=Path, help="the folder of .npz files")
    parser.add_argument("--sets", help="comma-separated; by default all of the folder")
    parser.add_argument("--changes", default=",".join(name.replace(",", ";") for name in CHANGES))
    parser.add_argument("--compute", type=float, default=1024.0, help="10^9 multiply-accumulates of each training")
    parser.add_argument("--part", type=int, default=0, help="which of the parts that the trainings are dealt to")
    parser.add_argument("--parts", type=int, default=1, help="processes that share the work")
    parser.add_argument("--archive", type=Path, default=Path("runs/pipelines.jsonl.xz"))
    parser.add_argument("--rows", type=Path, default=Path("runs/pipeline_ends.jsonl"))
    parser.add_argument("--table", action="store_true", help="only print the table of what is there")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    names = asked.sets.split(",") if asked.sets else pipelines.sets(asked.images)
    changes = [name.replace(";", ",") for name in asked.changes.split(",")]
    for change, name in [] if asked.table else [(c, n) for c in changes for n in names][asked.part :: asked.parts]:
        if (name, change, asked.compute) in read(asked.rows):
            continue
        row = {"set": name, "change": change, "compute": asked.compute} | train(asked, name, change)
        with asked.rows.open("a") as opened:
            opened.write(f"\n{json.dumps(row)}")
        print(name, change, row["score"], f"{row['seconds']} s", file=sys.stderr)
    print(table([row for row in read(asked.rows).values() if row["compute"] == asked.compute]))


def read(file: Path) -> dict[tuple[str, str, float], dict[str, Any]]:
    """The finished rows by set, change and compute."""
    rows = [json.loads(line) for line in file.read_text().splitlines() if line] if file.exists() else []
    return {(row["set"], row["change"], row["compute"]): row for row in rows}


def pipeline(archive: Path, name: str, change: str) -> Tensor:
    """The architecture `[D]` of a change on a data set."""
    mirrors = has_mirrors(archive, name) != (change == "other mirrors")
    chosen = _COMMON | {"mirror": "yes" if mirrors else "no", "twice": "yes" if mirrors else "no"}
    chosen |= dict(word.split("=") for word in CHANGES[change].split())
    cell = SPACE.describe(SPACE.reference_arch).split()[0]
    return SPACE.canonical(SPACE.parse(" ".join([cell, *(f"{key}={value}" for key, value in chosen.items())])))


def has_mirrors(archive: Path, name: str) -> bool:
    """Whether ResNet-8 shapes with mirrors have more right on a data set, in the mean, in trainings at the higher level."""
    own = [
        row for row in pipelines.archived(archive) if row["set"] == name and row["level"] == pipelines.LEVELS[-1]
    ]
    scores = {
        word: [row["score"] for row in own if "cells=0" in row["arch"] and f"mirror={word}" in row["arch"]]
        for word in ("yes", "no")
    }
    return statistics.mean(scores["yes"]) > statistics.mean(scores["no"])


def train(asked: argparse.Namespace, name: str, change: str) -> dict[str, Any]:
    """One training in bfloat16, and its validation accuracy in percent."""
    data = datasets.load(f"npz:{asked.images / name}.npz")
    shape = (data.x_train.shape[1], data.x_train.shape[2], data.x_train.shape[3])
    features = meta_features.features(data.x_train, data.y_train)
    task = Task(name, shape, len(data.class_names), features, pipelines.LEVELS)
    own = PipelineTrainings(
        SPACE, task, data, 0, torch.device("cpu"), pipelines.LEVELS, pipelines.UNIT, precision="bf16"
    )
    arch = SPACE.describe(pipeline(asked.archive, name, change))
    job = own.job(arch, 1e9 * asked.compute)
    job = job._replace(scored=own.images(datasets.resize(data.x_valid, job.task.input_shape[1]), data.y_valid))
    done = training.train_alone(job, torch.device("cpu"))
    assert done.logits is not None
    score = 100 * (done.logits.argmax(-1) == data.y_valid).double().mean().item()
    found = {"arch": arch, "score": round(score, 3), "images": len(data.y_valid), "epochs": job.recipe.epochs}
    return found | {"seconds": round(done.seconds, 1)}


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: the validation accuracy of the base, and in points what each change adds."""
    scores = {(row["set"], row["change"]): row["score"] for row in rows}
    changes = [name for name in CHANGES if any(row["change"] == name for row in rows)]
    lines = [f"| data set | {' | '.join(changes)} |", "|---|" + "---:|" * len(changes)]
    gains: dict[str, list[float]] = {change: [] for change in changes[1:]}
    for name in sorted({name for name, change in scores if change == BASE}):
        cells = [f"{scores[name, BASE]:.1f}"]
        for change in changes[1:]:
            gain = scores[name, change] - scores[name, BASE] if (name, change) in scores else None
            gains[change] += [] if gain is None else [gain]
            cells.append("" if gain is None else f"{gain:+.1f}")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    said = [
        f"{statistics.mean(values):+.1f} ± {statistics.stdev(values) / len(values) ** 0.5:.1f} ({len(values)})"
        if len(values) > 1
        else ""
        for values in gains.values()
    ]
    return "\n".join([*lines, f"| mean ± standard error (sets) | | {' | '.join(said)} |"])


if __name__ == "__main__":
    main()
