"""Who searches, and that it pays: laws over every controller on synthetic tasks, judged by sign tests."""

import pytest
import torch

from controller.models.scores import nan_to_worst
from nas import plugins
from nas.testing.controller_laws import ends_above_random_search, failures_are_not_sought, learns_from_scores
from nas.testing.sign_test import p_value

EVERY = pytest.mark.parametrize("name", plugins.names("controller"))
_UNTAUGHT = {"attention_policy", "learned_policy", "probed_portfolio", "surrogate_bo"}
"""They sample at random without a prior."""
IDLE = {"random_search", "oracle", "worst", "portfolio"} | _UNTAUGHT
"""The order of the others is fixed beforehand."""


@pytest.mark.parametrize("name", sorted(set(plugins.names("controller")) - IDLE))
def test_every_controller_that_learns_from_scores_ends_above_random_search(name):
    ends_above_random_search(plugins.load("controller", name))


@pytest.mark.parametrize("name", sorted(IDLE))
def test_no_score_changes_what_the_others_propose_without_a_prior(name):
    assert not learns_from_scores(plugins.load("controller", name))


@EVERY
def test_no_controller_takes_a_failed_evaluation_for_the_best(name):
    failures_are_not_sought(plugins.load("controller", name))


def test_what_failed_compares_as_the_worst():
    score = torch.tensor([3.0, torch.nan, -torch.inf, torch.inf])
    assert nan_to_worst(score).tolist() == [3.0, -torch.inf, -torch.inf, torch.inf]


def test_the_sign_test_is_that_of_scipy():
    from scipy.stats import binomtest

    for better, worse in ((0, 0), (16, 0), (9, 7), (170, 86), (300, 40)):
        n = better + worse
        expected = binomtest(better, n, alternative="greater").pvalue if n else 1.0
        assert p_value(better, worse) == pytest.approx(expected)
