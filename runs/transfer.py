"""Trains a prior for each declared split and prints one table: evaluations to the best 0.1% and regret, beside cold searches.

Called by transfer.sh: SEEDS EVALS JOBS [SPLIT ...]; without splits, all that leave something out. Split `shipped` is tried with
the prior that ships. NAS_COLD=0 leaves the cold searches out, as no prior changes them. At the end the geometric means by group.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy

from nas.compare import comparison, statistics, summary
from nas.meta import splits
from nas.run import priors
from nas.tasks import families

EVERY_COLD = ("random_search", "evolution", "local_search", "bayesian", "portfolio")
COLD = EVERY_COLD if os.environ.get("NAS_COLD", "1") != "0" else ()
OUT = Path("runs/transfer")
STEPS = ("--learner-option", "pca_steps=500")
AT = (10, 30, 100)
SEEN = (
    "cifar100@", "ImageNet", "ninapro", "square-1.0", "square-2.0", "square-4.0", "fgsm-1.0", "fgsm-6.0", "fgsm-7.0",
    "fgsm-8.0", "fgsm-255", "room_layout", "class_scene", "own201/", "pixel3", "raspi4", "essential_ph_1", "1080ti",
)  # fmt: skip
"""Not in the development half, but looked at while the ensemble was changed."""


def prior(split: str) -> Path:
    if split == "shipped":
        return priors.SHIPPED
    folder = OUT / f"prior-{split}"
    if not (folder / "prior.safetensors").is_file():
        subprocess.run(
            [sys.executable, "-m", "nas", "meta-train", "--split", split, "--out", str(folder), *STEPS], check=True
        )
    return folder / "prior.safetensors"


def group(task: str) -> str:
    """Whether the ensemble's settings were chosen on a task: `dev`, every other one of a family; `seen`; or `kept`, the rest."""
    members = sorted(families.families().get(families.family_of(task), []))
    if any(name in task for name in SEEN):
        return "seen"
    at_random = ("robustness", "transnas-micro")
    chosen = families.family_of(task) in at_random and members.index(task) % 2 == 0
    return "dev" if chosen or task == "nasbench201/cifar10@200" else "kept"


def to_top(one: summary.TrialSummary, what: str = "median") -> str:
    count = summary.row(one)["evaluations_to_top"][what]
    return "never" if count is None else f"{count:.0f}"


def overview(summaries: list[summary.TrialSummary]) -> str:
    """A task in a line: `transfer_bo`, then the medians of the cold searches; a portfolio may be missing."""
    warm, medians = summaries[0], {one.spec.controller: to_top(one) for one in summaries[1:]}
    optimum = summary.row(warm)["evaluations_to_optimum"]["median"]
    shown = [
        group(warm.spec.task), f"**{to_top(warm)}**", f"{to_top(warm, 'q25')} to {to_top(warm, 'q75')}",
        f"{summary.row(warm)['evaluations_to_top']['reached']:.0%}", "never" if optimum is None else f"{optimum:.0f}",
    ]  # fmt: skip
    return f"| {' | '.join([warm.spec.task, *shown, *(medians.get(name, '') for name in COLD)])} |"


def line(one: summary.TrialSummary) -> str:
    """A controller on a task in a line."""
    assert one.optimum is not None
    top = summary.row(one)["evaluations_to_top"]
    left = [f"{numpy.median(one.regret[:, min(at, one.best.shape[1]) - 1]):.3f}" for at in AT]
    optimum = summary.row(one)["evaluations_to_optimum"]["median"]
    shown = [
        one.spec.task, one.spec.controller.split(":")[0], to_top(one), f"{to_top(one, 'q25')} to {to_top(one, 'q75')}",
        f"{top['reached']:.0%}", "never" if optimum is None else f"{optimum:.0f}", *left,
    ]  # fmt: skip
    return f"| {' | '.join(shown)} |"


def made(tasks: str, path: Path, seeds: int, evals: int, jobs: int) -> list[list[summary.TrialSummary]]:
    """The summaries of some tasks, a list for each task."""
    specs = comparison.specs(tasks, [f"transfer_bo:prior={path}", *COLD], (), seeds, evals, None, 1)
    summaries = comparison.make(specs, OUT, jobs)
    return [[one for one in summaries if one.spec.task == task] for task in dict.fromkeys(spec.task for spec in specs)]


def main() -> None:
    seeds, evals, jobs = (int(x) for x in sys.argv[1:4])
    wanted, found = sys.argv[4:] or [name for name, split in splits.splits().items() if split.held_out], []
    print(f"| task | group | transfer_bo | quartiles | reached | optimum | {' | '.join(COLD)} |")
    print(f"|---|---|{'---:|' * (4 + len(COLD))}")
    blocks = [(",".join(splits.split(name).test), prior(name)) for name in wanted]
    for tasks, path in blocks:
        for summaries in made(tasks, path, seeds, evals, jobs):
            print(overview(summaries), flush=True)
            found += summaries
    for name in ("kept", "dev", "seen"):
        ours = [one for one in found if one.spec.controller.startswith("transfer_bo") and group(one.spec.task) == name]
        counts = [summary.row(one)["evaluations_to_top"]["median"] for one in ours]
        if ours:
            print(
                f"geometric mean over the {len(ours)} tasks of group {name}: {statistics.geometric_mean(counts, evals):.1f}"
            )
    print(
        "\n| task | controller | to the best 0.1% | quartiles | reached | to the optimum | regret at 10 | at 30 | at 100 |"
    )
    print("|---|---|---:|---:|---:|---:|---:|---:|---:|")
    for one in found:
        print(line(one))


if __name__ == "__main__":
    main()
