"""`nas train`: the final training of one architecture; and what a search's score is where accuracy is not asked for."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from nas import tasks, training
from nas.commands import train
from nas.evaluators._training_cache import TrainingKey
from nas.evaluators.train import Train
from nas.run import trained_network
from nas.training import metrics
from search_spaces import UserError, _ops

TINY = [x for option in ("final_epochs=1", "final_channels=4", "final_cells=1") for x in ("-t", option)]
ARCH = "|nor_conv_3x3~0|+|nor_conv_1x1~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_3x3~1|skip_connect~2|"


def test_each_seed_is_the_final_training_with_that_seed_and_the_first_is_exported(nas, tmp_path, monkeypatch):
    exported = []
    monkeypatch.setattr(trained_network, "write_export", lambda *args, **_: exported.append(args) or _Export(args[3]))
    done = nas("train", ARCH, "--task", "digits", "--seeds", 2, *TINY, "--to", "out", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    ours = tasks.find("digits", final_epochs="1", final_channels="4", final_cells="1").training
    networks = [ours.final_network(ours.space.parse(ARCH), seed=seed) for seed in (0, 1)]
    accuracies = [network.metrics["test_accuracy"] for network in networks]
    assert [row["test_accuracy"] for row in document["seeds"]] == accuracies
    assert document["mean"] == pytest.approx(sum(accuracies) / 2, abs=1e-3)
    assert document["standard_deviation"] == pytest.approx(abs(accuracies[0] - accuracies[1]) / 2**0.5, abs=1e-3)
    assert document["seeds"][0]["balanced_accuracy"] == pytest.approx(
        metrics.balanced_accuracy(networks[0].metrics["confusion"]), abs=1e-3
    )
    assert document["export"] == "out"
    ((_, _, network, _),) = exported
    assert all(torch.equal(value, networks[0].state_dict[name]) for name, value in network.state_dict.items())


@pytest.mark.parametrize("seeds", [{0}, {0, 1}])
def test_a_seed_whose_training_diverges_is_left_out(nas, monkeypatch, seeds):
    own = Train.each_final_network

    def broken(self, trainings):
        for n, one in own(self, trainings):
            factor = float("nan") if trainings[n].seed in seeds else 1
            answers = one.metrics["test_probabilities"] * factor
            yield n, one._replace(metrics=one.metrics | {"test_probabilities": answers})

    monkeypatch.setattr(Train, "each_final_network", broken)
    done = nas("train", ARCH, "--task", "digits", "--seeds", 2, *TINY, "--json")
    if seeds == {0, 1}:
        assert done.returncode != 0
        assert "The final training diverged" in done.stderr
    else:
        assert [row["seed"] for row in json.loads(done.stdout)["seeds"]] == [1]
        assert done.stderr == "Seed 0 has no row: its training diverged.\n"


class _Export:
    def __init__(self, folder):
        self.folder = folder


def test_resnet_is_the_spaces_reference_and_one_seed_has_no_spread(nas):
    done = nas("train", "ResNet", "--task", "digits", "--seeds", 1, *TINY)
    assert done.returncode == 0, done.stderr
    ours = Train.of("digits")
    assert ours.space.describe(ours.equivalents(ours.space.reference_arch)) in done.stdout
    assert " on digits with 1 seed; about " in done.stdout
    assert "standard deviation" not in done.stdout
    assert done.stderr == ""


def test_without_a_task_a_line_says_which_one_it_is(nas, monkeypatch):
    monkeypatch.setattr(train, "_seconds", lambda *_: (_ for _ in ()).throw(UserError("Far enough.")))
    done = nas("train", "resnet", *TINY)
    assert (
        done.stderr.splitlines()[0] == "No --task is given, so it is 'digits'; --task folder:DIR trains on your images."
    )


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("resnet", "--seeds", "0"), "--seeds is 0; it takes a number above zero."),
        (("resnet", "--task", "own201/digits"), "`nas train` takes images"),
        (("resnet", "--space", "natsbench_size"), "names no ResNet-like cell; write an architecture"),
        (("nonsense",), "Architecture 'nonsense'"),
        (("resnt",), "'resnet' names the plain ResNet."),
        (("resnet", "--to", "taken"), "'taken' is a file; an export takes a folder."),
        (("resnet", "-t", "metric=f1"), "No metric is called 'f1'. There are: accuracy, balanced_accuracy, macro_f1."),
    ],
)
def test_what_cannot_be_trained_is_one_line(nas, tmp_path, monkeypatch, args, says):
    monkeypatch.setattr(train, "_seconds", None)  # Nothing is trained before it is refused.
    (tmp_path / "taken").write_text("")
    done = nas("train", *args)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert says in done.stderr


def test_a_metric_is_refused_for_a_table(nas):
    done = nas("search", "--task", "own201/digits", "--metric", "macro_f1")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "it takes no setting 'metric'" in done.stderr


@pytest.mark.parametrize("metric", ["balanced_accuracy", "macro_f1"])
def test_the_score_is_the_metric_that_was_asked_for(tmp_path, metric):
    y = (np.arange(300) % 10 == 0).astype(int)
    x = np.random.default_rng(0).integers(0, 200, (300, 8, 8)).astype(np.uint8)
    x[:, :, 4:] += 30 * y[:, None, None].astype(np.uint8)
    np.savez(tmp_path / "rare.npz", x_train=x, y_train=y)
    ours = Train.of(f"npz:{tmp_path / 'rare.npz'}", metric=metric, epochs="2", channels="4")
    assert f"score: validation {metrics.METRIC_NAMES[metric]} after 2 epochs" in ours.description
    arch = ours.equivalents(ours.space.parse(ARCH))
    key = TrainingKey(int(_ops.index(arch, ours.space.choices)), 2)
    ours.cache.train([key])
    network = training.networks(ours.space, arch[None], ours.task, 0)
    images = ours.cache.images(ours.data.x_train, ours.data.y_train)
    list(training.train(network, images, ours.recipe))
    seen = training.predictions(network, ours.cache.images(ours.data.x_valid, ours.data.y_valid))
    confusion = metrics.confusion(seen[0], ours.data.y_valid, 2).tolist()
    assert ours.cache.results[key].score == pytest.approx(metrics.METRICS[metric](confusion), abs=1e-4)
    assert ours.cache.results[key].score != metrics.of_all(confusion)
    assert ours.retrain(arch[None], 0).item() == ours.cache.results[key].score
    assert ours.validation_images < len(ours.data.y_valid)
    assert ours.metric == metric
