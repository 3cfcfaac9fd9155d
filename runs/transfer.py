"""Trains a prior for each declared split and prints one table: evaluations to the best 0.1% and regret, beside cold searches.

Called by transfer.sh: SEEDS EVALS JOBS [SPLIT ...]; without splits, all that leave something out, and the shipped prior on tasks
that it was not trained on.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy

from nas import comparison, families, landscapes, priors, report

COLD = ("random_search", "evolution", "local_search", "bayesian", "portfolio")
OUT = Path("runs/transfer")
STEPS = ("--describe", "500", "--read", "0", "--reinforce", "0")
"""The shipped prior's network does not take part by its own predictions, so that the leave-one-out ones need not train it."""
ASIDE = "own201/digits@4,own201/rsscn7_aerial@4"
"""Tasks whose table is younger than the shipped prior."""
AT = (10, 30, 100)
SEEN = ("ImageNet", "pixel3", "ninapro", "square-2.0", "square-4.0", "fgsm-255")
"""Not in the development half, but looked at while the bank was mended."""


def prior(split: str) -> Path:
    folder = OUT / f"prior-{split}"
    if not (folder / "prior.safetensors").is_file():
        subprocess.run([sys.executable, "-m", "nas", "meta-train", "--split", split, "--out", str(folder), *STEPS], check=True)
    return folder / "prior.safetensors"


def group(task: str) -> str:
    """Whether the bank's settings were chosen on a task: `dev`, every other one of a family; `seen`; or `kept`, the rest."""
    members = sorted(families.families().get(families.family_of(task), []))
    if any(name in task for name in SEEN):
        return "seen"
    at_random = ("robustness", "transnas-micro")
    chosen = families.family_of(task) in at_random and members.index(task) % 2 == 0
    return "dev" if chosen or task == "nasbench201/cifar10@200" else "kept"


def line(cell: report.Cell) -> str:
    row = report.row(cell)
    top = row["evaluations_to_top"]
    count = ["never" if top[q] is None else f"{top[q]:.0f}" for q in ("q25", "median", "q75")]
    left = [f"{cell.optimum - numpy.median(cell.best[:, min(at, cell.best.shape[1]) - 1]):.3f}" for at in AT]
    optimum = row["evaluations_to_optimum"]["median"]
    name = row["controller"].split(":")[0]
    return (
        f"| {row['task']} | {group(row['task'])} | {name} | {count[1]} | {count[0]} to {count[2]} | {top['reached']:.0%} "
        f"| {'never' if optimum is None else f'{optimum:.0f}'} | {' | '.join(left)} |"
    )


def block(tasks: str, path: Path, seeds: int, evals: int, jobs: int) -> None:
    asks = comparison.asks(tasks, [f"in_context:prior={path}", *COLD], (), seeds, evals, None, 1)
    for cell in comparison.make(asks, OUT, jobs):
        print(line(cell), flush=True)


def main() -> None:
    seeds, evals, jobs = (int(x) for x in sys.argv[1:4])
    print("| task | group | controller | to the best 0.1% | quartiles | reached | to the optimum | regret at 10 | at 30 | at 100 |")
    print("|---|---|---|---:|---:|---:|---:|---:|---:|---:|")
    wanted = sys.argv[4:] or [name for name, split in landscapes.splits().items() if split.leave]
    for name in wanted:
        block(",".join(landscapes.split(name).test), prior(name), seeds, evals, jobs)
    if not sys.argv[4:]:
        block(ASIDE, priors.SHIPPED, seeds, evals, jobs)


if __name__ == "__main__":
    main()
