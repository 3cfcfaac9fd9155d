"""Trains a prior for each declared split and prints one table: evaluations to the best 0.1% and regret, beside cold searches.

Called by transfer.sh: SEEDS EVALS JOBS [SPLIT ...]; without splits, all that leave something out.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy

from nas import comparison, landscapes, report

COLD = ("random_search", "evolution", "local_search", "bayesian", "in_context")
OUT = Path("runs/transfer")
STEPS = ("--describe", "500", "--read", "0", "--reinforce", "0")
"""The shipped prior's network does not take part by its own predictions, so that the leave-one-out ones need not train it."""
AT = (10, 30, 100)


def prior(split: str) -> Path:
    folder = OUT / f"prior-{split}"
    if not (folder / "prior.safetensors").is_file():
        subprocess.run([sys.executable, "-m", "nas", "meta-train", "--split", split, "--out", str(folder), *STEPS], check=True)
    return folder / "prior.safetensors"


def controllers(split: str) -> list[str]:
    warm = f"in_context:prior={prior(split)}"
    portfolio = [] if split == "natsbench-size" else ["portfolio"]
    return [warm, *COLD, *portfolio]


def line(cell: report.Cell) -> str:
    row = report.row(cell)
    top = row["evaluations_to_top"]
    count = ["never" if top[q] is None else f"{top[q]:.0f}" for q in ("q25", "median", "q75")]
    left = [f"{cell.optimum - numpy.median(cell.best[:, min(at, cell.best.shape[1]) - 1]):.3f}" for at in AT]
    optimum = row["evaluations_to_optimum"]["median"]
    name = row["controller"].split(":")[0] + (" warm" if ":prior=" in row["controller"] else "")
    return f"| {row['task']} | {name} | {count[1]} | {count[0]} to {count[2]} | {top['reached']:.0%} | {'never' if optimum is None else f'{optimum:.0f}'} | {' | '.join(left)} |"


def main() -> None:
    seeds, evals, jobs, *wanted = sys.argv[1:]
    names = wanted or [name for name, split in landscapes.splits().items() if split.leave]
    print("| task | controller | to the best 0.1% | quartiles | reached | to the optimum | regret at 10 | at 30 | at 100 |")
    print("|---|---|---:|---:|---:|---:|---:|---:|---:|")
    for name in names:
        asks = comparison.asks(",".join(landscapes.split(name).test), controllers(name), (), int(seeds), int(evals), None, 1)
        for cell in comparison.make(asks, OUT, int(jobs)):
            print(line(cell), flush=True)


if __name__ == "__main__":
    main()
