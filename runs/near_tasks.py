"""Evaluations to one of the best 0.1% on tasks near to those that a prior knows: a known dataset on a device held out, and an
accuracy whose dataset is held out. `transfer_bo` with and without what it copies first, and portfolios of the same priors.

Called by near_tasks.sh: SEEDS EVALS JOBS [development]. The latter has what the number of copies and the order were chosen by:
devices that no other table holds out.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from nas import tasks
from nas.compare import comparison, statistics, summary, trial_cache
from nas.compare.trial import TrialSpec
from nas.meta import splits
from nas.tasks import test_scores
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


FIRST = ("transfer_bo", "without copying")
COPIES = (0, 1, 2, 4, 8)


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
    controllers, tried = CONTROLLERS, SPLITS
    if sys.argv[4:] == ["development"]:
        copies = {f"{count} copied": f"transfer_bo:prior={{prior}}:num_copied={count}" for count in COPIES}
        controllers, tried = copies | {n: c for n, c in CONTROLLERS.items() if n not in FIRST}, ("development-devices",)
    print(f"| task | {' | '.join(controllers)} |\n|---|{'---:|' * len(controllers)}", flush=True)
    groups: dict[str, list[list[float | None]]] = {"devices held out": [], "accuracy held out": []}
    lost: dict[str, list[float]] = {}
    for split in tried:
        names = [text.format(prior=prior(split)) for text in controllers.values()]
        for task in splits.split(split).test:
            specs = comparison.specs(task, names, (), seeds, evals, None, 1)
            found = [count(one) for one in comparison.make(specs, OUT, jobs)]
            lost[task] = [first_penalty(spec) for spec in specs]
            groups["devices held out" if "+" in task else "accuracy held out"].append(found)
            _print_row(task, [statistics.count_text(x) for x in found])
    for name, rows in groups.items():
        if not rows:
            continue
        means = [statistics.geometric_mean(list(column), evals) for column in zip(*rows)]
        print(f"| **geometric mean, {name} ({len(rows)})** | {' | '.join(f'{mean:.1f}' for mean in means)} |")

    print("\nPoints that the first proposal loses to its limit:\n")
    for task in filter(lambda name: "+" in name, lost):
        _print_row(task, [f"{points:.1f}" for points in lost[task]])


def first_penalty(spec: TrialSpec) -> float:
    """Points that the first proposal loses to its constraints, the mean over searches."""
    first = trial_cache.read(spec.path(OUT)).index[:, 0].long()
    return float(test_scores.points(tasks.find(spec.task))[first].mean())


def _print_row(task: str, cells: list[str]) -> None:
    short = task.replace("nasbench201-hardware/", "").replace("nasbench201/", "")
    print(f"| {short} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
