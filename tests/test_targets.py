"""What logits are compared with: shares of classes, by PyTorch's cross entropy; mixup, label smoothing, class weights."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from nas import training
from nas.training import Recipe, compiler, targets
from search_spaces import Task, _noise
from tests.test_population import ALIVE, batches
from tests.test_recipe import KINDS, NUMBERED, Recorder, networks_of, recorded

TASK = Task("toy", (1, 8, 8), 5)


def shares(count, classes, dtype=torch.float64):
    """Rows that sum to 1 but for their weight, and one that gives a class nothing."""
    noise = torch.Generator().manual_seed(2)
    rows = torch.rand(count, classes, generator=noise, dtype=dtype).softmax(1)
    rows[0] = F.one_hot(torch.tensor(1), classes)
    return rows * (1 + torch.arange(count, dtype=dtype)[:, None] / count)


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_with_shares_is_that_of_pytorchs_cross_entropy(kind):
    networks, alone = networks_of(kind)
    data = [(x, shares(len(x), 5), 0.1) for x, _ in batches(TASK, 3, torch.float64)]
    loss_P = networks.learn(data, 0.9, 5e-4)
    for p, network in enumerate(alone):
        optimiser = torch.optim.SGD(network.parameters(), 0.1, 0.9, weight_decay=5e-4, nesterov=True)
        losses = []
        for x, target, _ in data:
            loss = F.cross_entropy(network.train()(x), target)
            losses.append(loss.item())
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        assert loss_P[p].item() == pytest.approx(sum(losses) / 3, rel=1e-6)
        weights = networks.state_of(p)
        for name, weight in network.named_parameters():
            if name in weights and weight.numel():
                torch.testing.assert_close(weights[name], weight.detach(), rtol=1e-9, atol=1e-9, msg=name)


@pytest.mark.skipif(compiler.library() is None, reason="there is no C compiler here")
def test_one_hot_shares_train_what_classes_train():
    ours, theirs = networks_of(KINDS[-1])[0], networks_of(KINDS[-1])[0]
    data = list(batches(TASK, 3, torch.float64))
    ours.learn([(x, y, 0.1) for x, y in data], 0.9, 5e-4)
    theirs.learn([(x, F.one_hot(y, 5).double(), 0.1) for x, y in data], 0.9, 5e-4)
    for p in range(len(ALIVE)):
        for name, weight in ours.state_of(p).items():
            torch.testing.assert_close(theirs.state_of(p)[name], weight, rtol=1e-12, atol=1e-14, msg=name)


def test_smoothed_and_weighted_targets_are_those_of_pytorchs_options():
    logits, y = torch.randn(30, 4, dtype=torch.float64), torch.arange(30) % 7 % 3
    weights = targets.class_weights(y, 4)
    made = targets.soft(y, 4, Recipe(1, label_smoothing=0.2), weights)
    theirs = F.cross_entropy(logits, y, weights.double(), label_smoothing=0.2, reduction="sum") / 30
    torch.testing.assert_close(F.cross_entropy(logits, made.double()), theirs, rtol=1e-6, atol=1e-6)


def test_weights_make_every_class_that_occurs_count_alike_and_leave_the_mean_at_one():
    y = torch.tensor([0, 0, 0, 0, 0, 0, 2, 2, 2])
    assert targets.class_weights(y, 4).tolist() == [0.75, 0, 1.5, 0]
    assert torch.equal(targets.class_weights(F.one_hot(y, 4).float(), 4), targets.class_weights(y, 4))


def test_mixup_takes_one_share_of_each_picture_and_the_rest_of_another_and_targets_alike():
    x = torch.arange(6.0).view(6, 1, 1, 1)
    recipe = Recipe(1, mixup=0.4, seed=3)
    mixed, target = targets.mixed(x, torch.eye(6), recipe, 7)
    share = targets.beta(0.4, 3, 7)
    assert mixed.flatten().tolist() == pytest.approx([share * i + (1 - share) * (5 - i) for i in range(6)])
    torch.testing.assert_close(target @ torch.arange(6.0), mixed.flatten())
    torch.testing.assert_close(target.sum(1), torch.ones(6))


@pytest.mark.parametrize("alpha", [0.1, 0.4, 1.0])
def test_shares_of_mixup_have_the_moments_of_the_beta_distribution(alpha):
    drawn = torch.tensor([targets.beta(alpha, seed, step) for seed in range(6) for step in range(100)])
    assert ((drawn >= 0) & (drawn <= 1)).all()
    variance = 1 / (4 * (2 * alpha + 1))
    # Six standard errors; the square of a centred number of [0, 1] is at most 1/4.
    assert abs(drawn.mean() - 0.5) < 6 * math.sqrt(variance / 600)
    assert abs((drawn - 0.5).square().mean() - variance) < 6 * math.sqrt(variance / 4 / 600)
    assert targets.beta(alpha, 1, 2) == targets.beta(alpha, 1, 2) != targets.beta(alpha, 2, 2)


def test_a_beta_number_is_found_however_many_pairs_are_refused(monkeypatch):
    draws = torch.full((1, 2, 64), 0.9)
    draws[0, 0, -1], draws[0, 1, -1] = 0.25, 0.5
    monkeypatch.setattr(_noise, "uniform", lambda *_, **__: draws)
    assert targets.beta(1.0, 0, 0) == pytest.approx(1 / 3, rel=1e-6)


def test_a_training_resumed_mixes_the_pictures_that_the_whole_one_mixes():
    recipe = Recipe(4, batch=8, mixup=0.5, label_smoothing=0.1)
    for (steps, *_), (again, *_) in zip(recorded(recipe)[2:], recorded(recipe, first=2), strict=True):
        assert steps[0][1].dtype == torch.float32
        for (x, y, _), (same, same_y, _) in zip(steps, again, strict=True):
            assert torch.equal(x, same)
            assert torch.equal(y, same_y)


def test_images_may_come_with_shares_of_a_teacher():
    taught = NUMBERED._replace(y=shares(20, 20, torch.float32))
    recorder = Recorder()
    list(training.train(recorder, taught, Recipe(1, batch=8)))
    ((steps, *_),) = recorder.epochs
    for numbers, y, _ in steps:
        assert torch.equal(y, taught.y[numbers])
