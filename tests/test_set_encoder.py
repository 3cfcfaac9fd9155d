"""A data set's description is of the set, not of its order or its layout, and tells sets apart; tasks carry it."""

from __future__ import annotations

import json
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from safetensors import safe_open

from nas import datasets, tables, tasks
from nas.datasets import meta_features, set_encoder
from nas.datasets.set_encoder import SIZE

ROUNDED = 0.0011
"""The last of three decimals, when a sum falls on the other side of it."""


def _described(x, y):
    return set_encoder.describe(set_encoder.shipped(), x, y)


def _pictures(count, *shape):
    """Stripes as wide as the label says, in a label's colour, with noise."""
    y = torch.arange(count) % 4
    phase = torch.arange(shape[-1]) // (1 + y[:, None])
    x = (phase % 2)[:, None, None] * 150 * torch.linspace(0.3, 1, shape[0])[:, None, None]
    noise = torch.randint(0, 60, (count, *shape), generator=torch.Generator().manual_seed(count))
    return (x + noise).byte(), y


def _distance(one, other):
    return math.dist(one, other)


@pytest.fixture(scope="module")
def digits():
    return datasets.load("digits")


@pytest.fixture
def stripes(tmp_path):
    x, y = _pictures(120, 3, 12, 12)
    np.savez(tmp_path / "stripes.npz", x_train=x.permute(0, 2, 3, 1).numpy(), y_train=y.numpy())
    return f"npz:{tmp_path / 'stripes.npz'}"


def test_the_order_of_a_set_changes_nothing(digits):
    x, y = digits.x_train[:200], digits.y_train[:200]
    order = torch.randperm(200, generator=torch.Generator().manual_seed(0))
    assert _described(x[order], y[order]) == pytest.approx(_described(x, y), abs=ROUNDED)


def test_the_names_of_the_classes_change_nothing_and_their_members_do(digits):
    x, y = digits.x_train[:200], digits.y_train[:200]
    assert _described(x, (7 * y + 3) % 10) == pytest.approx(_described(x, y), abs=ROUNDED)
    assert _distance(_described(x, y.roll(1)), _described(x, y)) > 0.1


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (3, 40, 24), (2, 9, 9), (4, 4, 4)])
@pytest.mark.parametrize("count", [5, 60])
def test_pictures_of_every_layout_are_described_in_small_numbers(shape, count):
    said = _described(*_pictures(count, *shape))
    assert len(said) == SIZE
    assert all(abs(number) <= 3 for number in said)
    assert max(said) - min(said) > 1
    assert all(round(number, 3) == number for number in said)


def test_grey_is_the_same_in_one_channel_in_three_and_in_five():
    x, y = _pictures(60, 1, 12, 12)
    for channels in (3, 5):
        assert _described(x.expand(-1, channels, -1, -1), y) == pytest.approx(_described(x, y), abs=ROUNDED)


def test_one_class_or_one_picture_is_enough():
    x, y = _pictures(60, 3, 16, 16)
    assert all(map(math.isfinite, _described(x, torch.zeros_like(y))))
    assert all(map(math.isfinite, _described(x[:1], y[:1])))


def test_only_the_sample_is_looked_at():
    x, y = _pictures(1024, 1, 8, 8)
    before = _described(x, y)
    sampled = torch.arange(256) * 4
    other = x.clone()
    other[torch.arange(1024) % 4 != 0] = 0
    assert _described(other, y) == before == _described(x[sampled], y[sampled])


def test_two_halves_of_a_set_are_nearer_than_halves_of_two(digits):
    x, y = _pictures(400, 1, 8, 8)
    ours = [_described(digits.x_train[i::2], digits.y_train[i::2]) for i in (0, 1)]
    theirs = [_described(x[half], y[half]) for half in torch.arange(400).split(200)]
    apart = min(_distance(one, other) for one in ours for other in theirs)
    assert max(_distance(*ours), _distance(*theirs)) < apart / 2


def test_pooling_is_mean_deviation_and_deviation_of_class_means():
    x = torch.tensor([[0.0], [2.0], [4.0], [6.0]])
    pooled = set_encoder.pool(x, torch.tensor([5, 5, 9, 9]))
    assert pooled.tolist() == pytest.approx([3.0, math.sqrt(5), 2.0], abs=1e-5)


