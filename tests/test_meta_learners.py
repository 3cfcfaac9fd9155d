"""The laws of meta-learners over every one on disk; the last is law 6: learning on some tasks shortens searches of others."""

import pytest

from nas import plugins
from nas.testing import laws
from nas.testing.meta_learner_laws import LEAST_GAIN, evaluations

EVERY = pytest.mark.parametrize("name", plugins.names("meta-learner"))


@EVERY
@pytest.mark.parametrize("law", laws("meta-learner"), ids=lambda law: law.__name__)
def test_a_meta_learner_keeps_the_law(law, name):
    law(plugins.load("meta-learner", name))


@EVERY
@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_learning_shortens_searches_of_other_tasks_too(name, seed):
    untrained, trained = evaluations(plugins.load("meta-learner", name), seed)
    assert trained <= LEAST_GAIN * untrained, (untrained, trained)
