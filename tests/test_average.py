"""The mean of weights over the last epochs is what a training ends with, however often it was paused."""

from __future__ import annotations

import pytest
import torch

from nas import training
from nas.training import Images, Recipe, average
from tests.test_population import ALIVE
from tests.test_recipe import KINDS, networks_of

NOISE = torch.Generator().manual_seed(4)
IMAGES = Images(
    torch.randint(256, (48, 1, 8, 8), generator=NOISE, dtype=torch.uint8),
    torch.randint(5, (48,), generator=NOISE),
    # float64, as the networks are.
    torch.tensor([0.5], dtype=torch.float64),
    torch.tensor([0.3], dtype=torch.float64),
)
RECIPE = Recipe(5, batch=16, average=0.6)


class Kept:
    """Networks that learn nothing and keep the steps of the last epoch."""

    counted = ()

    def running_statistics(self, steps):
        return ()

    def learn(self, steps, momentum, weight_decay):
        self.steps = list(steps)
        return torch.zeros(1)


def states(networks):
    return [{name: value.detach().clone() for name, value in networks.state_of(p).items()} for p in range(len(ALIVE))]


@pytest.mark.parametrize(("share", "first"), [(0.0, 5), (0.2, 5), (0.4, 3), (0.6, 2), (1.0, 0)])
def test_the_last_epochs_enter_the_mean_and_one_alone_is_none(share, first):
    assert average.first_epoch(RECIPE._replace(average=share)) == first


@pytest.mark.parametrize("kind", KINDS)
def test_a_training_ends_with_the_mean_of_its_last_epochs_and_with_statistics_of_that_mean(kind):
    (plain, alone), ours, kept = networks_of(kind), networks_of(kind)[0], Kept()
    without = RECIPE._replace(average=0.0)
    after = [states(plain) for _ in training.train(plain, IMAGES, without)][2:]
    list(training.train(kept, IMAGES, without))
    assert len(list(training.train(ours, IMAGES, RECIPE))) == 5
    for p, (network, state) in enumerate(zip(alone, states(ours))):
        network.load_state_dict({name: sum(each[p][name] for each in after) / len(after) for name in state})
        # In training, batch norm moves its statistics by a tenth to those of each batch.
        for x, *_ in kept.steps:
            network.train()(x)
        for name, value in network.state_dict().items():
            if not name.endswith("tracked"):
                torch.testing.assert_close(state[name], value, rtol=1e-9, atol=1e-11, msg=name)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("paused", [1, 4])
def test_a_training_that_was_paused_ends_with_the_same_mean(kind, paused):
    whole, first, second = (networks_of(kind)[0] for _ in range(3))
    list(training.train(whole, IMAGES, RECIPE))
    epochs = training.train(first, IMAGES, RECIPE)
    for _ in range(paused):
        next(epochs)
    for p in range(len(ALIVE)):
        training.restore(second, p, training.checkpoint(first, p, paused))
    list(training.train(second, IMAGES, RECIPE, first=paused))
    for ours, theirs in zip(states(second), states(whole), strict=True):
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_mean_that_lacks_epochs_is_refused():
    networks, _ = networks_of(KINDS[0])
    with pytest.raises(ValueError, match="restore the checkpoint"):
        list(training.train(networks, IMAGES, RECIPE, first=4))
