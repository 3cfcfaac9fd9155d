"""What a recipe says is what trains: the schedule, the batches, and the step of SGD by hand, for each kind of networks."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from nas import training
from nas.training import Images, Recipe, compiler
from nas.training.compiled import CompiledNetworks
from nas.training.network_batch import initialise
from nas.training.population import GroupedNetworks, SeparateNetworks
from nas.training.train import SEEDS
from search_spaces import Task, _cells
from search_spaces.nasbench201 import NasBench201
from tests.test_population import ALIVE, batches

TASK = Task("toy", (1, 8, 8), 5)
COUNT = 20
# Each image is its own number, so that a batch says which images it has.
NUMBERED = Images(
    torch.arange(COUNT, dtype=torch.uint8).view(-1, 1, 1, 1), torch.arange(COUNT), torch.zeros(1), torch.ones(1) / 255
)


class Recorder:
    """Networks that learn nothing and remember what they were to learn from."""

    counted = ()

    def running_statistics(self, steps):
        return ()

    def __init__(self):
        self.epochs = []

    def logits(self, images):
        return torch.zeros(1, len(images), COUNT)

    def learn(self, steps, momentum, weight_decay):
        self.epochs.append(([(x.flatten().round().long(), y, rate) for x, y, rate in steps], momentum, weight_decay))
        return torch.zeros(1)


def recorded(recipe, first=0):
    recorder = Recorder()
    list(training.train(recorder, NUMBERED, recipe, first))
    return recorder.epochs


def test_the_learning_rate_falls_step_by_step_along_half_a_cosine():
    rates = [rate for steps, *_ in recorded(Recipe(3, batch=8, lr=0.2)) for *_, rate in steps]
    # Six steps of 30 degrees: 0.1 (1 + cos).
    cosines = [1, 3**0.5 / 2, 0.5, 0, -0.5, -(3**0.5) / 2]
    assert rates == pytest.approx([0.1 * (1 + cosine) for cosine in cosines])


def test_warm_up_rises_by_equal_amounts_to_the_rate_at_which_the_cosine_begins():
    rates = [rate for steps, *_ in recorded(Recipe(4, batch=8, lr=0.2, warmup=0.25)) for *_, rate in steps]
    # Two of eight steps rise; then six steps of 30 degrees.
    cosines = [1, 3**0.5 / 2, 0.5, 0, -0.5, -(3**0.5) / 2]
    assert rates == pytest.approx([0.2 / 3, 0.4 / 3, *(0.1 * (1 + cosine) for cosine in cosines)])


def test_an_epoch_is_whole_batches_of_different_images_in_an_order_of_its_own():
    epochs = [steps for steps, *_ in recorded(Recipe(2, batch=8))]
    for steps in epochs:
        images = torch.cat([x for x, *_ in steps])
        assert [len(x) for x, *_ in steps] == [8, 8]
        assert len(images.unique()) == 16
        assert all(torch.equal(x, y) for x, y, _ in steps), "each image with its own class"
    assert not torch.equal(epochs[0][0][0], epochs[1][0][0])
    others = [steps for steps, *_ in recorded(Recipe(2, batch=8, seed=1))]
    assert not torch.equal(epochs[0][0][0], others[0][0][0])


def test_fewer_images_than_a_batch_are_one_batch():
    ((steps, *_),) = recorded(Recipe(1, batch=64))
    assert [len(x) for x, *_ in steps] == [COUNT]


def test_a_training_resumed_sees_the_batches_and_rates_that_the_whole_one_sees():
    recipe = Recipe(4, batch=8)
    for (steps, *_), (again, *_) in zip(recorded(recipe)[2:], recorded(recipe, first=2), strict=True):
        for (x, _, rate), (same, _, rate_again) in zip(steps, again, strict=True):
            assert torch.equal(x, same)
            assert rate == rate_again


def test_momentum_and_weight_decay_are_those_of_the_recipe_and_the_defaults_those_of_nas_bench_201():
    assert recorded(Recipe(1, momentum=0.7, weight_decay=0.03))[0][1:] == (0.7, 0.03)
    assert recorded(Recipe(1))[0][1:] == (0.9, 5e-4)
    assert Recipe(1) == Recipe(1, 64, 0.1, 0.9, 5e-4, crop=0, flip=False, cutout=0, seed=0)
    assert SEEDS == 4096, "what a key of 32 bits has beside an architecture's 20"


def by_hand(network, data, momentum, decay):
    """PyTorch's SGD with Nesterov momentum: g = gradient + decay w; v = momentum v + g; w -= rate (g + momentum v)."""
    velocity = {name: torch.zeros_like(w) for name, w in network.named_parameters()}
    losses = []
    for x, y, rate in data:
        loss = F.cross_entropy(network.train()(x), y)
        losses.append(loss.item())
        grads = torch.autograd.grad(loss, list(network.parameters()))
        with torch.no_grad():
            for (name, w), gradient in zip(network.named_parameters(), grads):
                g = gradient + decay * w
                velocity[name] = momentum * velocity[name] + g
                w -= rate * (g + momentum * velocity[name])
    return velocity, sum(losses) / len(losses)


