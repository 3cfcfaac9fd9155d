"""Law 1 in the numbers themselves: what models make of a search has the same bits alone and in any company.

Architectures alone would show it only where two are all but equally good.
"""

from dataclasses import replace

import pytest
import torch

from controller import Proposal, Results
from controller.candidates import pool
from controller.models import constraints, kernels, prior_file, transfer_model
from controller.policies import attention
from controller.transfer_bo import TransferBO
from nas import plugins
from nas.run import priors
from nas.testing.large_space import LargeSpace
from search_spaces import _sampling
from tests import _toys

SPACE = plugins.load("space", "nasbench201")()
SEEDS = torch.arange(40)
COMPANIES = [slice(i, i + size) for size in (1, 2, 7) for i in (0, 9)]


EVALUATIONS = pytest.mark.parametrize("evaluations", [1, 21])


def searched(name, evaluations, prior=None, task=_toys.TASK, run=None, **settings):
    controller = plugins.load("controller", name)(SPACE, **settings)
    state = controller.begin(task, SEEDS, prior_file.read(str(prior)) if prior else None)
    run = _toys.evaluate(SPACE, failing=0.1) if run is None else run
    archs = _sampling.sample(SPACE, SEEDS, 3, evaluations)
    state = controller.learn(state, Proposal(archs), run(Proposal(archs)))
    return controller, state, _sampling.sample(SPACE, SEEDS, 77, 51)


def differences(numbers, state):
    """The largest differences between the numbers of a few searches, made without the others, and with them."""
    whole = numbers(state)
    for some in COMPANIES:
        for ours, theirs in zip(numbers(type(state)(*(leaf[some] for leaf in state))), whole):
            yield (ours.double() - theirs[some].double()).nan_to_num(0.0).abs().max().item() if ours.numel() else 0.0


@EVALUATIONS
@pytest.mark.parametrize("encoding", ["one_hot", "path"])
def test_company_changes_no_bit_of_a_gaussian_process(encoding, evaluations):
    controller, state, archs = searched("bayesian", evaluations, encoding=encoding)
    process = controller._process

    def numbers(some):
        return process._posterior(*process._remembered(some), archs[some.seeds])

    assert set(differences(numbers, state)) == {0.0}


@EVALUATIONS
@pytest.mark.parametrize("prior", [None, priors.SHIPPED], ids=["cold", "shipped"])
def test_company_changes_no_bit_of_the_ensemble(prior, evaluations):
    controller, state, archs = searched("transfer_bo", evaluations, prior)

    def numbers(some):
        model, history = transfer_model.find(SPACE, some.prior), controller._history(some)
        inputs = model.features(archs[some.seeds])
        ranked = kernels.ridge(model.ridge_features, model.row_of(history.archs), history.scores[..., None], 0.1)
        ranked = kernels.products_of_rows(ranked.squeeze(-1), model.ridge_features.mT)
        return *controller._posterior(model, history, inputs), pool._ridge_top_k(model, some, history), ranked

    assert set(differences(numbers, state)) == {0.0}


@EVALUATIONS
def test_company_changes_no_bit_of_penalties(evaluations):
    def run(proposal):
        score = proposal.archs.float().sum(-1)
        ratio = torch.stack([score / 9, (proposal.archs + 1).float().prod(-1).log() / 4], -1)
        return Results(score, score, ratio + 0.1)

    task = replace(_toys.TASK, constraints=(20.0, 5.0))
    _, state, archs = searched("transfer_bo", evaluations, priors.SHIPPED, task, run)

    def numbers(some):
        model = transfer_model.find(SPACE, some.prior)
        asked = archs[some.seeds]
        penalty = constraints.penalty_posterior(model, some, asked, model.features(asked))
        return penalty.observed, *(value for _, value in penalty.candidates), constraints.ridge_penalty(model, some)

    assert set(differences(numbers, state)) == {0.0}


@EVALUATIONS
def test_company_moves_the_attention_policy_by_its_rounding_alone(evaluations):
    """Its products are float64 ones of all searches at once: it takes Gumbel noise within 1e-12 of a tie to see company."""
    _, state, _ = searched("attention_policy", evaluations, priors.SHIPPED_POLICY)

    def numbers(some):
        network, context = attention._context(transfer_model.find(SPACE, some.prior), some)
        return [network.policy_query(context)]

    assert max(differences(numbers, state)) < 1e-12


@pytest.mark.parametrize("prior", [None, priors.SHIPPED], ids=["cold", "shipped"])
def test_company_changes_no_bit_in_a_space_without_a_list_and_nothing_is_undefined_there(prior):
    space = LargeSpace()
    controller, archs = TransferBO(space), _sampling.sample(space, SEEDS, 77, 51)
    state = controller.begin(_toys.TASK, SEEDS, prior_file.read(str(prior)) if prior else None)
    seen = _sampling.sample(space, SEEDS, 3, 11)
    score = (seen == 2).float().sum(-1)
    state = controller.learn(state, Proposal(seen), Results(score, score))

    def numbers(some):
        model, history = transfer_model.find(space, some.prior), controller._history(some)
        inputs = model.features(archs[some.seeds])
        return inputs.mean, inputs.components, *controller._posterior(model, history, inputs)

    assert all(x.isfinite().all() for x in numbers(state))
    assert set(differences(numbers, state)) == {0.0}
