"""What batch norm's running statistics began with has no say in a score: they are the batches' alone."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nas import training
from nas.training import Recipe, running_statistics
from nas.training.compiled import CompiledNetworks
from nas.training.network_batch import initialise
from nas.training.population import SeparateNetworks
from tests.test_average import IMAGES, Kept, states
from tests.test_recipe import KINDS, networks_of
from tests.test_train_curves import evaluator, scores

RECIPE = Recipe(4, batch=16)
"""Twelve steps."""


class Own(nn.Module):
    """A network of somebody's: norms with momenta of their own and without one, one that is used twice and one that rests."""

    def __init__(self):
        super().__init__()
        self.first, self.twice, self.without = (nn.BatchNorm2d(1, momentum=one) for one in (0.3, 0.05, None))
        self.untracked, self.resting = nn.BatchNorm2d(1, track_running_stats=False), nn.BatchNorm2d(1)
        self.again = self.first  # A second name, as shared layers have.
        self.head = nn.Linear(64, 5, bias=False)

    def forward(self, x):
        return self.head(self.untracked(self.without(self.twice(self.twice(self.first(x))))).flatten(1))


def own_networks():
    made = SeparateNetworks([Own().double()])
    initialise(made, torch.tensor([3]))
    return made


def norms_of(network):
    return {name: module for name, module in network.named_modules() if isinstance(module, nn.BatchNorm2d)}


def batches_of(recipe):
    kept, seen = Kept(), []
    for _ in training.train(kept, IMAGES, recipe):
        seen += [x for x, *_ in kept.steps]
    return seen


def weighted(values, momentum):
    """Their mean, the later ones weighing more as a running mean has it."""
    shares = [(1 - momentum) ** later for later in reversed(range(len(values)))]
    return sum(share * value for share, value in zip(shares, values, strict=True)) / sum(shares)


@pytest.mark.parametrize("kind", KINDS)
def test_the_statistics_of_a_short_training_are_the_weighted_mean_over_its_batches(kind):
    ours, alone = networks_of(kind)
    recipe = RECIPE._replace(lr=0.0)  # Nothing is learned, so that the batches' statistics can be had afterwards.
    list(training.train(ours, IMAGES, recipe))
    for network, state in zip(alone, states(ours), strict=True):
        of_batches = {}
        for norm in norms_of(network).values():
            norm.momentum = 1.0
        for x in batches_of(recipe):
            network.train()(x)
            for name, value in network.named_buffers():
                of_batches.setdefault(name, []).append(value.clone())
        for name, values in of_batches.items():
            if not name.endswith("tracked"):
                torch.testing.assert_close(state[name], weighted(values, 0.1), rtol=1e-9, atol=1e-11, msg=name)


def test_every_kind_of_networks_has_the_same_logits_after_twelve_steps():
    logits = []
    for kind in KINDS:
        networks, _ = networks_of(kind)
        list(training.train(networks, IMAGES, RECIPE))
        logits.append(networks.logits(IMAGES.normalised(slice(None))))
    for other in logits[1:]:
        torch.testing.assert_close(other, logits[0], rtol=0, atol=1e-8)


def test_a_network_of_ones_own_is_corrected_by_its_own_momenta_and_by_how_often_it_used_each_norm():
    ours, alone = own_networks(), Own().double()
    recipe = RECIPE._replace(lr=0.0)
    list(training.train(ours, IMAGES, recipe))
    norms, seen = norms_of(ours.networks[0]), batches_of(recipe)
    torch.testing.assert_close(norms["first"].running_mean, weighted([x.mean((0, 2, 3)) for x in seen], 0.3))
    for x in seen:
        alone.train()(x)
    assert norms["twice"].num_batches_tracked == 24
    expected = (alone.twice.running_var - 0.95**24) / (1 - 0.95**24)
    torch.testing.assert_close(norms["twice"].running_var, expected)
    torch.testing.assert_close(norms["without"].running_var, alone.without.running_var)
    assert (norms["resting"].running_mean, norms["resting"].running_var) == (0, 1)


def test_a_channel_without_variance_has_none_whatever_rounding_leaves():
    ours, still = own_networks(), IMAGES._replace(x=torch.full_like(IMAGES.x, 77))
    list(training.train(ours, still, RECIPE))
    norm = norms_of(ours.networks[0])["first"]
    assert 0 <= norm.running_var.item() < 1e-12
    torch.testing.assert_close(norm.running_mean, still.normalised(slice(0, 1)).mean().view(1))


@pytest.mark.parametrize("kind", [*KINDS, None])
@pytest.mark.parametrize("average", [0.0, 0.5])
def test_a_training_that_is_scored_and_paused_on_the_way_ends_with_the_bits_of_one_that_is_not(kind, average):
    made = own_networks if kind is None else lambda: networks_of(kind)[0]
    recipe, x = RECIPE._replace(average=average), IMAGES.normalised(slice(None))
    whole, paused, resumed = made(), made(), made()
    list(training.train(whole, IMAGES, recipe))
    for _ in zip(range(3), training.train(paused, IMAGES, recipe)):
        scored = paused.logits(x).clone()
    for p in range(len(scored)):
        training.restore(resumed, p, training.checkpoint(paused, p, 3))
    assert torch.equal(paused.logits(x), scored), "a checkpoint changes no network"
    for networks in (paused, resumed):
        list(training.train(networks, IMAGES, recipe, first=3))
        assert torch.equal(networks.logits(x), whole.logits(x))


def test_a_long_training_keeps_its_bits_and_a_shorter_one_does_not(monkeypatch):
    def trained(epochs):
        networks, _ = networks_of(KINDS[-1])  # The fastest.
        list(training.train(networks, IMAGES, Recipe(epochs, batch=16)))
        return networks.logits(IMAGES.normalised(slice(None)))

    ours = {epochs: trained(epochs) for epochs in (43, 44)}  # 129 and 132 steps.
    monkeypatch.setattr(running_statistics, "_LEAST", 1.0)
    assert not torch.equal(trained(43), ours[43])
    assert torch.equal(trained(44), ours[44])


def test_compiled_networks_make_the_views_of_their_statistics_once(monkeypatch):
    """To make them takes as long as a step of small networks, and an epoch of few images is one step."""
    networks, _ = networks_of(KINDS[-1])
    assert isinstance(networks, CompiledNetworks)
    asked, state_of = [], networks.state_of
    monkeypatch.setattr(networks, "state_of", lambda p: asked.append(p) or state_of(p))
    list(training.train(networks, IMAGES, RECIPE))
    assert asked == list(range(len(networks.programs)))


def test_short_trainings_on_digits_score_far_better_than_by_statistics_as_they_are_counted(monkeypatch):
    short = {"examples": "448", "epochs": "2", "channels": "8"}  # 14 steps.
    corrected = scores(evaluator(**short), 2).mean()
    monkeypatch.setattr(running_statistics, "_LEAST", 1.0)
    assert corrected > scores(evaluator(**short), 2).mean() + 10
