"""Fidelities, interrupts, and what a search may see of the data it trains on."""

import pytest
import torch

from controller import Proposal
from nas import datasets, training
from nas.evaluators._training_cache import FILE, TrainingCache
from nas.evaluators.train import Train
from nas.training import Images, Recipe
from nas.training.network_batch import initialise
from nas.training.population import SeparateNetworks
from search_spaces import _ops

SMALL = {"epochs": "2", "examples": "256", "channels": "4"}
ARCHS = _ops.from_index(torch.tensor([[777, 9468, 11111]]), (5,) * 6)


def evaluator(**settings):
    return Train.of("digits", **(SMALL | settings))


def scores(ours, epochs):
    return ours.load(torch.tensor([0]))(Proposal(ARCHS, torch.full(ARCHS.shape[:2], epochs))).score[0]


def images(ours, split):
    x, y = getattr(ours.data, f"x_{split}"), getattr(ours.data, f"y_{split}")
    kept = datasets.pick(len(y), ours.examples) if split == "train" else slice(None)
    return Images(x[kept], y[kept], ours.data.mean, ours.data.std)


def test_fewer_epochs_are_the_beginning_of_the_same_training():
    ours = evaluator()
    network = training.networks(ours.space, ours.equivalents(ARCHS[0]), ours.task, ours.recipe.seed)
    epochs = training.train(network, images(ours, "train"), ours.recipe)
    curve = [training.accuracy(network, images(ours, "valid")) for _ in epochs]
    assert torch.equal(torch.stack(curve), torch.stack([scores(ours, 1), scores(ours, 2)]))


def test_going_from_few_epochs_to_more_continues_the_same_training():
    whole, ours = evaluator(epochs="3"), evaluator(epochs="3")
    at_once = scores(whole, 3)
    early = scores(ours, 1)
    left = {index: paused.epochs for index, paused in ours.cache.checkpoints.items()}
    assert sorted(left.values()) == [1, 1, 1]
    assert torch.equal(scores(ours, 3), at_once)
    assert ours.cache.losses == whole.cache.losses
    assert all(len(curve) == 3 for curve in ours.cache.losses.values())
    assert torch.equal(scores(ours, 1), early)
    assert not ours.cache.checkpoints, "a finished training keeps nothing to go on from"


def test_epochs_trained_before_are_not_trained_again(monkeypatch):
    ours, trained, real = evaluator(epochs="3"), [], TrainingCache._train_chunk

    def counted(self, indices, start, end):
        trained.append((start, end))
        real(self, indices, start, end)

    monkeypatch.setattr(TrainingCache, "_train_chunk", counted)
    for epochs in (1, 2, 3, 2):
        scores(ours, epochs)
    assert trained == [(0, 1), (1, 2), (2, 3)]


def test_several_lengths_of_one_cell_in_one_proposal_are_one_training(monkeypatch):
    whole, ours, trained, real = evaluator(epochs="4"), evaluator(epochs="4"), [], TrainingCache._train_chunk
    expected = [scores(whole, epochs)[0].item() for epochs in (4, 3, 2, 1)]
    scores(ours, 1)

    def counted(self, indices, start, end):
        trained.append((start, end))
        real(self, indices, start, end)

    monkeypatch.setattr(TrainingCache, "_train_chunk", counted)
    several = Proposal(ARCHS[:, [0, 0, 0]], torch.tensor([[4, 2, 3]]))
    assert ours.load(torch.tensor([0]))(several).score[0].tolist() == [expected[0], expected[2], expected[1]]
    assert trained == [(1, 2), (2, 3), (3, 4)]


def test_an_interrupt_loses_one_chunk_at_most(monkeypatch):
    ours, real, sizes = evaluator(), TrainingCache._train_chunk, []

    def interrupted(self, indices, start, end):
        sizes.append(len(indices))
        if len(sizes) == 2:
            raise KeyboardInterrupt
        real(self, indices, start, end)

    monkeypatch.setattr("nas.evaluators._training_cache.batch_limit", lambda device: 2)
    monkeypatch.setattr(TrainingCache, "_train_chunk", interrupted)
    with pytest.raises(KeyboardInterrupt):
        scores(ours, 1)
    scores(ours, 1)
    assert sizes == [2, 1, 1]


def test_what_a_killed_sitting_trained_is_not_trained_again_and_a_line_cut_short_is(tmp_path, monkeypatch):
    monkeypatch.setattr("nas.evaluators._training_cache.batch_limit", lambda device: 2)
    first = evaluator()
    first.cache_to(tmp_path)
    whole = scores(first, 2)
    kept = tmp_path / FILE
    kept.write_text(kept.read_text()[:-20])
    second, trained, real = evaluator(), [], TrainingCache._train_chunk

    def counted(self, indices, start, end):
        trained.extend(indices)
        real(self, indices, start, end)

    monkeypatch.setattr(TrainingCache, "_train_chunk", counted)
    second.cache_to(tmp_path)
    assert torch.equal(scores(second, 2), whole)
    assert len(trained) == 1
    assert [second.training_loss(arch) for arch in ARCHS[0]] == [first.training_loss(arch) for arch in ARCHS[0]]
    assert all(len(second.training_loss(arch)) == 2 for arch in ARCHS[0])


def test_a_search_never_sees_the_test_images():
    ours = evaluator()
    blind = ours.data._replace(x_test=torch.zeros_like(ours.data.x_test), y_test=torch.zeros_like(ours.data.y_test))
    fields = {
        name: getattr(ours, name) for name in ours.__dataclass_fields__ if name not in ("data", "_trained", "_repeats")
    }
    assert torch.equal(scores(Train(data=blind, **fields), 1), scores(ours, 1))


@pytest.mark.slow
def test_64_random_cells_have_in_company_the_accuracies_they_have_alone():
    ours = evaluator(examples="576", epochs="3")
    archs = _ops.from_index((torch.arange(64) * 4177 + 11) % 15_625, (5,) * 6)
    together = training.networks(ours.space, archs, ours.task, 0)
    alone = SeparateNetworks([ours.space.build(arch, ours.task) for arch in archs])
    initialise(alone, _ops.index(archs, ours.space.choices))
    for network in (together, alone):
        list(training.train(network, images(ours, "train"), Recipe(3)))
    difference = training.accuracy(together, images(ours, "valid")) - training.accuracy(alone, images(ours, "valid"))
    assert difference.mean().abs() < 2.5 * difference.std() / 8 + 0.01


def test_trainings_that_version_0_1_cached_are_known(tmp_path, monkeypatch):
    first = evaluator()
    first.cache_to(tmp_path)
    expected = scores(first, 2)
    old = (tmp_path / FILE).read_text().replace('"index"', '"rank"')
    (tmp_path / FILE).write_text(old)
    second = evaluator()
    second.cache_to(tmp_path)
    monkeypatch.setattr(TrainingCache, "_train_chunk", lambda *_: pytest.fail("it is trained again"))
    assert torch.equal(scores(second, 2), expected)
