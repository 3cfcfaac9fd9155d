"""What single steps of meta-training learn, and what tasks they are drawn from."""

import pytest
import torch

from controller import TaskRequest, TaskSet
from controller.meta import rl2
from controller.meta.rl2 import Rl2
from controller.meta.transfer_gp import TransferGp
from controller.models import transformer
from nas.meta import outer_loop, task_sampler
from nas.testing import synthetic_tasks

TASKS = synthetic_tasks.task_set(synthetic_tasks.scores(0))
PREDICT = TaskRequest(24, 200, num_query=8)


def batch_of(learner, request, step=0):
    stage = learner.stages[0]._replace(requests=(request,))
    return task_sampler.build(learner.tasks).batch(stage, step, 0)


def measured(learner, batch, steps):
    """What each of some steps on one batch measures before it moves."""
    state, found = outer_loop.untrained(learner, 0), []
    for _ in range(steps):
        state, metrics = learner.update(state, batch)
        found.append(metrics)
    return found


def test_steps_of_prediction_raise_the_density_of_the_scores_and_the_probability_of_the_best(monkeypatch):
    monkeypatch.setattr(rl2, "_PREDICT_WARM", 1)
    monkeypatch.setattr(rl2, "_NAMING", 1.0)
    learner = Rl2(TASKS, predict_steps=100)
    first, *_, last = measured(learner, batch_of(learner, PREDICT), 12)
    assert last["log_density"] > first["log_density"]
    assert last["log_naming"] > first["log_naming"]


def test_steps_of_the_components_lower_their_loss(monkeypatch):
    learner = TransferGp(TASKS, pca_steps=100)
    first, *_, last = measured(learner, batch_of(learner, learner.stages[0].requests[0]), 12)
    assert last["loss"] < first["loss"]


def test_the_network_is_not_told_the_scores_that_it_is_to_predict():
    learner = Rl2(TASKS)
    (sample,) = batch_of(learner, PREDICT)
    state = outer_loop.untrained(learner, 0)
    net = rl2._descent.network(transformer.TaskTransformer, state.params)
    known = torch.zeros_like(sample.scores, dtype=torch.bool).scatter(1, sample.context, True)
    other = sample._replace(scores=torch.where(known, sample.scores, sample.scores.flip(0)))
    assert not torch.equal(other.scores, sample.scores)
    (_, ours), (_, theirs) = (learner._log_density(net, state, x) for x in (sample, other))
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs))


def test_contexts_are_those_of_searches_better_than_random_ones_on_average():
    (sample,) = batch_of(Rl2(TASKS), TaskRequest(200, 400, num_query=8))
    assert sample.scores.gather(1, sample.context).mean() > 0.3


def test_every_step_draws_other_tasks_and_every_seed_too():
    learner = Rl2(TASKS)
    (first,), (second,) = batch_of(learner, PREDICT), batch_of(learner, PREDICT, step=1)
    (again,) = batch_of(learner, PREDICT)
    assert torch.equal(first.scores, again.scores)
    assert not torch.equal(first.rows, second.rows)


def test_a_task_of_a_large_family_is_drawn_less_by_hand():
    few = TaskSet((*TASKS.tasks[:6], TASKS.tasks[6]), TASKS.spaces)
    (space,) = task_sampler.build(few).spaces
    assert [x.family for x in few.tasks].count("narrow") == 1
    assert (space.weight[6] / space.weight[0]).item() == pytest.approx(6**0.7)
