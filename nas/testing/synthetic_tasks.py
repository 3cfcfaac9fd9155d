"""Two families of synthetic tasks on TransNAS's micro space, and how soon a search of one finds the best: what law 6 is tried on.

Shapes: `N` architectures of the space, `F` families, `K` tasks of each.
"""

from __future__ import annotations

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
TRAINED, HELD_OUT, SEEDS = 6, 2, 8
BUDGET, TOP = 60, 0.01
"""Evaluations of a search, and the share of the space that is to be found: at random, about one search in two finds one."""


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
    """The tasks to train on: those that `evaluations_to_top` does not search."""
    tasks = [
        TaskScores(
            f"{family}-{k}", family, SPACE, task, rank_quantiles(score_N[None])[0].float(), torch.zeros(len(score_N))
        )
        for (family, task), scores_KN in zip(TASKS.items(), scores_FKN)
        for k, score_N in enumerate(scores_KN[:TRAINED])
    ]
    return TaskSet(tuple(tasks), (SPACE,))


def evaluations_to_top(prior: Prior, scores_FKN: Tensor) -> float:
    """The median over held-out tasks and seeds of the evaluations until one is among the best; `BUDGET + 1` if none is."""
    found = []
    for task, scores_KN in zip(TASKS.values(), scores_FKN):
        for score_N in scores_KN[TRAINED:]:
            controller = plugins.load("controller", prior.about["controller"])(SPACE)
            goal = score_N.topk(round(TOP * len(score_N))).values[-1]
            state, reached = controller.begin(task, torch.arange(SEEDS), prior), []
            while len(reached) < BUDGET and not (reached and torch.cat(reached, 1).any(1).all()):
                proposal = controller.propose(state, 1)
                score_SB = score_N[features.row_of(SPACE, proposal.archs)]
                state = controller.learn(state, proposal, Results(score_SB, torch.ones_like(score_SB)))
                reached.append(score_SB >= goal)
            hit_ST = torch.cat(reached, 1)
            found.append(torch.where(hit_ST.any(1), hit_ST.int().argmax(1) + 1, BUDGET + 1))
    return torch.cat(found).double().median().item()
