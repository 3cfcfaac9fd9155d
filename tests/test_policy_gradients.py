"""Which way policies move: PPO's objective, the baseline and the entropy by hand, and laws of single steps."""

import pytest
import torch

from controller import Results, TaskRequest
from controller.meta import rl2
from controller.models import transformer
from controller.policies import baseline, nets, optim, rollouts
from controller.policies.losses import clipped_gain
from controller.ppo import Ppo
from controller.reinforce import Reinforce
from nas.meta import outer_loop, task_sampler
from nas.testing import synthetic_tasks
from search_spaces.nasbench201 import NasBench201
from tests import _toys

SPACE, SEEDS = NasBench201(), torch.arange(12)
WINDOW = 8
"""Evaluations after which PPO takes its steps; REINFORCE is given as many at once."""


def test_the_clipped_gain_by_hand():
    ratio, one = torch.tensor([0.5, 1.0, 1.1, 1.5]).log().requires_grad_(), torch.ones(4)
    for advantage, expected, moved in (
        (2.0, [1.0, 2.0, 2.2, 2.4], [1.0, 2.0, 2.2, 0.0]),
        (-2.0, [-1.6, -2.0, -2.2, -3.0], [0.0, -2.0, -2.2, -3.0]),
    ):
        gain = clipped_gain(ratio, torch.zeros(4), advantage * one, 0.2)
        torch.testing.assert_close(gain.detach(), torch.tensor(expected))
        torch.testing.assert_close(torch.autograd.grad(gain.sum(), ratio)[0], torch.tensor(moved))


def test_the_advantage_over_the_moving_average_by_hand():
    state = baseline.begin(torch.arange(1))
    state, first = baseline.advantage(state, torch.tensor([[1.0, 5.0]]), 0.9)
    torch.testing.assert_close(first, torch.tensor([[-2.0, 2.0]]))
    state, failed = baseline.advantage(state, torch.tensor([[torch.nan, torch.nan]]), 0.9)
    torch.testing.assert_close(failed, torch.zeros(1, 2))
    state, second = baseline.advantage(state, torch.tensor([[torch.nan, 22.0]]), 0.9)
    average = (0.09 * 3 + 0.1 * 22) / 0.19
    torch.testing.assert_close(second, torch.tensor([[0.0, 22 - average]]))


def _one_update(controller, sharpness, score):
    """The state before and after one update on the controller's own samples, whose architectures are given too."""
    state = controller.begin(_toys.TASK, SEEDS)
    state = state._replace(params={n: sharpness * p for n, p in state.params.items()})
    proposal = controller.propose(state, WINDOW)
    return state, controller.learn(state, proposal, Results(score, torch.ones_like(score))), proposal.archs


def _log_prob(controller, state, archs):
    return nets.log_prob(controller.net.log_probs(state.params, archs), archs)


@pytest.mark.parametrize("controller", [Reinforce(SPACE), Ppo(SPACE, update_every=WINDOW)], ids=["reinforce", "ppo"])
@pytest.mark.parametrize("mean", [-300.0, 0.0, 300.0])
def test_an_update_makes_what_scored_above_the_average_likelier_whatever_the_average(controller, mean):
    score = mean + torch.randn(len(SEEDS), WINDOW, generator=torch.Generator().manual_seed(0))
    before, after, archs = _one_update(controller, 1.0, score)
    likelier = _log_prob(controller, after, archs) - _log_prob(controller, before, archs)
    assert (((score - score.mean(1, keepdim=True)) * likelier).sum(1) > 0).all()


@pytest.mark.parametrize("batches", [(16,), (8, 8), (3, 13), (5, 5, 5, 1), (16, 3, 5)])
def test_every_evaluation_is_learned_from_once_whatever_the_batch(batches, monkeypatch):
    controller, state, archs, windows = Ppo(SPACE, update_every=WINDOW), None, [], []
    update = Ppo._update
    monkeypatch.setattr(Ppo, "_update", lambda self, s, full: windows.append(s.archs) or update(self, s, full))
    state = controller.begin(_toys.TASK, SEEDS)
    for batch in batches:
        proposal = controller.propose(state, batch)
        state = controller.learn(state, proposal, _toys.evaluate(SPACE)(proposal))
        archs.append(proposal.archs)
    assert torch.equal(torch.cat(windows, 1), torch.cat(archs, 1))


