"""Controllers in a space of another shape than any that a prior was trained on: `Chain` of docs/add_a_space.md.

Called by own_space.sh: IMAGES SEEDS SET [SET ...]; a set is `digits` or the name of a file of IMAGES. Each of the 121 distinct
networks is trained once, as `nas search` trains them, and all searches look it up. What a row says is how far the best network
that a search has evaluated is below the best of the space, in points of validation accuracy: the mean over searches.
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from controller import Proposal
from nas import plugins
from nas.evaluators.train import Train
from nas.loop import search
from nas.run import priors
from search_spaces import _ops

ROWS = {
    "random search": ("random_search", "none"),
    "evolution": ("evolution", "none"),
    "bayesian": ("bayesian", "none"),
    "transfer_bo, no prior": ("transfer_bo", "none"),
    "transfer_bo, shipped prior": ("transfer_bo", "shipped"),
    "attention_policy, shipped prior": ("attention_policy", "shipped"),
}
"""A row's controller and its prior."""
AT = (5, 10, 20, 30, 60)
"""Evaluations after which searches are compared."""
_TRAINED = 16
"""Networks that are trained at a time."""


def space_of_docs(folder: Path) -> str:
    """The space as a person would name it who saved the page's file."""
    page = Path("docs/add_a_space.md").read_text()
    found = re.search(r'```python title="my_space.py"\n(.*?)```', page, re.DOTALL)
    assert found is not None
    (folder / "my_space.py").write_text(found[1])
    return f"{folder / 'my_space.py'}:Chain"


def scores(evaluator: Train) -> Tensor:
    """The score of every architecture, by index, `[N]`."""
    archs = _ops.enumerate_all(evaluator.space.choices)
    evaluate = evaluator.load(torch.zeros(1, dtype=torch.long))
    parts = [evaluate(Proposal(some[None])).score[0] for some in archs.split(_TRAINED)]
    return torch.cat(parts)


def regret(name: str, prior_name: str, evaluator: Train, score_N: Tensor, seeds: Tensor) -> Tensor:
    """How far the best so far is below the best of all after each evaluation, `[S, E]`."""
    controller, prior = plugins.load("controller", name)(evaluator.space), priors.find(prior_name, name)
    steps = search(controller, evaluator.load(seeds), controller.begin(evaluator.task, seeds, prior))
    best_SE = torch.cat([step.results.score for _, step in zip(range(max(AT)), steps)], 1).cummax(1).values
    return score_N.max() - best_SE


def main() -> None:
    torch.set_num_threads(1)
    images, seeds, names = Path(sys.argv[1]), torch.arange(int(sys.argv[2])), sys.argv[3:]
    with tempfile.TemporaryDirectory() as folder:
        space = space_of_docs(Path(folder))
        for name in names:
            task = name if name == "digits" else f"npz:{images / f'{name}.npz'}"
            evaluator = Train.of(task, space=space, device="cpu")
            score_N = scores(evaluator)
            print(f"\n{name}: scores from {score_N.min():.1f} to {score_N.max():.1f}, median {score_N.median():.1f}\n")
            print(f"| controller | after {' | '.join(map(str, AT))} |")
            print(f"|---|{'---:|' * len(AT)}")
            for row, (controller, prior) in ROWS.items():
                found_SE = regret(controller, prior, evaluator, score_N, seeds)
                print(f"| {row} | {' | '.join(f'{found_SE[:, at - 1].mean():.2f}' for at in AT)} |", flush=True)


if __name__ == "__main__":
    main()
