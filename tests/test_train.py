"""Real training: what is scored is trained on training images alone, the winner is tested once, mistakes are one line."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch

from controller import Proposal
from nas import tasks, training
from nas.evaluators._training_cache import TrainingCache
from nas.run import finish, session, store
from nas.run.config import RunConfig
from nas.run.summary import summary
from nas.training import Images, Recipe
from search_spaces import UserError

SMALL = {
    "epochs": "8",
    "channels": "4",
    "examples": "256",
    "final_epochs": "12",
    "final_channels": "8",
    "final_cells": "1",
}
GOOD = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"
DEAD = "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"


@pytest.fixture(scope="module")
def digits():
    return tasks.find("digits", **SMALL)


def _proposal(evaluator, *texts):
    return Proposal(torch.stack([evaluator.space.parse(text) for text in texts])[None])


def test_a_score_is_the_same_alone_in_company_and_again(digits):
    alone = digits.load(torch.tensor([0]))(_proposal(digits, GOOD)).score
    fresh = tasks.find("digits", **SMALL)
    company = fresh.load(torch.tensor([5]))(_proposal(fresh, DEAD, GOOD, GOOD.replace("3x3", "1x1")))
    assert company.score[0, 1] == alone[0, 0]
    assert torch.equal(digits.load(torch.tensor([0]))(_proposal(digits, GOOD)).score, alone)


def test_twins_are_trained_once(digits):
    fresh = tasks.find("digits", **SMALL)
    twin = "|nor_conv_3x3~0|+|none~0|none~1|+|nor_conv_1x1~0|none~1|nor_conv_1x1~2|"
    same = "|none~0|+|none~0|none~1|+|nor_conv_1x1~0|none~1|none~2|"
    results = fresh.load(torch.tensor([0]))(_proposal(fresh, twin, same))
    assert results.score[0, 0] == results.score[0, 1]
    assert len(fresh.cache.results) == 1


def test_a_cell_with_no_path_scores_like_guessing_and_a_good_one_does_not(digits):
    score = digits.load(torch.tensor([0]))(_proposal(digits, DEAD, GOOD)).score[0]
    assert score[0] < 25
    assert score[1] > 50


def test_a_diverged_cell_scores_nan_and_disturbs_no_other(digits):
    archs = torch.stack([digits.space.parse(GOOD), digits.space.parse(GOOD.replace("3x3", "1x1"))])
    images = Images(digits.data.x_train[:128], digits.data.y_train[:128], digits.data.mean, digits.data.std)
    both = training.networks(digits.space, archs, digits.task, 0)
    with torch.no_grad():
        both.state_of(0)["head.4.weight"].fill_(torch.nan)
    alone = training.networks(digits.space, archs[1:], digits.task, 0)
    losses = [list(training.train(network, images, Recipe(2))) for network in (both, alone)]
    assert losses[0][-1][0].isnan()
    in_company, by_itself = losses[0][-1][1], losses[1][-1][0]
    torch.testing.assert_close(in_company, by_itself)
    assert torch.equal(in_company, by_itself) or not torch.backends.mkl.is_available()  # Others sum in another order.


def test_memory_that_runs_out_halves_the_chunk_and_the_search_goes_on(digits, monkeypatch):
    fresh = tasks.find("digits", **SMALL)
    sizes = []
    real = TrainingCache._train_chunk

    def cramped(self, chunk, start, end):
        sizes.append(len(chunk))
        if len(chunk) > 2:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        real(self, chunk, start, end)

    monkeypatch.setattr(TrainingCache, "_train_chunk", cramped)
    monkeypatch.setattr("nas.evaluators._training_cache.batch_limit", lambda device: 32)
    edges = ["none", "skip_connect", "nor_conv_1x1", "avg_pool_3x3", "nor_conv_3x3"]
    texts = [GOOD.replace("skip_connect", edge) for edge in edges]
    score = fresh.load(torch.tensor([0]))(_proposal(fresh, *texts)).score
    assert not score.isnan().any()
    assert sizes == [5, 2, 2, 1]


def test_more_epochs_than_the_schedule_has_are_refused(digits):
    proposal = _proposal(digits, GOOD)._replace(epochs=torch.tensor([[9]]))
    with pytest.raises(UserError, match="--training-option epochs=9"):
        digits.load(torch.tensor([0]))(proposal)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"epoch": "3"}, "Did you mean 'epochs'"),
        ({"epochs": "x"}, "a whole number"),
        ({"epochs": "0"}, "above zero"),
        ({"seed": "4096"}, "0 to 4095"),
        ({"mixup": "1.5"}, "mixup is 1.5; it takes 0 to 1"),
        ({"warmup": "nan"}, "warmup is nan; it takes 0 to 1"),
        ({"randaugment": "-1"}, "randaugment is -1; it takes 0 to 30"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(settings, says):
    with pytest.raises(UserError, match=says):
        tasks.find("digits", **settings)


def test_a_search_on_data_ends_with_a_network_tested_once_a_page_and_the_export(tmp_path):
    asked = RunConfig(controller="random_search", evals=4, batch=4, training_options=SMALL)
    setup = session.load(asked)
    with session.start(tmp_path / "run", asked, setup) as run:
        list(session.resume(run, setup))
        exported = finish.finish(run, setup)
        (row,) = summary(run)["best"]
        page = (run.folder / finish.PAGE).read_text()
    assert exported is not None
    assert all(written.difference < 1e-4 for written in exported.files)
    assert row["report"] > 80
    assert f"{row['report']:.2f}% of the test images" in page
    table = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("|")]
    counts = torch.tensor([[int(n) for n in line[1:]] for line in table[2:]])
    assert counts.sum() == len(setup.evaluator.data.y_test)
    assert 100 * counts.trace() / counts.sum() == pytest.approx(row["report"], abs=1e-3)
    code = (
        "import importlib.util, sys, torch; s = importlib.util.spec_from_file_location('n', 'network.py');"
        "m = importlib.util.module_from_spec(s); s.loader.exec_module(m);"
        "print([k for k in dir(m) if not k.startswith('_')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=exported.folder, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr


def test_a_search_on_data_killed_by_ctrl_c_in_the_final_training_finishes_on_resume(tmp_path, monkeypatch):
    asked = RunConfig(controller="random_search", evals=2, batch=2, training_options=SMALL)
    setup = session.load(asked)
    with session.start(tmp_path / "run", asked, setup) as run:
        list(session.resume(run, setup))
        monkeypatch.setattr(training, "train_alone", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            finish.finish(run, setup)
        monkeypatch.undo()
        assert store.get_meta(run, "report") is None
        assert finish.finish(run, setup) is not None
        assert json.dumps(summary(run)["best"][0]["report"])


def test_the_best_so_far_of_a_folder_of_pictures_is_a_search_in_one_command(nas, tmp_path):
    from PIL import Image

    x, y = tasks.find("digits", **SMALL).data[1:3]
    for i, (image, label) in enumerate(zip(x[:300], y[:300].tolist())):
        folder = tmp_path / "pictures" / f"digit {label}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0].numpy()).save(folder / f"{i}.png")
    given = [f"--with={key}={value}" for key, value in SMALL.items()]
    where = ("--task", f"folder:{tmp_path / 'pictures'}", "--name", tmp_path / "run")
    done = nas("search", *where, "--evals", "3", *given, "--controller", "random_search", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["best"][0]["report"] > 40
    assert (tmp_path / "run/export/network.py").is_file()
