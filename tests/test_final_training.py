"""The training that follows a search: on which images, by which recipe; and what is decided from the data beforehand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from nas import training
from nas.evaluators._training_cache import TrainingKey
from nas.evaluators.pipeline import PipelineTraining
from nas.evaluators.train import Train
from nas.run import finish, session, step_log, store, trained_network
from nas.run.config import RunConfig
from nas.training import Images, Recipe, under_way
from nas.types import FinalTraining
from search_spaces import _ops
from search_spaces.nasbench201 import NasBench201

SMALL = {
    "epochs": "1",
    "examples": "64",
    "channels": "4",
    "final_epochs": "2",
    "final_channels": "4",
    "final_cells": "1",
}
# Its cheapest equivalent is itself.
ARCH = torch.tensor([3, 1, 2, 1, 3, 4])


@pytest.fixture(scope="module")
def ours():
    return Train.of("digits", **SMALL)


def with_data(ours, **changed):
    fields = {name: getattr(ours, name) for name in ours.__dataclass_fields__ if name not in ("data", "_trained")}
    return Train(data=ours.data._replace(**changed), **fields)


def test_the_final_network_is_trained_on_the_training_and_validation_images_and_on_no_other(ours):
    found, data = ours.final_network(ARCH), ours.data
    network = training.networks(ours.final_space, ARCH[None], ours.task, 0, alone=True)
    both = torch.cat([data.x_train, data.x_valid]), torch.cat([data.y_train, data.y_valid])
    losses = [loss.item() for loss in training.train(network, Images(*both, data.mean, data.std), ours.final_recipe)]
    assert found.metrics["loss"] == losses
    assert all(torch.equal(found.state_dict[name], value) for name, value in network.state_of(0).items())
    seen = training.predictions(network, Images(data.x_test, data.y_test, data.mean, data.std))[0]
    right = (seen == data.y_test).sum().item()
    assert found.metrics["test_accuracy"] == round(100 * right / len(data.y_test), 3)
    assert found.metrics["confusion"][3][5] == ((data.y_test == 3) & (seen == 5)).sum()


def test_other_test_images_give_the_same_weights_and_other_figures(ours):
    blind = with_data(ours, x_test=torch.zeros_like(ours.data.x_test))
    found, other = ours.final_network(ARCH), blind.final_network(ARCH)
    assert all(torch.equal(found.state_dict[name], value) for name, value in other.state_dict.items())
    assert found.metrics["confusion"] != other.metrics["confusion"]
    assert sum(map(sum, other.metrics["confusion"])) == len(ours.data.y_test)


def test_the_report_is_of_the_final_network(ours):
    assert ours.report(ARCH[None]).tolist() == pytest.approx([ours.final_network(ARCH).metrics["test_accuracy"]])


def test_a_search_trains_plainly_and_the_end_with_crops_of_an_eighth_of_the_side():
    ours = Train.of("digits")
    images = len(ours.data.y_train)
    assert ours.recipe == Recipe(min(12, round(24_000 / images)), 64, 0.1)
    assert ours.final_recipe == Recipe(round(40_000 / images), 64, 0.1, crop=1)
    assert ours.space == NasBench201(8, 1, 1)
    assert ours.final_space == NasBench201(16, 2, 1)
    assert ours.task.fidelities == tuple(range(1, ours.recipe.epochs + 1))
    assert Train.of("digits", augment="false").final_recipe.crop == 0


def test_what_is_asked_of_a_training_is_asked_of_all_of_them():
    asked = {"label_smoothing": 0.1, "mixup": 0.2, "average": 0.25, "balanced": True, "randaugment": 9, "cutout": 2}
    ours = Train.of("digits", **{name: str(value).lower() for name, value in asked.items()})
    for recipe in (ours.recipe, ours.final_recipe):
        assert recipe._asdict().items() >= asked.items()


def colored(path, mirrored):
    """Pictures of two classes, one bright at the left and one at the right; `mirrored`: at the top and at the bottom."""
    y = np.arange(60) % 2
    x = np.random.default_rng(0).integers(0, 60, (60, 20, 20, 3)).astype(np.uint8)
    for image, label in zip(x, y):
        half = slice(10) if label else slice(10, 20)
        if mirrored:
            image[half] += 150
        else:
            image[:, half] += 150
    np.savez(path, x_train=x, y_train=y)
    return f"npz:{path}"


def test_color_pictures_are_mirrored_where_their_classes_bear_it(tmp_path):
    assert Train.of(colored(tmp_path / "a.npz", mirrored=True)).final_recipe == Recipe(400, 64, 0.1, crop=2, flip=True)
    assert Train.of(colored(tmp_path / "b.npz", mirrored=False)).final_recipe == Recipe(400, 64, 0.1, crop=2)


def test_images_wider_than_16_are_halved_in_the_stem(tmp_path):
    ours = Train.of(colored(tmp_path / "a.npz", mirrored=True))
    assert ours.space == NasBench201(8, 1, 2)
    assert Train.of(ours.task.name, image_size="16").space == NasBench201(8, 1, 1)


def test_a_score_is_the_validation_accuracy_of_a_training_on_some_training_images(ours):
    other = with_data(ours, x_valid=torch.zeros_like(ours.data.x_valid))
    index = int(_ops.index(ARCH, ours.space.choices))
    for evaluator in (ours, other):
        evaluator.cache.train([TrainingKey(index, 1)])
    assert ours.cache.losses == other.cache.losses
    dead = other.data.y_valid.bincount().max() / len(other.data.y_valid)
    assert other.cache.results[TrainingKey(index, 1)].score <= 100 * dead + 1e-3


def test_a_training_that_diverges_scores_nan():
    ours = Train.of("digits", **(SMALL | {"lr": "1e30", "batch": "16"}))
    ours.cache.train([TrainingKey(int(_ops.index(ARCH, ours.space.choices)), 1)])
    (found,) = ours.cache.results.values()
    assert np.isnan(found.score)


def test_the_network_that_is_handed_out_is_that_of_the_best_seed_and_each_seed_has_its_own_report(tmp_path):
    options = SMALL | {"epochs": "2", "examples": "256"}
    wanted = RunConfig(
        task="digits", controller="random_search", first_seed=5, seeds=3, evals=1, training_options=options
    )
    setup = session.load(wanted)
    with session.start(tmp_path / "run", wanted, setup) as run:
        list(session.resume(run, setup))
        finish.write_report(run, setup)
        found = session.best(run.config, step_log.history(run))
        reports = store.get_meta(run, "report")
    assert found.score.unique().numel() == 3, "no seed stands for another"
    assert found.score.argmax() != 0
    assert reports == pytest.approx(setup.evaluator.report(found.archs).tolist(), abs=1e-4)
    assert len(set(reports)) == 3
    winner = trained_network.load(tmp_path / "run")
    assert winner.arch == setup.evaluator.training.final_network(found.archs[found.score.argmax()]).arch


def test_the_size_and_the_mirrors_of_a_network_are_read_back_and_a_file_without_them_means_the_tasks_size(
    ours, tmp_path
):
    plain = ours.final_network(ARCH)
    for trained in (plain, plain._replace(input_shape=(3, 24, 20), mirror=True)):
        trained_network.save(tmp_path, trained)
        found = trained_network.load(tmp_path)
        assert (found.input_shape, found.mirror) == (trained.input_shape, trained.mirror)
    assert (plain.input_shape, plain.mirror) == (None, False)


def test_every_answer_to_a_test_image_is_kept_with_the_network_and_read_back(ours, tmp_path):
    found, y = ours.final_network(ARCH), ours.data.y_test
    p_NK = found.metrics["test_probabilities"]
    assert p_NK.shape == (len(y), 10)
    assert torch.allclose(p_NK.sum(1), torch.ones(len(y)))
    assert found.metrics["test_labels"] == y.tolist()
    assert found.metrics["test_predictions"] == p_NK.argmax(1).tolist()
    hits = sum(a == b for a, b in zip(found.metrics["test_predictions"], found.metrics["test_labels"]))
    assert found.metrics["test_accuracy"] == round(100 * hits / len(y), 3)
    trained_network.save(tmp_path, found)
    again = trained_network.load(tmp_path)
    assert torch.equal(again.metrics.pop("test_probabilities"), p_NK)
    assert again.metrics == {name: value for name, value in found.metrics.items() if name != "test_probabilities"}
    assert again.state_dict.keys() == found.state_dict.keys()


def test_a_network_of_version_0_1_has_no_answers_and_is_read(ours, tmp_path):
    found = ours.final_network(ARCH)
    kept = {
        name: value for name, value in found.metrics.items() if not name.startswith("test_") or name == "test_accuracy"
    }
    trained_network.save(tmp_path, found._replace(metrics=kept))
    assert trained_network.load(tmp_path).metrics == kept


def test_another_training_seed_is_another_network_and_0_is_the_searchs_own(ours):
    own, again, other = ours.final_network(ARCH), ours.final_network(ARCH, seed=0), ours.final_network(ARCH, seed=1)
    assert again is own
    assert other.metrics["loss"] != own.metrics["loss"]
    assert other.arch == own.arch


def test_the_reference_is_the_resnet_cell(ours):
    described = ours.space.describe(ours.reference(ARCH))
    assert described == "|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|skip_connect~2|"


def test_a_held_out_training_sees_the_training_images_alone_and_is_judged_by_those_of_validation(ours):
    (found,) = ours.final_networks([FinalTraining(ARCH, held_out=True)])
    data = ours.data
    network = training.networks(ours.final_space, ARCH[None], ours.task, 0, alone=True)
    images = Images(data.x_train, data.y_train, data.mean, data.std)
    assert found.metrics["loss"] == [loss.item() for loss in training.train(network, images, ours.final_recipe)]
    seen = training.predictions(network, Images(data.x_valid, data.y_valid, data.mean, data.std))[0]
    assert found.metrics["test_predictions"] == seen.tolist()
    assert found.metrics["test_labels"] == data.y_valid.tolist()


def test_a_share_of_the_final_training_has_so_many_of_its_epochs_and_their_own_schedule(ours):
    half, long = ours.final_networks([FinalTraining(ARCH, share=0.5), FinalTraining(ARCH, share=1.5)])
    assert [len(one.metrics["loss"]) for one in (half, long)] == [1, 3]
    other = replace(ours, final_recipe=ours.final_recipe._replace(epochs=3))
    assert long.metrics["loss"] == other.final_network(ARCH).metrics["loss"]
    assert len(ours.final_networks([FinalTraining(ARCH, share=0.001)])[0].metrics["loss"]) == 1


def test_few_images_are_passed_often_enough_to_learn_from_and_to_judge_by(tmp_path):
    file, x, y = tmp_path / "few.npz", np.arange(120 * 64, dtype=np.uint8).reshape(120, 8, 8), np.arange(120) % 3
    np.savez(file, x_train=x, y_train=y, x_test=x, y_test=y)
    few, digits = Train.of(f"npz:{file}"), Train.of("digits")
    # 96 images to train on, a step an epoch; 120 in the end.
    assert (few.recipe.epochs, few.final_recipe.epochs) == (150, 400)
    assert (digits.recipe.epochs, digits.final_recipe.epochs) == (12, 35), "many images are as they were"
    third = FinalTraining(ARCH, share=1 / 3, held_out=True)

    def epochs(ours, asked):
        return ours._final._key(asked).recipe.epochs

    assert (epochs(few, third), epochs(digits, third)) == (150, 12)
    assert epochs(few, third._replace(held_out=False)) == 133
    # Beside many validation images the final training has more steps an epoch: 40 epochs of 11 here.
    np.savez(file, x_train=x, y_train=y, x_val=np.tile(x, (5, 1, 1)), y_val=np.tile(y, 5), x_test=x, y_test=y)
    assert (Train.of(f"npz:{file}").final_recipe.epochs, epochs(Train.of(f"npz:{file}"), third)) == (40, 150)
    np.savez(file, x_train=x, y_train=y, x_test=x, y_test=y)
    by_hand = Train.of(f"npz:{file}", epochs="2", final_epochs="6")
    assert (by_hand.recipe.epochs, by_hand.final_recipe.epochs, epochs(by_hand, third)) == (2, 6, 2)
    # Large batches are asked for, not few images.
    large = Train.of("digits", batch="512")
    assert (large.recipe.epochs, large.final_recipe.epochs, epochs(large, third)) == (12, 35, 12)


def test_trainings_side_by_side_give_what_they_give_alone_and_tell_of_each_epoch(ours):
    resnet = ours.reference(ARCH)
    asked = [FinalTraining(ARCH), FinalTraining(resnet, held_out=True), FinalTraining(ARCH)]
    told, fresh = [], replace(ours, examples=63)
    fresh.watch(told.append)
    together = fresh.final_networks(asked)
    assert together[0] is together[2]
    for found, one in zip(together, asked):
        (alone,) = replace(ours, examples=62).final_networks([one])
        assert found.metrics["loss"] == alone.metrics["loss"]
        assert found.metrics["test_predictions"] == alone.metrics["test_predictions"]
        assert all(torch.equal(value, alone.state_dict[name]) for name, value in found.state_dict.items())
    assert [(t.done, t.total) for t in told] == [(0.5, 2), (1, 2), (1.5, 2), (2, 2)]
    assert told[-1].epoch == told[-1].epochs == 2


@pytest.mark.parametrize("of", [Train, PipelineTraining], ids=["cells", "pipelines"])
def test_a_training_that_was_left_alone_is_trained_as_beside_others_where_that_is_asked_for(monkeypatch, of):
    evaluator = of.of("digits", **({"epochs": "1", "final_epochs": "1"} if of is Train else {"final": "0.02"}))
    arch = evaluator.reference(evaluator.space.reference_arch)
    called, side_by_side, alone = [], training.train_each, training.train_alone
    monkeypatch.setattr(training, "train_each", lambda *given: called.append("beside") or side_by_side(*given))
    monkeypatch.setattr(training, "train_alone", lambda *given: called.append("alone") or alone(*given))
    for seed, beside in enumerate((False, True)):
        evaluator.final_networks([FinalTraining(arch, seed, beside=beside)])
    assert called == ["alone", "beside"]


class Killed(BaseException):
    """As Ctrl-C: no error of a training."""


@pytest.mark.parametrize("beside", [False, True], ids=["alone", "side by side"])
@pytest.mark.parametrize("of", [Train, PipelineTraining], ids=["cells", "pipelines"])
def test_a_final_training_that_is_killed_goes_on_in_the_runs_folder(tmp_path, monkeypatch, of, beside):
    def make():
        settings = SMALL | {"final_epochs": "4"} if of is Train else {"unit": "0.05", "final": "0.6"}
        return of.of("digits", **settings)

    whole, killed = make(), make()
    small = "|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2| width=8 cells=1 stem=2"
    arch = killed.space.parse(small) if of is PipelineTraining else ARCH
    asked = [FinalTraining(arch, seed) for seed in range(1 + beside)]
    wanted = whole.final_networks(asked)
    assert len(wanted[0].metrics["loss"]) >= 4
    monkeypatch.setattr(under_way, "INTERVAL", 0.0)
    killed.cache_to(tmp_path)
    train, begun, lives = training.train, [], 1

    def short(population, images, recipe, first=0):
        begun.append(first)
        for epoch, losses in enumerate(train(population, images, recipe, first), first + 1):
            if lives == 1 and epoch == 3:
                raise Killed
            yield losses

    monkeypatch.setattr(training.side_by_side, "train", short)
    with pytest.raises(Killed):
        killed.final_networks(asked)
    again = make()
    again.cache_to(tmp_path)
    begun.clear()
    lives = 2
    made = again.final_networks(asked)
    assert 2 in begun
    for ours, theirs in zip(made, wanted):
        assert ours.metrics["loss"] == theirs.metrics["loss"]
        assert ours.metrics["test_predictions"] == theirs.metrics["test_predictions"]
        assert all(torch.equal(value, ours.state_dict[name]) for name, value in theirs.state_dict.items())
    assert not list((tmp_path / under_way.FOLDER).iterdir())
