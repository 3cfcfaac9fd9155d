"""What more compute is worth to a recipe: validation accuracy after each of several amounts, on several data sets.

A training that is done is kept, and not done again. One thread.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from torch import Tensor

from nas import datasets
from nas.datasets import meta_features
from nas.evaluators._pipeline_trainings import Key, PipelineTrainings
from search_spaces import Task
from search_spaces.pipeline import Pipeline

SPACE = Pipeline()
LEVEL = 8
"""Of `PipelineTrainings`: networks are validated on up to 2,048 images."""
GOOD = "crop=0.125 smoothing=0.1 average=0.3 mirror=yes twice=yes"
RECIPES = {"16 channels, stem 2": f"stem=2 {GOOD}", "16 channels, stem 1": GOOD}
SETS = "grocery_coarse,dtd10_textures,flowers5,cifar10,gtsrb,fer2013"
"""Development sets of `runs/data_sets.py`."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", type=Path, help="the folder of .npz files")
    parser.add_argument("--sets", default=SETS)
    parser.add_argument("--compute", default="224,900", help="10^9 multiply-accumulates of each training")
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--out", type=Path, default=Path("runs/pipeline_compute"))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    amounts = [float(text) for text in asked.compute.split(",")]
    print(
        f"| data set | recipe | {' | '.join(f'{amount:g}' for amount in amounts)} |\n|---|---|{'---:|' * len(amounts)}"
    )
    cell = SPACE.describe(SPACE.reference_arch).split()[0]
    for name in asked.sets.split(","):
        for recipe, settings in RECIPES.items():
            arch = SPACE.canonical(SPACE.parse(f"{cell} {settings}"))
            found = [score(asked, name, arch, amount) for amount in amounts]
            print(f"| {name} | {recipe} | {' | '.join(f'{one:.1f}' for one in found)} |", flush=True)


def score(asked: argparse.Namespace, name: str, arch: Tensor, amount: float) -> float:
    """The validation accuracy after so much compute, in percent."""
    data = datasets.load(f"npz:{asked.images / name}.npz")
    shape = (data.x_train.shape[1], data.x_train.shape[2], data.x_train.shape[3])
    features = meta_features.features(data.x_train, data.y_train)
    task = Task(name, shape, len(data.class_names), features, (LEVEL,))
    done = PipelineTrainings(
        SPACE, task, data, 0, torch.device("cpu"), (LEVEL,), amount * 1e9 / LEVEL, precision=asked.precision
    )
    asked.out.mkdir(parents=True, exist_ok=True)
    done.cache_to(asked.out / f"{name}-{amount:g}.jsonl")
    key = Key(SPACE.describe(arch), LEVEL)
    done.train([key])
    print(name, f"{amount:g}", done.results[key].seconds, file=sys.stderr)
    return done.results[key].score


if __name__ == "__main__":
    main()