KINDS = [GroupedNetworks, SeparateNetworks, CompiledNetworks]


def networks_of(kind):
    """Networks of two cells in float64, and each as PyTorch's module with the same weights."""
    if kind is CompiledNetworks and compiler.library() is None:
        pytest.skip("there is no C compiler here")
    if kind is SeparateNetworks:
        networks = SeparateNetworks([_cells.three_stages(names, TASK, 4, 1) for names in ALIVE]).double()
    elif kind is GroupedNetworks:
        networks = GroupedNetworks(ALIVE, TASK, 4, 1).double()
    else:
        networks = CompiledNetworks(ALIVE, TASK, 4, 1, dtype=torch.float64)
    initialise(networks, torch.arange(len(ALIVE)))
    alone = [_cells.three_stages(names, TASK, 4, 1).double() for names in ALIVE]
    for p, network in enumerate(alone):
        network.load_state_dict(networks.state_of(p))
    return networks, alone


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_is_that_of_nesterov_momentum_and_weight_decay_by_hand(kind):
    networks, alone = networks_of(kind)
    # Rates, momentum and decay that are unlike each other: none can stand for another.
    data = [(x, y, rate) for (x, y), rate in zip(batches(TASK, 3, torch.float64), (0.1, 0.03, 0.06))]
    loss_P = networks.learn(data, 0.8, 0.05)
    seen = networks.logits(data[0][0])
    torch.testing.assert_close(networks.logits(data[0][0][:3]), seen[:, :3], rtol=1e-7, atol=1e-8)
    for p, network in enumerate(alone):
        velocity, loss = by_hand(network, data, 0.8, 0.05)
        torch.testing.assert_close(seen[p], network.eval()(data[0][0]).detach(), rtol=1e-7, atol=1e-8)
        assert loss_P[p].item() == pytest.approx(loss, rel=1e-6)
        weights, momenta = networks.state_of(p), networks.momentum_of(p)
        for name, weight in network.named_parameters():
            if name not in weights or not weight.numel():
                continue
            torch.testing.assert_close(weights[name], weight.detach(), rtol=1e-9, atol=1e-11, msg=name)
            torch.testing.assert_close(momenta[name], velocity[name], rtol=1e-9, atol=1e-11, msg=name)


@pytest.mark.parametrize("compiled", [True, False])
def test_weights_depend_on_the_architecture_and_the_seed_and_on_nothing_else(compiled, monkeypatch):
    if not compiled:
        monkeypatch.setattr("nas.training.compiler.library", lambda: None)
    space = NasBench201(4, 1)
    archs = torch.tensor([[3, 1, 2, 4, 2, 3], [2, 3, 3, 1, 0, 2]])

    def stem(archs, p, seed):
        return training.networks(space, archs, TASK, seed).state_of(p)["stem.0.weight"].clone()

    first = stem(archs, 0, seed=0)
    assert torch.equal(first, stem(archs[:1], 0, seed=0))
    assert torch.equal(first, stem(archs.flip(0), 1, seed=0))
    assert not torch.equal(first, stem(archs, 1, seed=0))
    assert not torch.equal(first, stem(archs, 0, seed=1))


def test_weights_begin_uniform_within_the_inverse_root_of_what_they_sum_over():
    networks = GroupedNetworks(ALIVE, TASK, 16, 1)
    initialise(networks, torch.arange(len(ALIVE)))
    weights = networks.state_of(0)
    checked = 0
    for value in weights.values():
        if value.dim() < 2:
            continue
        bound = value[0].numel() ** -0.5
        assert value.abs().max() <= bound
        # Uniform numbers fall short of their bound by a share of 1/n; 20/n happens once in e^20 times.
        assert value.max() > bound * (1 - 40 / value.numel())
        assert value.min() < -bound * (1 - 40 / value.numel())
        # Five standard errors of the mean of uniform numbers.
        assert value.mean().abs() < 5 * bound / math.sqrt(3 * value.numel())
        checked += 1
    assert checked > 5
    assert weights["head.4.bias"].abs().max() <= 64**-0.5
    assert (weights["stem.1.weight"] == 1).all()
    assert (weights["stem.1.bias"] == 0).all()
