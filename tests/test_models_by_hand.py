"""Small parts of the models, each against what it is by definition."""

from __future__ import annotations

import pytest
import torch

from controller.models import prior_file, transfer_model
from nas.run import priors
from nas.testing.toys import TASK
from nas.training.program import compiled
from search_spaces import Task, UserError
from search_spaces.nasbench201 import NasBench201

SPACE = NasBench201()


def test_a_ridge_regression_sees_every_feature_and_a_constant():
    model = transfer_model.make(SPACE, None, TASK)
    every = model.all_features
    assert model.ridge_features.shape == (5**6, sum(x.shape[1] for x in every) + 1)
    assert (model.ridge_features[:, -1] == 1).all()
    assert torch.equal(model.ridge_features[:, : every.one_hot.shape[1]], every.one_hot)


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
