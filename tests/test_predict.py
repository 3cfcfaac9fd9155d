"""`nas predict` and `nas.search(task=...)`: from images to a network that names them, by one run for all."""

from __future__ import annotations

import csv
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import nas
from nas.run import classify, comparison, model_card, session, trained_network
from search_spaces import UserError

SHORT = {"epochs": 1, "final_epochs": 8, "final_cells": 1, "final_channels": 4, "image_size": 8}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder of dark cats and light dogs, and `result`, a finished search on it."""
    folder = tmp_path_factory.mktemp("home")
    noise = np.random.default_rng(0)
    for shade, name in ((40, "cat"), (200, "dog")):
        (folder / "photos" / name).mkdir(parents=True)
        for number in range(8):
            pixels = noise.normal(shade, 20, (11, 9, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / "photos" / name / f"{number}.png")
    (folder / "new").mkdir()
    Image.fromarray(np.full((30, 20, 3), 210, np.uint8)).save(folder / "new" / "light.png")
    (folder / "new" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    return folder


@pytest.fixture(scope="module")
def result(home):
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(home)
        found = nas.search(
            task="folder:photos", evals=2, batch=2, leaders=0, comparison=False, training_options=SHORT, name="photos"
        )
        return found


@pytest.fixture
def command(nas, home, monkeypatch, result):
    monkeypatch.chdir(home)
    return nas


def test_a_search_from_python_is_the_run_that_the_command_makes(result, command):
    options = [x for name, value in SHORT.items() for x in ("-t", f"{name}={value}")]
    asked = (
        "--task",
        "folder:photos",
        "--evals",
        2,
        "--batch",
        2,
        "--leaders",
        0,
        "--no-comparison",
        "--name",
        "typed",
        *options,
    )
    done = command("search", *asked)
    assert done.returncode == 0, done.stderr
    typed = nas.Result("runs/typed")
    assert [t[2:4] for t in typed.trials()] == [t[2:4] for t in result.trials()]
    assert typed.best == result.best
    assert typed.test_accuracy == result.test_accuracy
    ours, theirs = (trained_network.load(each.folder).state_dict for each in (result, typed))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours | theirs)


def test_a_result_has_what_the_commands_print(result, command, tmp_path):
    assert result.summary == json.loads(command("show", result.folder, "--json").stdout)
    assert [t._asdict() for t in result.trials()] == json.loads(command("trials", result.folder, "--json").stdout)
    assert result.report() == (result.folder / "report.md").read_text()
    low, high = result.interval
    assert low <= result.test_accuracy <= high
    light = result.predict("new/light.png")[0]
    logits = result.network()(torch.full((1, 3, 8, 8), 210 / 255))
    assert light.probabilities == pytest.approx(dict(zip(("cat", "dog"), logits.softmax(1)[0].tolist())), abs=1e-6)
    with pytest.raises(UserError, match="onnx_input is given with hf"):
        result.export(tmp_path / "hub", hf=True, onnx_input="uint8")
    with pytest.raises(UserError, match="onnx_input is 'int8'; it takes float32 or uint8"):
        result.export(tmp_path / "hub", onnx_input="int8")
    for asked in (("--onnx-input", "uint8"), ("--no-onnx",)):
        refused = command("export", result.folder, "--hf", tmp_path / "hub", *asked)
        assert (refused.returncode, f"{asked[0]} is of the files that --to writes" in refused.stderr) == (2, True)
    assert not (tmp_path / "hub").exists()
    assert result.export(tmp_path / "hub", hf=True) == tmp_path / "hub"
    assert "network.py IMAGES names them" in command("predict", tmp_path / "hub", "new").stderr
    assert result.export(tmp_path / "files", onnx=False).trained
    assert command("export", result.folder, "--hf", tmp_path / "typed").returncode == 0
    for name in ("config.json", "README.md", "preprocessor_config.json", "network.py"):
        assert (tmp_path / "typed" / name).read_bytes() == (tmp_path / "hub" / name).read_bytes()


def test_the_model_card_says_where_the_plain_network_is_handed_out(result, monkeypatch):
    trained = trained_network.load(result.folder)
    with result.open() as run:
        assert model_card.of(run, trained).search == "Found by transfer_bo in 2 evaluations of metacell."
        monkeypatch.setattr(comparison, "plain_handed_out", lambda run: "The export is the plain ResNet.")
        assert model_card.of(run, trained).search.startswith("The plain ResNet, which was as good as what transfer_bo")
        assert model_card.of(run, trained._replace(arch="another")).search.startswith("Found by")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"minuts": 1}, "No option of nas.search is called 'minuts'. Did you mean 'minutes'"),
        ({"evals": "many"}, "'many' is not a valid integer"),
        ({"task": "folder:nowhere"}, "There is no folder '.*nowhere'"),
        ({"controller_options": {"lrr": 1}}, "lrr"),
        ({"objective": len}, "objective is a function object, .* name its file: 'FILE.py:FUNCTION'"),
    ],
)
def test_what_a_search_from_python_cannot_do_is_one_line(options, says, home, monkeypatch):
    monkeypatch.chdir(home)
    with pytest.raises(UserError, match=says) as raised:
        nas.search(**{"task": "folder:photos", "evals": 1} | options)
    assert "\n" not in str(raised.value)


def test_ctrl_c_in_a_search_from_python_is_a_keyboard_interrupt_and_leaves_a_run(home, monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.chdir(home)
    monkeypatch.setattr(session, "resume", interrupted)
    with pytest.raises(KeyboardInterrupt):
        nas.search(task="own201/digits", controller="random_search", evals=3, name="stopped")
    assert "Go on: nas resume runs/stopped" in capsys.readouterr().err
    assert nas.Result("runs/stopped").trials() == []


def test_a_result_is_of_its_run_wherever_its_program_goes(result, home, monkeypatch):
    monkeypatch.chdir(home)
    relative = nas.Result(result.folder.relative_to(home))
    monkeypatch.chdir("/")
    assert relative.best == result.best


def test_the_loop_over_objects_is_still_what_search_gives():
    from controller.evolution import Evolution
    from nas import search, tasks

    evaluator = tasks.find("own201/digits")
    controller = Evolution(evaluator.space)
    seeds = torch.arange(2)
    step = next(search(controller, evaluator.load(seeds), controller.begin(evaluator.task, seeds)))
    assert step.results.score.shape == (2, 1)


def test_each_image_is_named_and_folders_called_as_classes_give_the_accuracy(command):
    done = command("predict", "photos", "photos")
    assert done.returncode == 0, done.stderr
    *lines, last, warning = done.stdout.splitlines()
    assert warning.startswith(
        "16 images of these lie in the folder that was searched on. The network was trained on most"
    )
    assert [line.split("  ")[0] for line in lines] == [
        os.path.join("photos", name, f"{number}.png") for name in ("cat", "dog") for number in range(8)
    ]
    right = sum(Path(line.split("  ")[0]).parent.name == line.split("  ")[1].split(" ")[0] for line in lines)
    assert last.startswith(
        f"accuracy {100 * right / 16:.2f}% of 16 images in folders named after classes, 95% interval "
    )
    assert "accuracy" not in command("predict", "photos", "photos", "--no-labels").stdout


def test_images_of_another_folder_are_not_called_trained_on(command, home):
    shutil.copytree(home / "photos" / "cat", home / "elsewhere" / "cat")
    for network in ("photos", "runs/photos/export"):
        assert command("predict", network, "elsewhere").stdout.splitlines()[-1].startswith("accuracy ")
    assert "searched on" in command("predict", "runs/photos/export", "photos").stdout.splitlines()[-1]


def test_the_folder_of_the_run_and_that_of_its_export_answer_alike(command, result):
    run, export = (
        json.loads(command("predict", folder, "photos", "--json", "--top", 2).stdout)
        for folder in (result.folder, result.folder / "export")
    )
    assert [i["image"] for i in run["images"]] == [i["image"] for i in export["images"]]
    for ours, theirs in zip(run["images"], export["images"], strict=True):
        assert ours["label"] == theirs["label"]
        assert [c["class"] for c in ours["classes"]] == [c["class"] for c in theirs["classes"]]
        for one, other in zip(ours["classes"], theirs["classes"], strict=True):
            assert one["probability"] == pytest.approx(other["probability"], abs=1e-5)
    assert run["figures"] == export["figures"]


def test_no_folder_above_the_one_that_was_named_says_the_class(home, result):
    """A class is often called as something that lies far above: `home`, `photos`, `2024`."""
    found = classify.of_run(result.folder)._replace(class_names=(home.name, "dog"))
    labels = {a.label for a in classify.classify(found, classify.images([str(home / "photos")]))}
    assert labels == {None, "dog"}
    inside = classify.classify(found, classify.images([str(home)]))
    assert {a.label for a in inside if "new" in a.image} == {home.name}


def test_a_file_that_cannot_be_read_is_a_line_and_stops_nothing(command):
    done = command("predict", "photos", "new/broken.png", "new", "nowhere.jpg")
    assert done.returncode == 1
    assert [line.split("  ")[0] for line in done.stdout.splitlines()] == [os.path.join("new", "light.png")]
    broken = os.path.join("new", "broken.png")
    assert [line.split("': ")[0] for line in done.stderr.splitlines()] == [
        "nas: 'new/broken.png", f"nas: '{broken}", "nas: 'nowhere.jpg"
    ]  # fmt: skip
    assert done.stderr.splitlines()[2].endswith("No such file or directory")
    document = json.loads(command("predict", "photos", "new", "--json").stdout)
    assert [failed["image"] for failed in document["failed"]] == [broken]
    assert document["figures"] is None


@pytest.mark.skipif(sys.platform == "win32", reason="its file names have no line breaks")
def test_an_image_is_one_line_whatever_its_name_and_its_size(command, home, tmp_path, monkeypatch):
    shutil.copy(home / "new" / "light.png", tmp_path / "a\nb.png")
    # Pillow warns of images with more pixels than this; that is said in its own words where they are too many.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 400)
    done = command("predict", "photos", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 1
    assert os.path.join(str(tmp_path), "a\\nb.png  ") in done.stdout
    (tmp_path / "c\nd.png").write_bytes(b"no image")
    refused = command("predict", "photos", tmp_path / "c\nd.png")
    assert refused.stderr.count("\n") == 1


def test_patterns_and_tables_of_predictions(command):
    done = command("predict", "photos", "photos/*/[01].png", "--csv", "--top", 5)
    head, *rows = csv.reader(done.stdout.splitlines())
    assert head == ["image", "label", "class", "probability", "class_2", "probability_2"]
    assert [row[0] for row in rows] == [f"photos/{name}/{n}.png" for name in ("cat", "dog") for n in (0, 1)]
    assert [row[1] for row in rows] == ["cat", "cat", "dog", "dog"]
    assert [float(row[3]) + float(row[5]) for row in rows] == pytest.approx([1] * 4, abs=1e-5)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("photos", "new/*.gif"), "No file is called 'new/*.gif'"),
        (("nothing", "new"), "'nothing' is no run and no export"),
        (("new", "new"), "'new' is no run and no export"),
        (("photos", "new/light.png", "--top", 0), "--top is 0; it takes 1 or more"),
        (
            ("photos", "new/light.png", "--labels"),
            "lies in no folder that is called as a class. The classes: cat, dog.",
        ),
        (("photos", "new", "--json", "--csv"), "two forms of the same"),
    ],
)
def test_what_predict_cannot_do_is_one_line(command, arguments, says):
    done = command("predict", *arguments)
    assert done.returncode == 2
    assert says in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_run_without_a_trained_network_says_so(command):
    asked = ("--task", "own201/digits", "--controller", "random_search", "--evals", 2, "--name", "looked-up")
    assert command("search", *asked).returncode == 0
    done = command("predict", "looked-up", "new")
    assert done.returncode == 2
    assert "has no trained network: a search by a table trains none" in done.stderr
    exported = command("export", "looked-up", "--to", "bare", "--no-onnx")
    assert exported.returncode == 0
    assert "was not trained" in command("predict", "bare", "new").stderr
    assert "--hf takes a network that was trained" in command("export", "looked-up", "--hf", "hub").stderr
    assert "--onnx-input is uint8" in command("export", "looked-up", "--to", "x", "--onnx-input", "uint8").stderr
    assert "takes --to FOLDER, or --hf" in command("export", "looked-up").stderr
