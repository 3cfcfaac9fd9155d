"""Two families of synthetic tasks on TransNAS's micro space, and how good searches of those held out are: what law 6 is tried on.

Shapes: `N` architectures of the space, `F` families, `K` tasks of each.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from controller import Prior, Results, TaskScores, TaskSet
from controller.models import features
from controller.models.scores import rank_quantiles
from nas import plugins
from search_spaces import Task
from search_spaces.transnas_micro import TransNasMicro

SPACE = TransNasMicro()
"""The smallest space of cells that ships: 4096 architectures, so that a learner of a few dozen steps can know it."""
TASKS = {"wide": Task("wide", (3, 32, 32), 100), "narrow": Task("narrow", (1, 8, 8), 4)}
"""A task of each family: what may be known of it tells the families apart."""
TRAINED, HELD_OUT = 6, 24
"""Tasks of a family that are trained on, and that are searched: enough for a sign test over tasks."""
STEPS, BATCH = 10, 2
"""Of a search: soon enough that what is known beforehand tells."""


def scores(seed: int) -> Tensor:
    """Of every task of both families, `[F, K, N]`: what a family has in common, and what a task has alone."""
    described = features.enumerate_valid(SPACE)
    assert described is not None
    generator = torch.Generator().manual_seed(seed)
    known = torch.nn.functional.one_hot(described.archs, 4).flatten(1).float()
    common = known @ torch.randn(known.shape[1], generator=generator)
    found = []
    for _ in TASKS:
        family = 0.7 * common + known @ torch.randn(known.shape[1], generator=generator)
        own = known @ torch.randn(known.shape[1], TRAINED + HELD_OUT, generator=generator)
        found.append((family[:, None] + 0.7 * own).T)
    return torch.stack(found)


def task_set(scores_FKN: Tensor) -> TaskSet:
    """The tasks to train on: those that `best_on_average` does not search."""
    tasks = [
        TaskScores(
            f"{family}-{k}", family, SPACE, task, rank_quantiles(score_N[None])[0].float(), torch.zeros(len(score_N))
        )
        for (family, task), scores_KN in zip(TASKS.items(), scores_FKN)
        for k, score_N in enumerate(scores_KN[:TRAINED])
    ]
    return TaskSet(tuple(tasks), (SPACE,))


def best_on_average(prior: Prior, scores_FKN: Tensor, settings: Mapping[str, Any]) -> Tensor:
    """Of a search of each held-out task, `[F x HELD_OUT]`: the best score so far, averaged over the steps.

    A task has one search: seeds of a prior that leaves nothing to chance would count one result several times.

    Args:
        settings: of the prior's controller.
    """
    found = []
    for task, scores_KN in zip(TASKS.values(), scores_FKN):
        component, score_SN = plugins.load("controller", prior.about["controller"]), scores_KN[TRAINED:]
        controller = component(SPACE, **settings)
        state, steps = controller.begin(task, torch.arange(len(score_SN)), prior), []
        for _ in range(STEPS):
            proposal = controller.propose(state, BATCH)
            score_SB = score_SN.gather(1, features.row_of(SPACE, proposal.archs))
            state = controller.learn(state, proposal, Results(score_SB, torch.ones_like(score_SB)))
            steps.append(score_SB.amax(1))
        found.append(torch.stack(steps, 1).cummax(1).values.mean(1))
    return torch.cat(found)
