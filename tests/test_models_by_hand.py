"""Small parts of the models, each against what it is by definition."""

from __future__ import annotations

import pytest
import torch

from controller import Results
from controller.candidates import exploration, pool
from controller.models import prior_file, scores, task_features, transfer_model
from controller.transfer_bo import TransferBO
from nas.run import priors
from nas.testing.toys import TASK
from nas.training.program import compiled
from search_spaces import Task, UserError, _ops
from search_spaces.nasbench201 import NasBench201
from tests import golden

SPACE = NasBench201()


def test_a_ridge_regression_sees_every_feature_and_a_constant():
    model = transfer_model.make(SPACE, None, TASK)
    every = model.all_features
    assert model.ridge_features.shape == (5**6, sum(x.shape[1] for x in every) + 1)
    assert (model.ridge_features[:, -1] == 1).all()
    assert torch.equal(model.ridge_features[:, : every.one_hot.shape[1]], every.one_hot)


def test_a_failed_evaluation_lies_just_below_the_lowest_of_its_own_search():
    """Each search has its own lowest score; a new score between is placed by its own search alone."""
    nan = torch.nan
    score = torch.tensor([[5.0, nan, 1.0, 3.0], [500.0, 100.0, nan, 300.0]])
    new = torch.tensor([[0.999, 2.0, nan], [99.0, 200.0, nan]])
    together = scores.normal_scores_relative_to(score, new)
    for s in range(2):
        alone = scores.normal_scores_relative_to(score[s : s + 1], new[s : s + 1])
        assert torch.equal(together[s : s + 1], alone)
    normal = scores.normal_scores(score)
    assert torch.allclose(together[0, 1], normal[0, [2, 3]].mean())
    assert torch.allclose(together[:, 2], normal[[0, 1], [1, 2]]), "a failure is placed with the failures"
    assert (together[:, 0] < normal[[0, 1], [2, 1]]).all()
    below_zero = torch.tensor([[-5.0, nan, -1.0, -3.0]])
    placed = scores.normal_scores_relative_to(below_zero, torch.tensor([[-5.0, -3.0, -1.0, nan]]))
    assert torch.allclose(placed, scores.normal_scores(below_zero)[:, [0, 3, 2, 1]], atol=1e-6)


def test_log_costs_are_in_deviations_and_three_at_most():
    seconds = torch.ones(4, 20)
    seconds[0, 3], seconds[1, 3] = 100.0, 0.01
    seconds[2] = 7.0
    seconds[3, :3] = torch.tensor([torch.nan, 0.0, 2.0])
    found = task_features.standardised_log_cost(seconds)
    # One of twenty apart lies root of 19 deviations from the mean, the others as far again over 19.
    assert found[0].tolist() == pytest.approx([-(19**-0.5)] * 3 + [3.0] + [-(19**-0.5)] * 16)
    assert torch.equal(found[1], -found[0])
    assert not found[2].any()
    assert found[3, :2].tolist() == [0, 0]
    assert found[3, 2] == 3.0


@pytest.mark.parametrize(("prior", "ranked"), [("none", 0), ("shipped", 128)])
def test_candidates_are_neighbors_of_eight_the_first_of_a_ridge_regression_and_of_the_prior_and_random_ones(
    prior, ranked
):
    controller = TransferBO(SPACE)
    state = controller.begin(TASK, torch.arange(2), priors.find(prior, "transfer_bo"))
    model = transfer_model.find(SPACE, state.prior)
    before = pool._candidates(model, state, controller._history(state), 0)
    assert before.shape[1] == 192 + ranked + 128
    state = golden.searched(controller, 20, prior=priors.find(prior, "transfer_bo"))
    model = transfer_model.find(SPACE, state.prior)
    found = pool._candidates(model, state, controller._history(state), 0)
    assert found.shape[1] == 8 * 24 + 192 + ranked + 128
    best = state.score.nan_to_num(-1).argsort(descending=True)[:, :8]
    around = _ops.neighbours(state.archs[torch.arange(2)[:, None], best], SPACE.choices).flatten(1, 2)
    assert torch.equal(found[:, : 8 * 24].sort(1).values, around.sort(1).values)
    if ranked:
        start = 8 * 24 + 192
        assert torch.equal(found[0, start : start + 128], model.all_archs[model.prior_ranking[:128]])


