"""Trains a prior for each declared split and prints one table: evaluations to the best 0.1% and regret, beside cold searches.

Called by transfer.sh: SEEDS EVALS JOBS [SPLIT ...]; without splits, all that leave something out. Split `shipped` is tried with
the prior that ships.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy

from nas.compare import comparison, summary
from nas.meta import splits
from nas.run import priors
from nas.tasks import families

COLD = ("random_search", "evolution", "local_search", "bayesian", "portfolio")
OUT = Path("runs/transfer")
STEPS = ("--learner-option", "pca_steps=500")
AT = (10, 30, 100)
SEEN = (
    "cifar100@", "ImageNet", "ninapro", "square-1.0", "square-2.0", "square-4.0", "fgsm-1.0", "fgsm-6.0", "fgsm-7.0",
    "fgsm-8.0", "fgsm-255", "room_layout", "class_scene", "own201/", "pixel3", "raspi4", "essential_ph_1", "1080ti",
)  # fmt: skip
"""Not in the development half, but looked at while the bank was mended."""


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
    """Whether the bank's settings were chosen on a task: `dev`, every other one of a family; `seen`; or `kept`, the rest."""
    members = sorted(families.families().get(families.family_of(task), []))
    if any(name in task for name in SEEN):
        return "seen"
    at_random = ("robustness", "transnas-micro")
    chosen = families.family_of(task) in at_random and members.index(task) % 2 == 0
    return "dev" if chosen or task == "nasbench201/cifar10@200" else "kept"


def to_top(cell: summary.Cell, what: str = "median") -> str:
    count = summary.row(cell)["evaluations_to_top"][what]
    return "never" if count is None else f"{count:.0f}"


def overview(cells: list[summary.Cell]) -> str:
    """A task in a line: `in_context`, then the medians of the cold searches; a portfolio may be missing."""
    warm, medians = cells[0], {cell.ask.controller: to_top(cell) for cell in cells[1:]}
    optimum = summary.row(warm)["evaluations_to_optimum"]["median"]
    shown = [
        group(warm.ask.task), f"**{to_top(warm)}**", f"{to_top(warm, 'q25')} to {to_top(warm, 'q75')}",
        f"{summary.row(warm)['evaluations_to_top']['reached']:.0%}", "never" if optimum is None else f"{optimum:.0f}",
    ]  # fmt: skip
    return f"| {' | '.join([warm.ask.task, *shown, *(medians.get(name, '') for name in COLD)])} |"


def line(cell: summary.Cell) -> str:
    """A controller on a task in a line."""
    assert cell.optimum is not None
    top = summary.row(cell)["evaluations_to_top"]
    left = [f"{cell.optimum - numpy.median(cell.best[:, min(at, cell.best.shape[1]) - 1]):.3f}" for at in AT]
    optimum = summary.row(cell)["evaluations_to_optimum"]["median"]
    shown = [
        cell.ask.task, cell.ask.controller.split(":")[0], to_top(cell), f"{to_top(cell, 'q25')} to {to_top(cell, 'q75')}",
        f"{top['reached']:.0%}", "never" if optimum is None else f"{optimum:.0f}", *left,
    ]  # fmt: skip
    return f"| {' | '.join(shown)} |"


def made(tasks: str, path: Path, seeds: int, evals: int, jobs: int) -> list[list[summary.Cell]]:
    """The cells of some tasks, a list for each task."""
    asks = comparison.asks(tasks, [f"in_context:prior={path}", *COLD], (), seeds, evals, None, 1)
    cells = comparison.make(asks, OUT, jobs)
    return [[cell for cell in cells if cell.ask.task == task] for task in dict.fromkeys(ask.task for ask in asks)]


def main() -> None:
    seeds, evals, jobs = (int(x) for x in sys.argv[1:4])
    wanted, found = sys.argv[4:] or [name for name, split in splits.splits().items() if split.held_out], []
    print(f"| task | group | in_context | quartiles | reached | optimum | {' | '.join(COLD)} |")
    print(f"|---|---|{'---:|' * (4 + len(COLD))}")
    blocks = [(",".join(splits.split(name).test), prior(name)) for name in wanted]
    for tasks, path in blocks:
        for cells in made(tasks, path, seeds, evals, jobs):
            print(overview(cells), flush=True)
            found += cells
    print(
        "\n| task | controller | to the best 0.1% | quartiles | reached | to the optimum | regret at 10 | at 30 | at 100 |"
    )
    print("|---|---|---:|---:|---:|---:|---:|---:|---:|")
    for cell in found:
        print(line(cell))


if __name__ == "__main__":
    main()
