"""What the table of many tasks is worth to a prior of transfer_bo, family by family that is left out.

Called by many_worth.sh: SEARCHES DRAWS. A prior is trained with the table and without it, on each draw of the training tasks.
Both search the tasks of a fold (`runs/left_out.py`), which they have not seen, as does a search without a prior. Not all folds
are here: `own201` is of the same images, and other spaces are not the table's.
"""

from __future__ import annotations

import sys

import numpy
import torch

from controller import Prior
from controller.transfer_bo import TransferBO
from nas.meta import splits
from runs import left_out
from runs.left_out import FOLDS

TABLE = "own201-many"
ALL = f"{TABLE}/*"
FOLDS_HERE = {
    "datasets": (40, ()),
    "devices": (40, ()),
    "attacks": (100, (f"{TABLE}/*-fgsm_*", f"{TABLE}/*-pgd_*")),
    "domain": (150, ()),
}
"""Evaluations of a search, and what of the table is held out with the fold."""


def prior(fold: str, draw: int, *, with_table: bool) -> Prior:
    held_out = [pattern for name in FOLDS[fold].splits for pattern in splits.split(name).held_out if pattern != ALL]
    return left_out.trained_without((*held_out, *(FOLDS_HERE[fold][1] if with_table else (ALL,))), draw)


def main() -> None:
    searches, draws = int(sys.argv[1]), int(sys.argv[2])
    print("| left out | tasks | evaluations | no prior | without the table | with it | worst task without, with |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for fold, (budget, _) in FOLDS_HERE.items():
        tasks = left_out.tasks_of(fold)
        log_by_way = {way: numpy.zeros((draws, len(tasks))) for way in ("cold", "without", "with")}
        for draw in range(1, draws + 1):
            starts = {way: prior(fold, draw, with_table=way == "with") for way in ("without", "with")}
            seeds = torch.arange(searches) + searches * draw
            for way, found in log_by_way.items():
                for at, task in enumerate(tasks):
                    counts = left_out.evaluations(TransferBO, task, starts.get(way), seeds, budget)
                    found[draw - 1, at] = numpy.log(numpy.where(numpy.isinf(counts), 2 * budget, counts)).mean()
        mean = {way: f"{numpy.exp(found.mean()):.1f}" for way, found in log_by_way.items()}
        worst = [
            f"{numpy.exp((log_by_way[way] - log_by_way['cold']).mean(0).max()):.2f}" for way in ("without", "with")
        ]
        cells = [fold, len(tasks), budget, mean["cold"], mean["without"], mean["with"], ", ".join(worst)]
        print(f"| {' | '.join(map(str, cells))} |", flush=True)


if __name__ == "__main__":
    main()