@pytest.mark.parametrize("made", [Reinforce, Ppo])
def test_the_entropy_term_alone_raises_the_entropy(made):
    controller, score = made(SPACE, entropy=1.0), torch.full((len(SEEDS), WINDOW), 7.0)
    before, after, archs = _one_update(controller, 6.0, score)
    entropy = [nets.entropy(controller.net.log_probs(state.params, archs)).mean(1) for state in (before, after)]
    assert (entropy[1] > entropy[0]).all()


def test_without_an_entropy_term_equal_scores_move_no_policy():
    for controller in (Reinforce(SPACE), Ppo(SPACE, entropy=0.0)):
        before, after, _ = _one_update(controller, 6.0, torch.full((len(SEEDS), WINDOW), 7.0))
        assert all(torch.equal(after.params[n], p) for n, p in before.params.items())


def test_adam_steps_are_as_long_as_the_rate_and_go_down():
    params = {"p": torch.tensor([[3.0, -2.0]])}
    moved, _ = optim.adam(params, {"p": torch.tensor([[10.0, -0.1]])}, optim.adam_begin(params), lr=0.5)
    torch.testing.assert_close(moved["p"], torch.tensor([[2.5, -1.5]]))


@pytest.fixture(scope="module")
def reinforced():
    """Searches of a policy that was never trained, their returns by hand, and its log probability before and after a step."""
    learner = rl2.Rl2(synthetic_tasks.task_set(synthetic_tasks.scores(0)), predict_steps=0, policy_steps=1, entropy=0.0)
    request = TaskRequest(2, None, search_lengths=(4, 5), searches=8)
    stage = learner.stages[1]._replace(requests=(request, TaskRequest(2, 200, num_query=8)))
    batch, state = task_sampler.build(learner.tasks).batch(stage, 0, 0), outer_loop.untrained(learner, 0)
    sharper = {
        "policy_head.2.weight": 30 * state.params["policy_head.2.weight"]
    }  # Else all are all but equally likely.
    state = state._replace(params=state.params | sharper)
    net = rl2._descent.network(transformer.TaskTransformer, state.params)
    played = rollouts.rollout(net, batch[0], state.hidden[synthetic_tasks.SPACE.name])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rl2, "_ALONGSIDE", 0.0)  # What prediction adds would move the policy too.
        after, _ = learner.update(state, batch)
    moved = rl2._descent.network(transformer.TaskTransformer, after.params)
    return played, *(_of_searches(policy, played) for policy in (net, moved))


@torch.no_grad()
def _of_searches(net, played):
    """The log probability of each proposal of some searches under a policy."""
    log_probs = torch.cat([rollouts._log_probs_at(net, played, t) for t in range(played.score.shape[1])], 1)
    return nets.log_prob(log_probs, played.archs)


def test_a_step_of_meta_training_makes_evaluations_that_removed_more_regret_likelier(reinforced):
    played, before, after = reinforced
    score = played.score.view(2, 8, -1)
    to_go = torch.stack([score.amax(-1) - score[..., :t].amax(-1) if t else score.amax(-1) for t in range(4)], -1)
    advantage = (to_go - to_go.mean(1, keepdim=True)) / to_go.std(1, keepdim=True)
    assert (advantage.flatten(0, 1) * (after - before)).mean() > 0


def test_the_log_probability_of_a_search_is_that_of_the_policy_that_made_it(reinforced):
    played, before, _ = reinforced
    assert (before - before.flip(0)).abs().mean() > 0.5
    torch.testing.assert_close(played.log_prob, before, check_dtype=False, atol=1e-3, rtol=1e-3)
