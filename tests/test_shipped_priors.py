"""What ships is read: noise in the place of its weights makes searches worse."""

import pytest
import torch

from controller.models import prior_file
from nas import plugins, tasks
from nas.run import priors

SEEDS = torch.arange(16)


def evaluations_to_top(controller, prior, evals, share=0.01, **settings):
    """Of each seed: the evaluation that first found one of the best 1% of digits; the budget and one more if none did."""
    evaluator = tasks.find("own201/digits")
    searched = plugins.load("controller", controller)(evaluator.space, **settings)
    evaluate, scores = evaluator.load(SEEDS), []
    state = searched.begin(evaluator.task, SEEDS, prior)
    for _ in range(evals):
        proposal = searched.propose(state, 1)
        results = evaluate(proposal)
        state = searched.learn(state, proposal, results)
        scores.append(results.score[:, 0])
    top = evaluator.table.column(evaluator.search_column).nan_to_num(-torch.inf).quantile(1 - share)
    found = torch.stack(scores, 1) >= top
    return torch.where(found.any(1), found.int().argmax(1) + 1, evals + 1)


def with_noise(prior, *groups):
    """The prior with the tensors of groups shuffled: the same numbers, in no order."""
    generator = torch.Generator().manual_seed(0)

    def shuffled(tensor):
        order = torch.randperm(tensor.numel(), generator=generator)
        return tensor.flatten()[order].view(tensor.shape)

    params = {n: shuffled(t) if n.split("/")[0] in groups else t for n, t in prior.params.items()}
    assert params.keys() == prior.params.keys()
    return prior._replace(params=params)


@pytest.mark.skipif(not priors.SHIPPED_POLICY.is_file(), reason="needs the shipped policy")
def test_noise_in_the_place_of_the_policy_makes_its_searches_worse():
    prior = priors.find("shipped", "attention_policy")
    ours, noise = (evaluations_to_top("attention_policy", p, 40).double() for p in (prior, with_noise(prior, "policy")))
    assert ours.mean() < noise.mean() - 3 * (ours.var() / len(SEEDS) + noise.var() / len(SEEDS)).sqrt()


def test_noise_in_the_place_of_what_the_prior_knows_of_the_space_makes_searches_worse():
    prior = priors.find("shipped", "transfer_bo")
    # Asked to keep its prior, as a search gives noise up and is then as good as one without a prior.
    believed = {"prior_test": "none", "least_prior_weight": 0.0}
    ours, noise = (
        evaluations_to_top("transfer_bo", p, 20, **believed).double()
        for p in (prior, with_noise(prior, "spaces", "portfolios"))
    )
    assert ours.mean() < noise.mean() - 3 * (ours.var() / len(SEEDS) + noise.var() / len(SEEDS)).sqrt()


def test_every_tensor_that_ships_has_a_use():
    """Of the file of transfer_bo no policy, which only attention_policy and large spaces ask; of that of the policy no tables."""
    assert not [n for n in prior_file.read(str(priors.SHIPPED)).params if n.startswith("policy/")]
    if priors.SHIPPED_POLICY.is_file():
        groups = {n.split("/")[0] for n in prior_file.read(str(priors.SHIPPED_POLICY)).params}
        assert groups <= {"encoder", "policy"}
