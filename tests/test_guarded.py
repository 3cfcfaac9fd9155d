"""A guarded search costs at most twice the one without its prior, on tasks where the prior helps and where it lies."""

import json

import pytest
import torch

from controller import Prior, Results
from controller.candidates import pending, ragged
from controller.guarded import Guarded
from controller.models import features, prior_file
from nas import plugins
from nas.run import asynchronous, priors, state_tree
from nas.run.step_log import History
from nas.testing import synthetic_tasks
from nas.testing.synthetic_tasks import SPACE, TASKS
from search_spaces import UserError, _ops

TASK = TASKS["wide"]
SEEDS = torch.tensor([7, 1, 4, 12, 3])
EVALS = 24
COLD = "evolution/population=4"


@pytest.fixture(scope="module")
def scores_SN():
    """A task for each seed, with failures."""
    scores = synthetic_tasks.scores(3)[0, : len(SEEDS)].clone()
    return scores.where(torch.rand(scores.shape, generator=torch.Generator().manual_seed(0)) > 0.1, torch.nan)


def ranking(score_N, sign):
    """A prior that ranks by these scores, or the other way round."""
    rank = torch.full((1, _ops.size(SPACE.choices)), torch.nan)
    every = features.enumerate_valid(SPACE).archs
    rank[0, _ops.index(every, SPACE.choices)] = (-sign * score_N.nan_to_num(-9.0)).argsort().argsort().float()
    return Prior({"rank": rank}, {"controller": "portfolio"})


