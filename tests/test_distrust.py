"""A prior that misleads is given up soon, and from then on a search is one without a prior; a prior that helps is kept."""

import pytest
import torch

from controller import Results
from controller.meta.transfer_gp import TransferGp
from controller.models import features, transfer_model
from controller.transfer_bo import TransferBO
from nas import tasks
from nas.meta import task_similarity
from nas.run import priors
from nas.testing import synthetic_tasks
from nas.testing.synthetic_tasks import SPACE, TASKS, TRAINED

TASK = TASKS["wide"]
SEEDS = torch.arange(3)
EVALS = 10


@pytest.fixture(scope="module")
def scores_FKN():
    return synthetic_tasks.scores(5)


@pytest.fixture(scope="module")
def prior(scores_FKN):
    learner = TransferGp(synthetic_tasks.task_set(scores_FKN), pca_steps=0)
    state, _ = learner.update(learner.init(torch.tensor([0])), ())
    return learner.prior(state)


def unrelated(number):
    """Scores of a task that has nothing in common with those of the prior."""
    return synthetic_tasks.scores(6)[0, TRAINED + number]


def nine_of_ten_fail(score_N, seed):
    fails = torch.rand(len(score_N), generator=torch.Generator().manual_seed(seed)) < 0.9
    return score_N.where(~fails, torch.nan)


def searched(score_N, prior, evals=EVALS, batch=1, seeds=SEEDS, **settings):
    controller = TransferBO(SPACE, **settings)
    state = controller.begin(TASK, seeds, prior)
    for _ in range(evals // batch):
        proposal = controller.propose(state, batch)
        score = score_N[features.row_of(SPACE, proposal.archs)]
        state = controller.learn(state, proposal, Results(score, torch.ones_like(score)))
    return controller, state


def without_prior(state):
    return state._replace(prior=torch.full_like(state.prior, transfer_model.NO_PRIOR))


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_prior_that_lies_is_given_up_within_ten_evaluations(prior, number):
    controller, state = searched(unrelated(number), prior)
    assert (state.given_up >= controller.num_prior_first).all()


@pytest.mark.parametrize("number", [0, 1, 2])
@pytest.mark.parametrize("sign", [1, -1])
def test_so_is_one_where_nine_of_ten_cells_fail(scores_FKN, prior, number, sign):
    controller, state = searched(nine_of_ten_fail(sign * scores_FKN[0, TRAINED + number], number), prior)
    assert (state.given_up >= controller.num_prior_first).all()


@pytest.mark.parametrize("copied", [0, 1, 2])
def test_the_evaluation_after_those_copied_is_what_a_search_without_prior_would_make(scores_FKN, prior, copied):
    controller, state = searched(scores_FKN[0, TRAINED], prior, max(copied, 1), num_copied=copied)
    tested, cold = (controller.propose(x, 1).archs for x in (state, without_prior(state)))
    assert torch.equal(tested, cold)
    untested = TransferBO(SPACE, num_copied=copied, prior_test="none").propose(state, 1).archs
    assert not torch.equal(untested, cold)


def test_a_search_with_a_limit_does_not_test_its_prior():
    evaluator, prior = tasks.find("own201/digits+own201/digits/params<=q30"), priors.find("shipped", "transfer_bo")
    seeds, proposed = torch.arange(2), []
    for how in ("cold", "none"):
        controller = TransferBO(evaluator.space, prior_test=how)
        state = controller.begin(evaluator.task, seeds, prior)
        first = controller.propose(state, 2)
        state = controller.learn(state, first, evaluator.load(seeds)(first))
        proposed.append(controller.propose(state, 1).archs)
    assert torch.equal(*proposed)


def test_a_random_test_of_the_prior_differs_from_search_to_search(scores_FKN, prior):
    controller, state = searched(scores_FKN[0, TRAINED], prior, 2, seeds=torch.arange(40), prior_test="random")
    archs = controller.propose(state, 1).archs
    assert len(archs.unique(dim=0)) > 30
    assert not (archs[:, :, None] == state.archs[:, None]).all(-1).any()


def test_in_a_batch_the_test_of_the_prior_stands_after_what_is_copied(scores_FKN, prior):
    controller, state = searched(scores_FKN[0, TRAINED], prior, 1)
    archs = controller.propose(state, 4).archs
    first = transfer_model.find(SPACE, state.prior).first_archs
    assert torch.equal(archs[:, 0], first[1].expand(3, -1))
    assert torch.equal(archs[:, 1], controller.propose(without_prior(state), 1).archs[:, 0])
    assert len(archs[0].unique(dim=0)) == 4


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_prior_of_such_tasks_is_kept(scores_FKN, prior, number):
    _, state = searched(scores_FKN[0, TRAINED + number], prior, 6)
    assert state.given_up.tolist() == [0] * 3


@pytest.mark.parametrize("batch", [1, 4])
def test_a_search_that_gave_its_prior_up_proposes_what_one_without_would(prior, batch):
    """To the bit, so that a prior costs no more than the evaluations before; also beside searches that keep theirs."""
    controller, state = searched(nine_of_ten_fail(unrelated(0), 0), prior, 12, batch)
    state = state._replace(given_up=torch.full((3,), 8))
    kept = state._replace(given_up=torch.tensor([0, *state.given_up[1:].tolist()]))
    proposed, cold = (controller.propose(x, 4).archs for x in (kept, without_prior(state)))
    assert torch.equal(proposed[1:], cold[1:])
    assert not torch.equal(proposed[0], cold[0])
    assert torch.equal(proposed[:1], controller.propose(type(kept)(*(leaf[:1] for leaf in kept)), 4).archs)


def test_the_first_of_a_search_that_gave_its_prior_up_is_random(prior):
    controller, state = searched(unrelated(0), prior, 4, 4, torch.arange(40))
    state = state._replace(given_up=torch.full((40,), 4))
    archs, cold = (controller.propose(x, 3).archs for x in (state, without_prior(state)))
    assert torch.equal(archs[:, 1:], cold[:, 1:])
    assert len(archs[:, 0].unique(dim=0)) > 30
    assert not (archs[:, :1, None] == state.archs[:, None]).all(-1).any()


def test_what_is_given_up_has_no_weight_and_is_not_taken_up_again(scores_FKN, prior):
    controller, state = searched(unrelated(1), prior)
    assert controller.prior_weight(state).tolist() == [0.0] * 3
    again, _ = searched(scores_FKN[0, TRAINED], prior)
    proposal = again.propose(state, 1)
    told = again.learn(state, proposal, Results(torch.full((3, 1), 9.0), torch.ones(3, 1)))
    assert torch.equal(told.given_up, state.given_up)
    line = task_similarity.describe_similarity(controller, state)
    assert line.startswith("Similarity to the prior's tasks: ")
    said = (
        f"the search gave it up after {int(state.given_up[0])} evaluations: models without it predicted scores better"
    )
    assert line.endswith(f"Prior weight: 0% ({said}).")


def test_a_search_may_be_told_to_keep_its_prior_and_one_without_has_nothing_to_give_up(prior):
    lie_N = unrelated(1)
    for settings in ({"least_prior_weight": 0.0}, {"use_cold_hypotheses": False}, {"num_prior_first": 11}):
        assert not searched(lie_N, prior, **settings)[1].given_up.any()
    assert not searched(lie_N, None)[1].given_up.any()
