"""The portfolio's ranks by hand, and what follows them."""

from dataclasses import replace

import torch

from controller import TaskSample, TaskScores, TaskSet
from controller.meta.portfolio import Portfolio as Meta
from controller.models.task_pca import family_balance
from controller.portfolio import Portfolio
from search_spaces import _ops
from search_spaces.natsbench_size import NatsBenchSize
from tests import _toys

SPACE = NatsBenchSize()


def known(family, task=_toys.TASK, longest=True):
    """A training task, of which the scores are in a sample."""
    return TaskScores(family, family, SPACE, task, torch.zeros(0), torch.zeros(0), longest)


LEARNER = Meta(TaskSet((known("a"), known("b")), (SPACE,)), space=SPACE.name)


def sample(scores, task=0):
    """A task in which these scores were found, by rank; None was not tried."""
    tried = {rank: score for rank, score in enumerate(scores) if score is not None}
    rows, score = torch.tensor(list(tried)), torch.tensor(list(tried.values()))[None]
    archs = _ops.from_index(rows, SPACE.choices)
    return TaskSample(SPACE, rows, archs, score, torch.zeros_like(score), torch.zeros(1, 0), torch.tensor([task]))


def state_of(*batches):
    state = LEARNER.init(torch.tensor([0]))
    for batch in batches:
        state, _ = LEARNER.update(state, tuple(sample(task) for task in batch))
    return state


def prior_of(*tasks):
    return LEARNER.prior(state_of(tasks))


def test_the_mean_normalised_rank_by_hand():
    nan = float("nan")
    rank = prior_of([10.0, 30.0, 20.0, 20.0, nan], [5.0, None, 1.0, None, 3.0]).params["rank"][0, :6]
    torch.testing.assert_close(rank, torch.tensor([0.5, 0.0, 0.75, 0.5, 0.5, nan]), equal_nan=True)


def test_tasks_at_once_or_one_by_one_give_the_same_prior():
    tasks = [[1.0, 2.0, 3.0], [9.0, None, 8.0]]
    together, apart = state_of(tasks), state_of(*([task] for task in tasks))
    assert (int(together.step), int(apart.step)) == (1, 2)
    torch.testing.assert_close(LEARNER.prior(together).params, LEARNER.prior(apart).params, equal_nan=True)


def test_families_weigh_by_their_balance_and_limits_and_short_trainings_nothing():
    """Before, every task weighed alike, and most had a device's limit."""
    limited = replace(_toys.TASK, constraints=((1.0, 1.0),))
    tasks = [known("a"), known("a"), known("b"), known("b", limited), known("b", longest=False)]
    learner = Meta(TaskSet(tuple(tasks), (SPACE,)), space=SPACE.name)
    scores = [[2.0, 1.0], [1.0, 2.0], [1.0, 2.0], [9.0, 1.0], [9.0, 1.0]]
    batch = tuple(sample(of_task, task) for task, of_task in enumerate(scores))
    state, shown = learner.update(learner.init(torch.tensor([0])), batch)
    rank = learner.prior(state).params["rank"][0, :2]
    weight = family_balance(["a", "a", "b"]).float()
    torch.testing.assert_close(rank, torch.stack([weight[1] + weight[2], weight[0]]) / weight.sum())
    assert shown == {"tasks": 3}


def test_tasks_of_no_set_weigh_alike():
    learner = Meta(TaskSet((), (SPACE,)), space=SPACE.name)
    batch = sample([3.0, 2.0, 1.0], -1), sample([1.0, 3.0, 2.0], -1), sample([3.0, 2.0, 1.0], -1)
    state, _ = learner.update(learner.init(torch.tensor([0])), batch)
    rank = learner.prior(state).params["rank"][0, :3]
    torch.testing.assert_close(rank, torch.tensor([1 / 3, 1 / 3, 2.5 / 3]))


def test_what_was_best_elsewhere_is_tried_first_and_nothing_twice():
    prior = prior_of([10.0, 30.0, 20.0, 25.0])
    controller = Portfolio(SPACE)
    state = controller.begin(_toys.TASK, torch.arange(3), prior)
    archs, *_ = _toys.walk(controller, _toys.evaluate(SPACE), torch.arange(3), 2, 2, state)
    assert _ops.index(archs, SPACE.choices).flatten(1).tolist() == [[1, 3, 2, 0]] * 3


def test_without_a_prior_it_is_random_search_that_never_repeats():
    archs, *_ = _toys.walk(Portfolio(SPACE), _toys.evaluate(SPACE), torch.arange(4), 10, 50)
    ranks = _ops.index(archs, SPACE.choices).flatten(1)
    assert all(len(row.unique()) == 500 for row in ranks)
    assert not torch.equal(ranks[0], ranks[1])