def searched(controller, prior, scores_SN, batch=1, evals=EVALS, seeds=SEEDS, state=None):
    state = controller.begin(TASK, seeds, prior) if state is None else state
    archs, found = [], []
    for _ in range(evals // batch):
        proposal = controller.propose(state, batch)
        score = scores_SN.gather(1, features.row_of(SPACE, proposal.archs))
        state = controller.learn(state, proposal, Results(score, torch.ones_like(score)))
        archs.append(proposal.archs)
        found.append(score)
    return torch.cat(archs, 1), torch.cat(found, 1), state


def best_so_far(score_SE):
    return score_SE.nan_to_num(-torch.inf).cummax(1).values


def cold_search(scores_SN, batch, evals=EVALS):
    return searched(plugins.load("controller", "evolution")(SPACE, population=4), None, scores_SN, batch, evals)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("sign", [1, -1])
def test_what_the_cold_search_reaches_is_reached_after_twice_its_evaluations(scores_SN, sign, batch):
    prior = ranking(scores_SN[0], sign)
    archs, score, _ = searched(Guarded(SPACE, cold=COLD, patience=6), prior, scores_SN, batch)
    cold_archs, cold_score, _ = cold_search(scores_SN, batch)
    ours, cold = best_so_far(score), best_so_far(cold_score)
    for n in range(batch, EVALS // 2 + 1, batch):
        assert (ours[:, 2 * n - 1] >= cold[:, n - 1]).all()
        # Not by luck: the first n evaluations of the cold search are among them, to the bit.
        theirs = (cold_archs[:, :n, None] == archs[:, None, : 2 * n]).all(-1)
        assert theirs.any(2).all()


def test_a_prior_that_lies_is_dropped_and_from_then_on_the_search_is_the_cold_one(scores_SN):
    archs, _, state = searched(Guarded(SPACE, cold=COLD, patience=6), ranking(scores_SN[0], -1), scores_SN)
    assert state.dropped.all()
    assert state.evaluated.sum(1).tolist() == [EVALS] * len(SEEDS)
    cold_archs, *_ = cold_search(scores_SN, 1)
    for s, (warm, cold) in enumerate(state.evaluated.tolist()):
        assert 6 <= warm < EVALS // 2
        last = EVALS - 2 * warm
        assert torch.equal(archs[s, -last:], cold_archs[s, cold - last : cold])


def test_the_bits_of_a_seed_depend_neither_on_others_nor_on_a_stop(scores_SN):
    # The state of `bayesian` grows with its evaluations.
    controller = Guarded(SPACE, cold="bayesian/num_initial=4", patience=3)
    prior = ranking(synthetic_tasks.scores(9)[1, 0], 1)
    whole, _, last = searched(controller, prior, scores_SN)
    assert len(set(map(tuple, last.evaluated.tolist()))) > 1  # The seeds stand at different steps.
    for s in range(len(SEEDS)):
        alone, _, own = searched(controller, prior, scores_SN[s : s + 1], seeds=SEEDS[s : s + 1])
        assert torch.equal(alone[0], whole[s])
        for path, leaf in state_tree.flatten(own).items():
            assert torch.equal(leaf[0].nan_to_num(-1), state_tree.flatten(last)[path][s].nan_to_num(-1)), path
    _, _, stopped = searched(controller, prior, scores_SN, evals=13)
    like = controller.begin(TASK, SEEDS, prior)
    again = state_tree.unflatten(like, state_tree.flatten(stopped))
    rest, *_ = searched(controller, prior, scores_SN, evals=EVALS - 13, state=again)
    assert torch.equal(rest, whole[:, 13:])


def test_a_file_of_any_controller_s_prior_is_for_a_guarded_search(scores_SN, tmp_path):
    prior_file.write(tmp_path / "prior", ranking(scores_SN[0], 1))
    found = priors.find(str(tmp_path / "prior"), "guarded")
    assert found is not None
    state = Guarded(SPACE, prior=str(tmp_path / "prior")).begin(TASK, SEEDS)
    assert torch.equal(state.warm_name, Guarded(SPACE).begin(TASK, SEEDS, found).warm_name)
    assert not state.dropped.any()


def test_the_arms_are_named_by_settings_or_by_the_prior(scores_SN):
    prior = ranking(scores_SN[0], 1)
    with pytest.raises(UserError, match="the prior is for controller 'portfolio'"):
        Guarded(SPACE, warm="reinforce").begin(TASK, SEEDS, prior)
    with pytest.raises(UserError, match="No controller is called 'evolutoin'"):
        Guarded(SPACE, cold="evolutoin").begin(TASK, SEEDS, prior)
    with pytest.raises(UserError, match="population is 'x'; it takes a whole number"):
        Guarded(SPACE, cold="evolution/population=x").begin(TASK, SEEDS, prior)
    with pytest.raises(UserError, match="settings are NAME=VALUE after slashes"):
        Guarded(SPACE, cold="evolution/4").begin(TASK, SEEDS, prior)
    with pytest.raises(UserError, match="asks for trainings of other lengths or for mixtures"):
        Guarded(SPACE, cold="darts").begin(TASK, SEEDS, prior)
    assert Guarded(SPACE).prior_weight(Guarded(SPACE).begin(TASK, SEEDS, prior)).tolist() == [0.5] * len(SEEDS)
    assert Guarded(SPACE).prior_weight(Guarded(SPACE).begin(TASK, SEEDS)).tolist() == [0.0] * len(SEEDS)


class SideBySide:
    """Evaluations of three workers that end in another order than they began."""

    concurrency = 3

    def __init__(self, score_N):
        self.space, self.score_N, self.running, self.ended = SPACE, score_N, [], 0

    def submit(self, ticket, arch, epochs, seed):
        self.running.append((ticket, float(self.score_N[features.row_of(SPACE, arch[None])])))

    def wait(self):
        self.ended += 1
        return *self.running.pop(self.ended % len(self.running)), 1.0

    def abandon(self):
        self.running.clear()


def test_side_by_side_each_arm_learns_what_it_proposed(scores_SN):
    """Before, whose turn it was learned: the cold arm was fed what the prior copies."""
    controller, score_N = Guarded(SPACE, cold=COLD, patience=6), scores_SN[0].nan_to_num(-9.0)
    state, none = controller.begin(TASK, SEEDS[:1], ranking(score_N, -1)), torch.zeros(1, 0)
    past = History(torch.zeros(1, 0, len(SPACE.choices), dtype=torch.long), none, none, 0.0, 0)
    cold = plugins.load("controller", "evolution")(SPACE, population=4)
    own, asked = cold.begin(TASK, SEEDS[:1]), []
    for step, waiting in asynchronous.steps(controller, SideBySide(score_N), state, (), past, 7, EVALS):
        if int(step.proposal.arm) == 1:
            own = cold.learn(own, step.proposal, step.results)
        asked.append(int(step.proposal.arm))
        kept = pending.from_json(json.loads(json.dumps(pending.as_json(waiting))), SPACE)
        assert [g.arm.tolist() for g in kept] == [g.arm.tolist() for g in waiting]
        evaluated = step.state.evaluated[0].tolist()
        assert evaluated == [asked.count(0), asked.count(1)]
        assert evaluated[0] <= evaluated[1] + SideBySide.concurrency
        (_, learned), *_ = ragged.groups(step.state.cold, torch.tensor([True]))
        for path, leaf in state_tree.flatten(own).items():
            assert torch.equal(leaf, state_tree.flatten(learned)[path]), path
    assert {*asked} == {0, 1}


def test_arms_are_not_told_which_arm_of_this_controller_they_are(scores_SN, monkeypatch):
    """`attention_policy` has arms of its own, by the same numbers."""
    evolution, told = plugins.load("controller", "evolution"), []
    learn = evolution.learn

    def watched(self, state, proposal, results):
        told.append(proposal.arm)
        return learn(self, state, proposal, results)

    monkeypatch.setattr(evolution, "learn", watched)
    controller = Guarded(SPACE, cold=COLD)
    searched(controller, ranking(scores_SN[0], 1), scores_SN, evals=4)
    assert told == [None, None]
