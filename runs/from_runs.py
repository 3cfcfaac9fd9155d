"""Whether a finished search on one data set helps the next on another, and does not harm it where the two are different.

Called by from_runs.sh: SEARCHES EVALS. For each two of `SETS` a prior is trained without both. A search of the first set from it
is a run, which `nas meta-train --from-runs` adds to the prior; searches of the second set then begin with the prior as it was
and with what the run taught it. Every pair is a line of `runs/from_runs.jsonl`; those that are there are not made again.

What a search has found is measured by the rank of its best architecture among all of the space: whether it is one of the best
0.1% says little of a search that comes near.

Shapes: `S` searches, `E` evaluations, `N` architectures.
"""

from __future__ import annotations

import itertools
import json
import math
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

import nas
from controller import Prior
from controller.models import prior_file
from controller.transfer_bo import TransferBO
from nas import tasks
from nas.compare import yardstick
from nas.meta import from_runs, splits
from nas.tasks import full_columns
from runs import left_out
from search_spaces import _ops

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
SHOWN = {"cifar100", "imagenet"}
"""Sets whose pairs had no part when one of eight ways in which a run comes in was chosen: a search first copies from the prior's
tasks. That an earlier way did harm had been seen on them, too."""
AT = (1, 3, 5, 10, 20, 30)
"""Evaluations after which searches are compared."""


def patterns(name: str) -> tuple[str, ...]:
    """What to hold out, so that a prior knows nothing of a set."""
    if name in splits.splits():
        return splits.split(name).held_out
    return f"own201/{name}@*", f"own201/{name}/*"


def pairs(first: str, second: str, searches: int, evals: int) -> list[dict[str, Any]]:
    """Both orders of two sets: `log_rank` of the searches without and with the run, after each of `AT`."""
    prior, found = left_out.trained_without((*patterns(first), *patterns(second))), []
    with tempfile.TemporaryDirectory() as folder:
        start = Path(folder) / "prior.safetensors"
        prior_file.write(start, prior)
        for source, target in ((first, second), (second, first)):
            run = Path(folder) / source
            nas.search(task=SETS[source], evals=evals, prior=str(start), name=str(run))
            taught = from_runs.extend(start, [run], "runs/from_runs.sh")
            without, with_run = (log_rank(SETS[target], known, searches) for known in (prior, taught))
            asked = {"source": source, "target": target, "evals": evals, "searches": searches}
            found.append(asked | {"without": without, "with": with_run})
    return found


def log_rank(task: str, prior: Prior, searches: int) -> list[float]:
    """The logarithm of the rank of the best so far among all architectures after each of `AT` evaluations, mean over searches."""
    evaluator, seeds = tasks.find(task), torch.arange(searches)
    known = yardstick.of(task, searches)
    assert known is not None
    controller = TransferBO(evaluator.space)
    state, evaluate = controller.begin(evaluator.task, seeds, prior), evaluator.load(seeds)
    tried = []
    for _ in range(max(AT)):
        proposal = controller.propose(state, 1)
        state = controller.learn(state, proposal, evaluate(proposal))
        tried.append(_ops.index(proposal.archs, evaluator.space.choices))
    best_SE = known.judge(torch.cat(tried, 1)).nan_to_num(-torch.inf).cummax(1).values
    score_SN = known.score_SN.nan_to_num(-torch.inf).expand(searches, -1).sort().values
    higher_SE = score_SN.shape[1] - torch.searchsorted(score_SN.contiguous(), best_SE, right=True)
    mean_E = higher_SE.double().add(1).log().mean(0)
    return [round(float(mean_E[count - 1]), 4) for count in AT]


def correlation(first: str, second: str) -> float:
    """Of the ranks of two sets' architectures by their scores."""
    score_2N = torch.stack([_scores(first), _scores(second)])
    rank_2N = score_2N[:, ~score_2N.isnan().any(0)].argsort(1).argsort(1).float()
    return float(torch.corrcoef(rank_2N)[0, 1])


def main() -> None:
    searches, evals = (int(x) for x in sys.argv[1:3])
    lines = RECORD.read_text().splitlines() if RECORD.is_file() else []
    known = [row for row in map(json.loads, lines) if (row["searches"], row["evals"]) == (searches, evals)]
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
    ratios = {
        (row["source"], row["target"]): [math.exp(b - a) for a, b in zip(row["without"], row["with"])] for row in rows
    }
    alike = {pair: correlation(*pair) for pair in ratios}
    middle = statistics.median(alike.values())
    groups = {
        "development": [pair for pair in ratios if not {*pair} & SHOWN],
        "shown": [pair for pair in ratios if {*pair} & SHOWN],
        "shown, the more similar half": [pair for pair in ratios if {*pair} & SHOWN and alike[pair] >= middle],
        "shown, the less similar half": [pair for pair in ratios if {*pair} & SHOWN and alike[pair] < middle],
    }
    heads = " | ".join(f"after {count}" for count in AT)
    print(f"| pairs | correlation of ranks | {heads} | worst after {AT[-1]} |\n|---|---|{'---:|' * (len(AT) + 1)}")
    for name, chosen in groups.items():
        if not chosen:
            continue
        least, most = min(alike[pair] for pair in chosen), max(alike[pair] for pair in chosen)
        means = [statistics.geometric_mean(ratios[pair][i] for pair in chosen) for i in range(len(AT))]
        shown = " | ".join(f"{mean:.2f}" for mean in means)
        worst = max(ratios[pair][-1] for pair in chosen)
        print(f"| {name} ({len(chosen)}) | {least:.2f} to {most:.2f} | {shown} | {worst:.1f} |")


if __name__ == "__main__":
    main()
