"""Families of tasks left out of priors, and how long searches of them take: what tune.py and left_out tables measure with.

Shapes: `S` searches.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy
import torch
from numpy import ndarray

from controller import Prior, TaskSet
from controller.meta.transfer_gp import TransferGp
from nas import tasks
from nas.compare import yardstick
from nas.meta import splits, task_distribution
from nas.tasks import families
from search_spaces import _ops

SHARE = 0.8
"""Of the training tasks, for each draw of a prior: scores are often means over seeds, so that the searches of one prior hardly
differ, and one of them would count for many."""


class Fold(NamedTuple):
    """A family that is left out whole."""

    splits: tuple[str, ...]
    """Declared splits; what any of them holds out is left out together."""
    near: bool
    """Whether the prior knows tasks on the same data or of the same kind."""


FOLDS = {
    "datasets": Fold(("cifar100",), True),
    "devices": Fold(("devices", "more-devices"), True),
    "attacks": Fold(("robustness",), False),
    "own201": Fold(("own201",), False),
    "dense": Fold(("transnas-micro",), False),
    "domain": Fold(("ninapro",), False),
    "size": Fold(("natsbench-size",), False),
}


def tasks_of(fold: str) -> list[str]:
    """The tasks of a fold as a comparison takes them."""
    return [
        families.protocol(task)
        for name in FOLDS[fold].splits
        for task in families.select(",".join(splits.split(name).test))
    ]


def prior(folds: tuple[str, ...], draw: int) -> Prior:
    """Trained on no task of these folds: on all others for draw 0, else on `SHARE` of them."""
    names = tuple(name for fold in folds for name in FOLDS[fold].splits)
    return _prior(names, draw)


@lru_cache(maxsize=64)
def _prior(names: tuple[str, ...], draw: int) -> Prior:
    return trained_without(tuple(pattern for name in names for pattern in splits.split(name).held_out), draw)


def trained_without(held_out: tuple[str, ...], draw: int = 0) -> Prior:
    """Trained on no task that a pattern holds out; the draw is as of `prior`."""
    found = task_distribution.training_tasks(held_out)
    if draw:
        order = torch.randperm(len(found), generator=torch.Generator().manual_seed(draw)).tolist()
        found = [found[i] for i in sorted(order[: round(SHARE * len(found))])]
    spaces = task_distribution.spaces_of(found)
    auxiliary = tuple(task_distribution.auxiliary_columns(held_out))
    # Without steps of the encoder: in the spaces of tables a search does not read it.
    learner = TransferGp(TaskSet(tuple(found), spaces, auxiliary, splits.family_weights()), pca_steps=0)
    state = learner.init(torch.tensor([0]))
    state, _ = learner.update(state, ())
    return learner.prior(state)


def evaluations(
    make: Callable[[Any], Any], task: str, start: Prior | None, seeds: torch.Tensor, budget: int
) -> ndarray:
    """At which evaluation each search first tried one of the best 0.1%, `[S]`; infinity where it did not within the budget.

    A search that has found one stops: seeds are independent of each other.
    """
    evaluator, left = tasks.find(task), torch.arange(len(seeds))
    known = yardstick.of(task, int(seeds.max()) + 1)
    assert known is not None
    controller, found = make(evaluator.space), numpy.full(len(seeds), numpy.inf)
    state, evaluate = controller.begin(evaluator.task, seeds, start), evaluator.load(seeds)
    for number in range(1, budget + 1):
        proposal = controller.propose(state, 1)
        results = evaluate(proposal)
        state = controller.learn(state, proposal, results)
        index = _ops.index(proposal.archs, evaluator.space.choices)
        rows = seeds[left] if len(known.score_SN) > 1 else torch.zeros_like(left)
        judged = known.score_SN[rows, index[:, 0]]
        hit = (judged >= known.top_threshold_S[seeds[left]]) & ~results.score[:, 0].isnan()
        if bool(hit.any()):
            found[left[hit].numpy()] = number
            left = left[~hit]
            if not len(left):
                break
            state = type(state)(*(leaf[~hit] for leaf in state))
            evaluate = evaluator.load(seeds[left])
    return found
