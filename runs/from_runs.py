"""Whether a finished search on one data set helps the next on another, and does not harm it where the two are different.

Called by from_runs.sh: SEARCHES EVALS. For each two of `SETS` a prior is trained without both. A search of the first set from it
is a run, which `nas meta-train --from-runs` adds to the prior; searches of the second set then begin with the prior as it was
and with what the run taught it. Every pair is a line of `runs/from_runs.jsonl`; those that are there are not made again.

Shapes: `S` searches, `N` architectures.
"""

from __future__ import annotations

import itertools
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy
import torch

import nas
from controller.models import prior_file
from controller.transfer_bo import TransferBO
from nas.meta import from_runs, splits
from nas.tasks import full_columns
from runs import left_out

RECORD = Path("runs/from_runs.jsonl")
SETS = {
    "digits": "own201/digits@4",
    "rsscn7_aerial": "own201/rsscn7_aerial@4",
    "brain_tumor_mri": "own201/brain_tumor_mri@8",
    "fashion_mnist": "own201/fashion_mnist@8",
    "arabic_chars28": "own201/arabic_chars28@8",
    "cifar10": "nasbench201/cifar10@200",
    "cifar100": "nasbench201/cifar100@200",
    "imagenet": "nasbench201/ImageNet16-120@200",
}
"""The data sets on whose tables every architecture of nasbench201 is, each with its longest training."""


def patterns(name: str) -> tuple[str, ...]:
    """What to hold out, so that a prior knows nothing of a set."""
    if name in splits.splits():
        return splits.split(name).held_out
    return f"own201/{name}@*", f"own201/{name}/*"


def pairs(first: str, second: str, searches: int, evals: int) -> list[dict[str, Any]]:
    """Both orders of two sets: evaluations to one of the best 0.1%, without and with the run; null where it was not found."""
    prior, found = left_out.trained_without((*patterns(first), *patterns(second))), []
    with tempfile.TemporaryDirectory() as folder:
        start = Path(folder) / "prior.safetensors"
        prior_file.write(start, prior)
        for source, target in ((first, second), (second, first)):
            run = Path(folder) / source
            nas.search(task=SETS[source], evals=evals, prior=str(start), name=str(run))
            taught = from_runs.extend(start, [run], "runs/from_runs.sh")
            counts = [
                left_out.evaluations(TransferBO, SETS[target], known, torch.arange(searches), evals)
                for known in (prior, taught)
            ]
            without, with_run = [[None if numpy.isinf(x) else int(x) for x in count_S] for count_S in counts]
            asked = {"source": source, "target": target, "evals": evals}
            found.append(asked | {"without": without, "with": with_run})
    return found


def correlation(first: str, second: str) -> float:
    """Of the ranks of two sets' architectures by their scores."""
    score_2N = torch.stack([_scores(first), _scores(second)])
    rank_2N = score_2N[:, ~score_2N.isnan().any(0)].argsort(1).argsort(1).float()
    return float(torch.corrcoef(rank_2N)[0, 1])


def ratio(row: dict[str, Any]) -> float:
    """Evaluations with the run over those without, the geometric mean over searches; what was not found took twice the budget."""
    logs = {which: numpy.log([x or 2 * row["evals"] for x in row[which]]).mean() for which in ("without", "with")}
    return float(numpy.exp(logs["with"] - logs["without"]))


def main() -> None:
    searches, evals = (int(x) for x in sys.argv[1:3])
    lines = RECORD.read_text().splitlines() if RECORD.is_file() else []
    known = [row for row in map(json.loads, lines) if (len(row["with"]), row["evals"]) == (searches, evals)]
    for first, second in itertools.combinations(SETS, 2):
        if {(first, second), (second, first)} - {(row["source"], row["target"]) for row in known}:
            found = pairs(first, second, searches, evals)
            known += found
            with RECORD.open("a") as file:
                file.writelines(json.dumps(row) + "\n" for row in found)
    _print(known)


def _scores(name: str) -> torch.Tensor:
    found = full_columns.everything(SETS[name])
    assert found is not None
    return found


def _print(rows: list[dict[str, Any]]) -> None:
    by_pair = {(row["source"], row["target"]): ratio(row) for row in rows}
    print(f"| run on | {' | '.join(SETS)} |\n|---|{'---:|' * len(SETS)}")
    for source in SETS:
        shown = [f"{by_pair[source, target]:.2f}" if (source, target) in by_pair else "" for target in SETS]
        print(f"| {source} | {' | '.join(shown)} |")
    alike = {pair: correlation(*pair) for pair in by_pair}
    middle = statistics.median(alike.values())
    print(
        "\n| pairs | correlation of ranks | geometric mean | median | worst | pairs above 1.25 |\n|---|---|---:|---:|---:|---:|"
    )
    for name, chosen in (
        ("the more similar half", [pair for pair in by_pair if alike[pair] >= middle]),
        ("the less similar half", [pair for pair in by_pair if alike[pair] < middle]),
    ):
        ratios, least = [by_pair[pair] for pair in chosen], min(alike[pair] for pair in chosen)
        most, mean = max(alike[pair] for pair in chosen), numpy.exp(numpy.log(ratios).mean())
        above = sum(x > 1.25 for x in ratios)
        print(
            f"| {name} ({len(chosen)}) | {least:.2f} to {most:.2f} | {mean:.2f} | {statistics.median(ratios):.2f} "
            f"| {max(ratios):.2f} | {above} |"
        )


if __name__ == "__main__":
    main()