def test_the_loss_of_two_sets_at_right_angles_is_that_worked_by_hand():
    one = math.sqrt(SIZE) * torch.eye(SIZE)[:2]
    assert set_encoder.contrast(one, one).item() == pytest.approx(math.log1p(math.exp(-10)), rel=0.01)
    assert set_encoder.contrast(one, one.flip(0)).item() == pytest.approx(10, rel=1e-4)


def test_two_samples_of_a_version_are_disjoint_and_of_the_same_classes(digits):
    x, y = set_encoder.sample_of(digits)
    at = torch.arange(len(y)).float()
    for seed in range(10):
        marked = (at / len(at))[:, None, None, None].expand_as(x)
        (one, first), (other, second) = set_encoder.pair(marked, y, torch.Generator().manual_seed(seed))
        together = torch.cat([one, other])[:, 0, 0, 0]
        kept_apart = together[(together > 0) & (together < 1)]
        assert all(a != b for a, b in pairwise(kept_apart.sort().values.tolist()))
        assert set(first.tolist()) == set(second.tolist())


def test_training_is_the_same_from_the_same_seed_and_leaves_the_global_generator_alone(digits, stripes):
    sets = {"digits": digits, "stripes": datasets.load(stripes)}
    before = torch.get_rng_state()
    one, again, other = (set_encoder.train(sets, 2, seed).state_dict() for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not torch.equal(one["rho.1.weight"], other["rho.1.weight"])
    assert not torch.equal(one["rho.1.weight"], set_encoder.untrained(3).state_dict()["rho.1.weight"])


def test_the_shipped_file_says_how_it_was_made_and_never_saw_what_the_prior_is_tested_on():
    with safe_open(set_encoder.SHIPPED, framework="pt") as file:
        about = file.metadata()
    assert about["format"] == "nas-encoder/1"
    assert about["command"].endswith(f"--seed {about['seed']}")
    assert "runs/set_encoder.sh" in about["command"]
    seen = json.loads(about["sets"])
    assert len(seen) >= 16
    assert not {"digits", "rsscn7_aerial"} & set(seen)


def test_the_shipped_file_is_not_taken_for_a_table():
    assert set_encoder.SHIPPED.stem not in tables.names()


def test_the_kept_descriptions_are_those_the_shipped_encoder_gives(digits):
    kept = json.loads(meta_features.KNOWN.read_text())
    assert list(kept) == sorted(kept)
    assert all(len(numbers) == 1 + SIZE for numbers in kept.values())
    assert meta_features.known("digits")[1:] == pytest.approx(_described(digits.x_train, digits.y_train), abs=ROUNDED)


def test_a_task_that_trains_carries_its_examples_and_its_description(digits, stripes):
    features = tasks.find("digits").task.features
    assert features[0] == len(digits.y_train)
    assert features[1:] == _described(digits.x_train, digits.y_train)
    own = tasks.find(stripes).task.features
    assert len(own) == 1 + SIZE
    assert own[1:] != features[1:]


def test_a_task_of_a_table_carries_those_of_its_data_set():
    table = tasks.find("own201/digits").task.features
    assert table[0] == 576
    assert table[1:] == pytest.approx(tasks.find("digits").task.features[1:], abs=ROUNDED)
    for data in ("rsscn7_aerial", "brain_tumor_mri", "fashion_mnist", "arabic_chars28"):
        assert tasks.find(f"own201/{data}").task.features == meta_features.known(data) != ()


def test_a_data_set_that_is_not_known_has_no_features(nasbench201):
    assert tasks.find("nasbench201/cifar10@200").task.features == meta_features.known("cifar10")
    assert tasks.find("nasbench201/cifar10@200").task.features[0] == 25_000
    assert tasks.find("nasbench201/cifar100@200").task.features == ()


@pytest.mark.parametrize("data", ["cifar10-aa_square-0.5", "cifar10-fgsm-1.0"])
def test_an_attack_on_a_data_set_is_described_by_the_data_set(data):
    assert tasks.describe_task("t", data).features == meta_features.known("cifar10")
