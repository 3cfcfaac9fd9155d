"""Law 6: what a meta-learner learned on some tasks makes searches of others shorter than what it knows untrained."""

import pytest
import torch

from controller import Results, TaskScores, TaskSet
from controller.models import features
from controller.models.task_pca import normal_scores
from nas import plugins
from nas.meta import outer_loop
from search_spaces import Task
from search_spaces.transnas_micro import TransNasMicro

SPACE = TransNasMicro()
TASKS = {"wide": Task("wide", (3, 32, 32), 100), "narrow": Task("narrow", (1, 8, 8), 4)}
"""A task of each family: what may be known of it tells the families apart."""
TRAINED, HELD_OUT, SEEDS = 6, 2, 8
BUDGET, TOP = 60, 0.01
"""Evaluations of a search, and the share of the space that is to be found."""
OPTIONS = {
    "portfolio": {"space": SPACE.name},
    "rl2": {"predict_steps": 60, "policy_steps": 12, "synthetic": False},
    "transfer_gp": {"pca_steps": 30},
}
"""A few dozen steps of each; one that is not named here has settings of its own that are as short."""


def scores(seed):
    """Of every task of both families, `[families, tasks, N]`: what a family has in common, and what a task has alone."""
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


def task_set(scores_FKN):
    tasks = [
        TaskScores(f"{family}-{k}", family, SPACE, task, normal_scores(score_N), torch.zeros(len(score_N)))
        for (family, task), scores_KN in zip(TASKS.items(), scores_FKN)
        for k, score_N in enumerate(scores_KN[:TRAINED])
    ]
    return TaskSet(tuple(tasks), (SPACE,))


def evaluations_to_the_top(prior, scores_FKN):
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


@pytest.mark.parametrize("name", plugins.names("meta-learner"))
def test_a_prior_shortens_searches_of_tasks_that_it_was_not_trained_on(name):
    found = []
    for seed in range(2):
        scores_FKN = scores(seed)
        learner = plugins.load("meta-learner", name)(task_set(scores_FKN), **OPTIONS.get(name, {}))
        first = outer_loop.untrained(learner, seed)
        if learner.prior(first).about["controller"] not in plugins.names("controller"):
            pytest.skip("its controller is on its way")
        *_, last = outer_loop.train(learner, first, seed)
        found.append([evaluations_to_the_top(learner.prior(s), scores_FKN) for s in (first, last.state)])
    untrained, trained = torch.tensor(found).mean(0).tolist()
    assert trained < 0.8 * untrained, found