def test_an_embedding_is_the_same_where_the_space_is_not_listed(monkeypatch):
    model = transfer_model.make(SPACE, priors.find("shipped", "transfer_bo"), TASK)
    archs = golden.ARCHS.view(2, 4, 6)
    listed = model.embedding(archs)
    monkeypatch.setattr(type(model.prior), "encode_all", lambda *_: None)
    found = model.embedding(archs)
    assert found.shape == listed.shape == (2, 4, listed.shape[-1])
    torch.testing.assert_close(found, listed, rtol=1e-5, atol=1e-6)


def test_a_search_is_stalled_where_the_last_evaluations_brought_nothing_better():
    nan = torch.nan
    score = torch.tensor([[1.0, 2, 0, 2], [1, 2, 0, 3], [nan, 2, nan, nan], [5, 1, 2, 3]])
    assert exploration.no_improvement(score, 2).tolist() == [True, False, True, True]
    assert exploration.no_improvement(score, 3).tolist() == [False, False, False, True]
    assert not exploration.no_improvement(score, 4).any(), "there was none before"


def test_a_constraint_that_was_not_measured_is_taken_for_kept():
    controller = TransferBO(SPACE)
    task = Task("toy", (3, 32, 32), 10, constraints=(5.0, 2.0))
    state = controller.begin(task, torch.arange(2))
    proposal = controller.propose(state, 2)
    ratio = torch.tensor([[[0.5, torch.nan], [2.0, 1.5]]]).expand(2, -1, -1)
    results = Results(torch.ones(2, 2), torch.ones(2, 2), ratio)
    learned = controller.learn(state, proposal, results)
    assert learned.constraint_ratio[0].tolist() == [[0.5, 1.0], [2.0, 1.5]]
    assert learned.penalty_weights.tolist() == [[5.0, 2.0]] * 2


def test_a_policy_joins_the_prior_whose_encoder_it_was_trained_on_and_no_other():
    prior, policy = (prior_file.read(str(path)) for path in (priors.SHIPPED, priors.SHIPPED_POLICY))
    joined = prior_file.unpack(prior_file.with_policy(prior, policy).params)
    ours, theirs = prior_file.unpack(prior.params), prior_file.unpack(policy.params)
    assert theirs.policy
    assert joined.policy.keys() == theirs.policy.keys()
    assert all(torch.equal(joined.policy[name], theirs.policy[name]) for name in theirs.policy)
    assert all(torch.equal(joined.encoder[name], ours.encoder[name]) for name in ours.encoder)
    assert torch.equal(joined.families.coords, ours.families.coords)
    first = next(iter(theirs.encoder))
    others = (theirs.encoder | {first: theirs.encoder[first] + 1}, {"other": torch.zeros(1)})
    for encoder in others:
        stranger = policy._replace(params=prior_file.pack(theirs._replace(encoder=encoder)))
        with pytest.raises(UserError, match="another encoder"):
            prior_file.with_policy(prior, stranger)


def test_the_work_of_a_compiled_network_is_that_of_its_convolutions():
    task = Task("toy", (3, 16, 8), 7)
    for arch in ([3, 1, 2, 4, 2, 3], [2, 2, 3, 3, 3, 2]):
        names = [SPACE.operations[0][c] for c in arch]
        _, flops = NasBench201(6, 2).cost(torch.tensor(arch), task)
        assert compiled(names, task, 6, 2).work == flops - 24 * 7, "the classifier is no convolution"
