"""The laws of meta-learners over every one on disk; the last is law 6: learning on some tasks improves searches of others."""

import pytest

from nas import plugins
from nas.testing import laws
from nas.testing.meta_learner_laws import every_stage_learns, improved, learning_improves_searches
from nas.testing.sign_test import ERROR, p_value

TRAINED = [every_stage_learns, learning_improves_searches]
"""Laws of one training, in one test: worker processes would train anew."""
EVERY = pytest.mark.parametrize("name", plugins.names("meta-learner"))


@EVERY
@pytest.mark.parametrize("law", [x for x in laws("meta-learner") if x not in TRAINED], ids=lambda law: law.__name__)
def test_a_meta_learner_keeps_the_law(law, name):
    law(plugins.load("meta-learner", name))


# Trained in other tests too, as the one that stops in a step.
@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow if n == "rl2" else ()) for n in plugins.names("meta-learner")],
)
def test_every_stage_of_a_training_learns_and_the_prior_improves_searches_of_other_tasks(name):
    for law in TRAINED:
        law(plugins.load("meta-learner", name))


@EVERY
@pytest.mark.slow
def test_learning_improves_searches_of_other_tasks_too(name):
    better, worse = map(sum, zip(*(improved(plugins.load("meta-learner", name), seed) for seed in (1, 2))))
    assert p_value(better, worse) < ERROR, (better, worse)
