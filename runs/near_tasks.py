"""Evaluations to one of the best 0.1% on tasks near to those that a prior knows: a known dataset on a device held out, and an
accuracy whose dataset is held out. `transfer_bo` with and without what it copies first, and portfolios of the same priors.

Called by near_tasks.sh: SEEDS EVALS JOBS.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from nas.compare import comparison, statistics, summary
from nas.meta import splits
from runs import split_priors

OUT = Path("runs/near_tasks")
SPLITS = ("devices", "more-devices", "cifar10", "cifar100", "imagenet")
CONTROLLERS = {
    "transfer_bo": "transfer_bo:prior={prior}",
    "without copying": "transfer_bo:prior={prior}:num_copied=0",
    "greedy": "portfolio:prior={prior}",
    "by families": "portfolio:prior={prior}:order=families",
    "mean rank": "portfolio:prior={prior}:order=mean",
    "fastest": "portfolio:prior={prior}:order=fastest",
}


def prior(split: str) -> Path:
    """By the recipe of the prior that ships, but for the cell encoder, which nothing reads in the spaces of these tables."""
    path = OUT / f"prior-{split}" / "prior.safetensors"
    if not path.is_file():
        command = [sys.executable, "-m", "nas", *split_priors.recipe(), "--split", split, "--out", str(path.parent)]
        subprocess.run([*command, "--learner-option", "pca_steps=0"], check=True, stdout=subprocess.DEVNULL)
    return path


def count(one: summary.TrialSummary) -> float | None:
    """The median over the searches; None where fewer than half of them found one."""
    return statistics.quartiles(summary.first_reached(one, one.top_threshold))[1]


def main() -> None:
    seeds, evals, jobs = (int(x) for x in sys.argv[1:4])
    print(f"| task | {' | '.join(CONTROLLERS)} |\n|---|{'---:|' * len(CONTROLLERS)}", flush=True)
    groups: dict[str, list[list[float | None]]] = {"devices held out": [], "accuracy held out": []}
    for split in SPLITS:
        names = [text.format(prior=prior(split)) for text in CONTROLLERS.values()]
        for task in splits.split(split).test:
            specs = comparison.specs(task, names, (), seeds, evals, None, 1)
            found = [count(one) for one in comparison.make(specs, OUT, jobs)]
            groups["devices held out" if "+" in task else "accuracy held out"].append(found)
            _print_row(task.replace("nasbench201-hardware/", "").replace("nasbench201/", ""), found)
    for name, rows in groups.items():
        means = [statistics.geometric_mean(list(column), evals) for column in zip(*rows)]
        print(f"| **geometric mean, {name} ({len(rows)})** | {' | '.join(f'{mean:.1f}' for mean in means)} |")


def _print_row(task: str, found: list[float | None]) -> None:
    print(f"| {task} | {' | '.join(statistics.count_text(x) for x in found)} |", flush=True)


if __name__ == "__main__":
    main()
