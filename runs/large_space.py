"""`transfer_bo` and `attention_policy` where a space cannot be listed: two spaces with their lists taken away.

Called by large_space.sh: SEEDS EVALS [VARIANT ...]. Then mutation suggests what `transfer_bo` ranks, and the prior remembers no
architecture, as in a space of millions of them; but a table says what was found. Priors: those of transfer.sh and ablations.sh.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy
import split_priors
import torch
from torch import Tensor

from controller import Prior
from controller.models import features, prior_file, transfer_model
from nas import plugins, tasks
from nas.compare import statistics
from nas.meta import splits
from nas.tasks import families, full_columns, top

SPLITS = ("imagenet", "devices", "transnas-micro")
ROWS = {
    "random search": ("random_search", {}, ""),
    "evolution": ("evolution", {}, ""),
    "bayesian": ("bayesian", {}, ""),
    "transfer_bo, no prior": ("transfer_bo", {}, ""),
    "transfer_bo": ("transfer_bo", {}, "full"),
    "attention_policy, not reinforced": ("attention_policy", {}, "predict"),
    "attention_policy": ("attention_policy", {}, "policy"),
}
"""A row's controller, its settings and its prior: `full`, or the name of one of ablations.py; empty for none."""


def take_lists_away() -> None:
    """From here on no space can be listed."""
    features.MAX_ENUMERABLE = 0
    transfer_model.clear_caches()


def unlisted(path: Path) -> Prior:
    """A prior that remembers no architecture."""
    prior = prior_file.read(str(path))
    return Prior(prior_file.pack(prior_file.unpack(prior.params)._replace(spaces={})), prior.about)


def prior_of(split: str, name: str) -> Path:
    """The file of a prior that transfer.py has trained, if it is the full one, or ablations.py."""
    return (
        split_priors.prior(split) if name == "full" else Path(f"runs/ablations/prior-{split}-{name}/prior.safetensors")
    )


def goal(task: str) -> float:
    """The score from which an architecture is among the best 0.1% of a task's functions."""
    score = full_columns.everything(task)
    assert score is not None
    return top.top(score, tasks.find(task).space).threshold


def search(task: str, name: str, settings: dict[str, int], prior: Prior | None, seeds: Tensor, evals: int) -> Tensor:
    """The scores in their order, `[S, evals]`."""
    evaluator = tasks.find(task)
    controller, evaluate = plugins.load("controller", name)(evaluator.space, **settings), evaluator.load(seeds)
    state, scores = controller.begin(evaluator.task, seeds, *([prior] if prior else [])), []
    for _ in range(evals):
        proposal = controller.propose(state, 1)
        results = evaluate(proposal)
        state = controller.learn(state, proposal, results)
        scores.append(results.score)
    return torch.cat(scores, 1)


def main() -> None:
    torch.set_num_threads(1)
    seeds, evals = torch.arange(int(sys.argv[1])), int(sys.argv[2])
    at = {task: split for split in SPLITS for task in families.select(",".join(splits.split(split).test))}
    goals = {task: goal(task) for task in at}
    take_lists_away()
    names = [task.replace("nasbench201-hardware/", "").split("/", 1)[1] for task in at]
    print(f"| variant | {' | '.join(names)} | geometric mean |\n|---|{'---:|' * (len(names) + 1)}")
    for row, (name, settings, trained) in ROWS.items():
        if sys.argv[3:] and row not in sys.argv[3:]:
            continue
        hits = []
        for task, split in at.items():
            prior = unlisted(prior_of(split, trained)) if trained else None
            hit = search(task, name, settings, prior, seeds, evals).numpy() >= numpy.float32(goals[task])
            first = numpy.where(hit.any(1), hit.argmax(1) + 1.0, numpy.inf)
            hits.append(statistics.quartiles(first)[1])
        shown = ["never" if x is None else f"{x:g}" for x in hits]
        print(f"| {row} | {' | '.join(shown)} | {statistics.geometric_mean(hits, evals):.1f} |", flush=True)


if __name__ == "__main__":
    main()
