"""From images to a tested network, on many data sets: what a search of whole pipelines finds beside what needs no search.

Every arm has the same minutes of the same machine, and its network or model is tested once. A row is written as each arm ends; a
second call trains what is missing.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from nas import baselines, datasets
from nas.evaluators.train import Train
from nas.run import comparison, store, trained_network
from nas.types import FinalTraining
from search_spaces import HasCost

sys.path.insert(0, str(Path(__file__).parent))
import _engineer

DEVELOPMENT = (
    "cifar10",
    "brain_tumor_mri",
    "gtsrb",
    "fashion_mnist",
    "hand_drawn_shapes",
    "fer2013",
    "flowers5",
    "dtd10_textures",
    "grocery_coarse",
)
"""Sets that were looked at while choices were made: their rows are marked."""
SMALL = 4
"""The arm `small` has one in so many of the ResNet cell's parameters."""
LEFT_OUT = ("omniglot_full", "tin_fewshot")


def main() -> None:
    """Run what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", type=Path, help="the folder of .npz files")
    parser.add_argument("--sets", help="comma-separated; by default all of the folder")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--arms", default=",".join(ARMS), help=f"of {', '.join(ARMS)}")
    parser.add_argument("--priors", type=Path, help="a folder of SET.safetensors, each without that set; else no prior")
    parser.add_argument("--out", type=Path, default=Path("runs/data_sets"))
    parser.add_argument("--rows", type=Path, help="the file of rows; by default rows.jsonl in --out")
    parser.add_argument("--table", action="store_true", help="only print the table of what is there")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    names = asked.sets.split(",") if asked.sets else [p.stem for p in sorted(asked.images.glob("*.npz"))]
    names = [name for name in names if name not in LEFT_OUT]
    file = asked.rows or asked.out / "rows.jsonl"
    rows = read(file)
    for seed in range(0 if asked.table else asked.seeds):
        for name in names:
            for arm in asked.arms.split(","):
                key = (name, arm, seed, asked.minutes)
                if key not in rows:
                    began = time.perf_counter()
                    row = dict(zip(("set", "arm", "seed", "minutes"), key)) | ARMS[arm](asked, name, seed)
                    row["seconds"] = round(time.perf_counter() - began, 1)
                    rows[key] = row
                    with file.open("a") as opened:
                        opened.write(f"\n{json.dumps(row)}")
                    print(name, arm, seed, row["test_accuracy"], f"{row['seconds']} s", file=sys.stderr)
    print(table([row for row in rows.values() if row["minutes"] == asked.minutes]))


def read(file: Path) -> dict[tuple, dict[str, Any]]:
    """The finished rows, by set, arm, seed and minutes; a line that a kill cut short is done again."""
    found = {}
    for line in file.read_text().splitlines() if file.exists() else []:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        found[row["set"], row["arm"], row["seed"], row["minutes"]] = row
    return found


def found(asked: argparse.Namespace, name: str, seed: int) -> dict[str, Any]:
    """What the command line hands out, as a user would ask for it: the comparison with simpler models is in its minutes."""
    # Of a folder that lacks the set, the search says that there is no such file: without a prior it would be another arm.
    prior = str(asked.priors / f"{name}.safetensors") if asked.priors else "none"
    return _searched(asked, name, seed, "pipeline", prior)


def cell_search(asked: argparse.Namespace, name: str, seed: int) -> dict[str, Any]:
    """The same where only the cell is searched, with the shipped prior: its tables are of other sets but for five of them."""
    return _searched(asked, name, seed, "nasbench201", "shipped")


def small(asked: argparse.Namespace, name: str, seed: int) -> dict[str, Any]:
    """As `found`, with at most a quarter of the parameters of `resnet`."""
    training, arch = _resnet(asked, name, seed)
    assert isinstance(training.final_space, HasCost)
    most = int(training.final_space.cost(arch, training.task)[0]) // SMALL
    prior = str(asked.priors / f"{name}.safetensors") if asked.priors else "none"
    return _searched(asked, name, seed, "pipeline", prior, "small", "--constraint", f"params<={most}")


def _searched(
    asked: argparse.Namespace, name: str, seed: int, space: str, prior: str, called: str = "", *more: str
) -> dict[str, Any]:
    called = called or ("" if space == "pipeline" else space)
    run = asked.out / f"{name}-{seed}-{asked.minutes:g}{called and '-' + called}"
    shutil.rmtree(run, ignore_errors=True)  # Of a call that was killed: its minutes are spent.
    options = ["--minutes", str(asked.minutes), "--first-seed", str(seed), "-t", f"seed={seed}", "--prior", prior]
    task = ["--task", f"npz:{asked.images / name}.npz", "--space", space, "--name", str(run), *more]
    subprocess.run(
        [sys.executable, "-m", "nas", "search", *task, *options, "--json"], stdout=subprocess.PIPE, check=True
    )
    winner = trained_network.load(run)
    assert winner is not None
    with store.open_run(run) as opened:
        compared = comparison.brief(opened)
    assert compared is not None
    rows = {row["kind"]: [row["valid_score"], row["test_accuracy"], row["parameters"]] for row in compared["rows"]}
    about = {"arch": winner.arch, "members": winner.members, "compared": rows, "sentence": compared["sentence"]}
    return _row(winner.metrics) | about | {"parameters": _count(winner.state_dict)}


def resnet(asked: argparse.Namespace, name: str, seed: int) -> dict[str, Any]:
    """The ResNet cell by the default final training, with as many epochs as fill the minutes."""
    training, arch = _resnet(asked, name, seed)
    share = 60 * asked.minutes / training.final_seconds(arch)
    winner = training.final_networks([FinalTraining(arch, share=share)])[0]
    return _row(winner.metrics) | {"epochs": len(winner.metrics["loss"]), "parameters": _count(winner.state_dict)}


def _resnet(asked: argparse.Namespace, name: str, seed: int) -> tuple[Train, Tensor]:
    """The training of cells on a set, and the ResNet cell `[D]`."""
    training = Train.of(f"npz:{asked.images / name}.npz", seed=str(seed))
    arch = training.reference(torch.zeros(len(training.space.choices)).long())
    assert arch is not None
    return training, arch


def engineer(asked: argparse.Namespace, name: str, seed: int) -> dict[str, Any]:
    """A small ResNet in PyTorch, tuned by Optuna in half of the time."""
    images = _images(asked, name)
    seen, chosen, parameters = _engineer.tuned(images, 60 * asked.minutes, seed)
    return _of_answers(seen, images["test"][1]) | {"chosen": chosen._asdict(), "parameters": parameters}


def learned(asked: argparse.Namespace, name: str, seed: int) -> dict[str, Any]:
    """The best of the baselines of scikit-learn, which have no seed."""
    images = _images(asked, name)
    best = baselines.fit_best(images, 60 * asked.minutes)
    return _of_answers(best.seen, images["test"][1]) | {"chosen": best.name}


ARMS: dict[str, Callable[[argparse.Namespace, str, int], dict[str, Any]]] = {
    "found": found, "cells": cell_search, "resnet": resnet, "engineer": engineer, "scikit-learn": learned,
    "small": small,
}  # fmt: skip


def _images(asked: argparse.Namespace, name: str) -> dict[str, tuple[Tensor, Tensor]]:
    data = datasets.load(f"npz:{asked.images / name}.npz")
    return {
        "train": (data.x_train, data.y_train),
        "valid": (data.x_valid, data.y_valid),
        "test": (data.x_test, data.y_test),
    }


def _row(metrics: dict[str, Any]) -> dict[str, Any]:
    return _of_answers(torch.tensor(metrics["test_predictions"]), torch.tensor(metrics["test_labels"]))


def _of_answers(seen: Tensor, truth: Tensor) -> dict[str, Any]:
    hits = seen == truth
    accuracy = 100 * hits.double().mean().item()
    return {"test_accuracy": round(accuracy, 3), "hits": "".join(map(str, hits.int().tolist()))}


def _count(state_dict: dict[str, Tensor]) -> int:
    return sum(
        v.numel() for name, v in state_dict.items() if not name.endswith(("running_mean", "running_var", "tracked"))
    )


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: a line for each set, each arm's mean over seeds, and whether what is found is better or worse beyond chance.

    Per set and arm, each test image has the share of seeds that name it rightly; a paired t test over the images compares two.
    """
    arms = [arm for arm in ARMS if any(row["arm"] == arm for row in rows)]
    names = sorted({row["set"] for row in rows})
    head = ["data set", *arms, *(f"found - {arm}" for arm in arms[1:])]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    gains: dict[str, dict[str, float]] = {arm: {} for arm in arms[1:]}
    verdicts: dict[str, list[str]] = {arm: [] for arm in arms[1:]}
    for name in names:
        hits = {arm: found for arm in arms if (found := _hits(rows, name, arm)) is not None}
        cells = [f"{100 * hits[arm].mean():.1f}" if arm in hits else "" for arm in arms]
        for arm in arms[1:]:
            if arm not in hits or arms[0] not in hits:
                cells.append("")
                continue
            gain = 100 * (hits[arms[0]] - hits[arm])
            p = stats.ttest_rel(hits[arms[0]], hits[arm]).pvalue if gain.any() else 1.0
            verdict = "" if not p < 0.05 else "better" if gain.mean() > 0 else "worse"
            gains[arm][name] = gain.mean()
            verdicts[arm].append(verdict)
            cells.append(f"{gain.mean():+.1f} {verdict}".strip())
        lines.append("| " + " | ".join([f"{name}{' *' if name in DEVELOPMENT else ''}", *cells]) + " |")
    for arm, by_set in gains.items():
        if not by_set:
            continue
        better, worse = (verdicts[arm].count(word) for word in ("better", "worse"))
        unseen = [gain for name, gain in by_set.items() if name not in DEVELOPMENT]
        lines.append(
            f"\nfound - {arm}: {_mean([*by_set.values()])}; better beyond chance on {better}, worse on {worse}. "
            f"Without the marked sets {_mean(unseen)}."
        )
    kept = [small >= plain - 1 for small, plain in _pairs(rows, "small", "resnet")]
    if kept:
        lines.append(
            f"\nA network of at most 1/{SMALL} of the ResNet cell's parameters has its accuracy less one point on {sum(kept)} of "
            f"{len(kept)} sets."
        )
    return "\n".join([*lines, "\n\\* looked at while choices were made."])


def _mean(gains: list[float]) -> str:
    error = statistics.stdev(gains) / len(gains) ** 0.5 if len(gains) > 1 else float("nan")
    return f"{statistics.mean(gains) if gains else 0:+.2f} points, standard error {error:.2f}, over {len(gains)} sets"


def _pairs(rows: list[dict[str, Any]], first: str, second: str) -> list[tuple[float, float]]:
    """The accuracies of two arms in percent, means over seeds, of each set that has both."""
    names = sorted({row["set"] for row in rows})
    both = [(_hits(rows, name, first), _hits(rows, name, second)) for name in names]
    return [(100 * float(a.mean()), 100 * float(b.mean())) for a, b in both if a is not None and b is not None]


def _hits(rows: list[dict[str, Any]], name: str, arm: str) -> np.ndarray | None:
    """Of each test image the share of seeds that are right, `[N]`; None where the arm was not run."""
    own = [[int(hit) for hit in row["hits"]] for row in rows if (row["set"], row["arm"]) == (name, arm)]
    return np.mean(own, 0) if own else None


if __name__ == "__main__":
    main()
