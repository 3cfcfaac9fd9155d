"""Final trainings with a teacher: its targets by hand, which images it may learn from, and that validation decides."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from nas import training
from nas.evaluators import _distillation, _teacher
from nas.evaluators.train import Train
from nas.run import test_accuracy as spoken
from nas.run import trust
from nas.run.config import RunConfig
from nas.training import Images
from nas.types import FinalTraining
from search_spaces import UserError

SMALL = {
    "epochs": "1",
    "examples": "64",
    "channels": "4",
    "final_epochs": "2",
    "final_channels": "4",
    "final_cells": "1",
}
ARCH = torch.tensor([3, 1, 2, 1, 3, 4])

NETWORKS = """
import torch
from torch import nn

class Brightness(nn.Module):
    def forward(self, pixels):
        assert pixels.shape[1:] == (1, 8, 8) and 0 <= pixels.min() and pixels.max() <= 1
        return torch.cat([pixels.mean((1, 2, 3))[:, None]] * {classes}, 1)

made = Brightness()
number = 3
def fails():
    raise RuntimeError("no weights")
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(NETWORKS.format(classes=10))
    return path


def test_targets_are_the_label_and_the_softened_answer_of_the_teacher():
    logits = torch.tensor([[2.0, 0.0, -2.0]])
    found = _teacher.targets(logits, torch.tensor([1]), temperature=2.0, share=0.25)
    soft = [math.exp(v) / (math.exp(1) + 1 + math.exp(-1)) for v in (1, 0, -1)]
    torch.testing.assert_close(found[0], torch.tensor([0.25 * soft[0], 0.75 + 0.25 * soft[1], 0.25 * soft[2]]))
    assert torch.equal(_teacher.targets(logits, torch.tensor([1]), 2.0, 0.0), torch.tensor([[0.0, 1.0, 0.0]]))
    certain = _teacher.targets(logits, torch.tensor([1]), 1e-3, 1.0)
    torch.testing.assert_close(certain, torch.tensor([[1.0, 0.0, 0.0]]))


def test_a_taught_network_is_trained_on_the_targets_of_its_teacher(file):
    plain = Train.of("digits", **SMALL)
    ours = Train.of("digits", **SMALL, teacher=f"{file}:Brightness", temperature="2", teacher_share="0.5")
    data = plain.data
    both = torch.cat([data.x_train, data.x_valid]), torch.cat([data.y_train, data.y_valid])
    # Brightness answers alike for every class: half of a target is spread evenly.
    soft = 0.5 * torch.nn.functional.one_hot(both[1], 10).float() + 0.05
    network = training.networks(plain.final_space, ARCH[None], plain.task, 0, alone=True)
    images = Images(both[0], soft, data.mean, data.std)
    losses = [loss.item() for loss in training.train(network, images, plain.final_recipe)]
    taught = ours._final.taught.networks([FinalTraining(ARCH)])[0]
    assert taught.metrics["loss"] == losses
    assert all(torch.equal(taught.state_dict[name], value) for name, value in network.state_of(0).items())
    without = ours._final.plain.networks([FinalTraining(ARCH)])[0]
    assert without.metrics["loss"] == plain.final_network(ARCH).metrics["loss"]


@pytest.mark.parametrize(("worth", "used"), [((90.0, 80.0), True), ((80.0, 80.0), False), ((70.0, 80.0), False)])
def test_a_teacher_is_used_where_validation_images_say_that_it_helps(file, monkeypatch, worth, used):
    ours = Train.of("digits", **SMALL, teacher=f"{file}:made")
    scores = iter(worth)
    monkeypatch.setattr(_distillation.metrics, "score", lambda *figures: torch.tensor([next(scores)]))
    found = ours.final_network(ARCH)
    chosen = ours._final.taught if used else ours._final.plain
    assert found.state_dict is chosen.networks([FinalTraining(ARCH)])[0].state_dict
    about = found.metrics["distillation"]
    assert (about["used"], about["with"], about["without"]) == (used, *worth)
    assert spoken.sentences(found)[-1] == (
        f"Teacher {file}:made: validation accuracy {worth[0]:.2f}% with it, {worth[1]:.2f}% without. "
        f"The network learned from {'it' if used else 'the labels alone'}."
    )
    # Decided once: another network is trained alike, and no further score is asked for.
    assert ours.final_network(ours.reference(ARCH)).metrics["distillation"] == about


def test_whole_trainings_decide_about_a_teacher_also_where_a_resumed_run_asks_for_shorter_ones_alone(file, monkeypatch):
    ours, asked = Train.of("digits", **SMALL, teacher=f"{file}:made"), []
    monkeypatch.setattr(_distillation.DistilledTrainings, "_compare", lambda self, one, _: asked.append(one))
    with pytest.raises(KeyError):  # Nothing was compared.
        ours.final_networks([FinalTraining(ARCH, share=0.3, held_out=True)])
    (one,) = asked
    assert (one.share, one.held_out, one.arch.tolist()) == (1.0, True, ARCH.tolist())


def test_validation_images_that_decide_are_learned_from_by_no_teacher_of_ours():
    ours = Train.of("digits", **SMALL, teacher="wide")
    blind = replace(ours, data=ours.data._replace(x_valid=torch.zeros_like(ours.data.x_valid)))
    answers = []
    for evaluator in (ours, blind):
        data = evaluator.data
        images = Images(data.x_train[:8], data.y_train[:8], data.mean, data.std)
        answers.append([evaluator._final.teacher.logits(images, held_out, None) for held_out in (True, False)])
    assert torch.equal(answers[0][0], answers[1][0])
    assert not torch.equal(answers[0][1], answers[1][1])
    teacher = ours._final.teacher
    assert teacher.trainings.space.skeleton == (8, 1, 1)
    assert teacher.seconds > 0
    # It is the ResNet cell by the final recipe, with its own normalization of the pixels.
    made = teacher.trainings.networks([FinalTraining(teacher.trainings.space.reference_arch)])[0]
    network = teacher.trainings.space.build(teacher.trainings.space.reference_arch, ours.task)
    network.load_state_dict(made.state_dict)
    images = Images(ours.data.x_train[:8], ours.data.y_train[:8], ours.data.mean, ours.data.std)
    with torch.inference_mode():
        expected = network.eval()(images.normalised(slice(None)))
    torch.testing.assert_close(answers[0][1], expected)


def test_an_exported_network_teaches_and_one_of_other_classes_is_refused(tmp_path):
    from nas.run import trained_network

    plain = Train.of("digits", **SMALL)
    made = plain.final_network(ARCH)
    trained_network.write_export(plain.final_space, plain.task, made, tmp_path / "run" / "export", onnx=False)
    for folder in (tmp_path / "run", tmp_path / "run" / "export"):
        ours = Train.of("digits", **SMALL, teacher=str(folder))
        images = Images(plain.data.x_train[:8], plain.data.y_train[:8], plain.data.mean, plain.data.std)
        network = plain.final_space.build(plain.final_space.parse(made.arch), plain.task)
        network.load_state_dict(made.state_dict)
        with torch.inference_mode():
            expected = network.eval()(images.normalised(slice(None)))
        torch.testing.assert_close(ours.teaching.known.logits(images, True, None), expected, rtol=1e-4, atol=1e-4)
        assert ours.teaching.known.side == 8
    source = tmp_path / "run" / "export" / "network.py"
    source.write_text(source.read_text().replace('("0", "1", ', '("zero", "1", '))
    with pytest.raises(UserError, match=r"tells zero, 1, .* apart; the classes are 0, 1, "):
        Train.of("digits", **SMALL, teacher=str(tmp_path / "run"))
    config = RunConfig("digits", training_options={"teacher": str(tmp_path / "run")})
    assert [(one.kind, one.path) for one in trust.outside(config)] == [("teacher", str(source))]


def test_a_program_teaches_and_a_few_shot_learner_is_refused(tmp_path):
    # As an export whose Python file loads its program, and as the embedding of a few-shot learner.
    plain = Train.of("digits", **SMALL)
    program = torch.export.export(plain.space.build(ARCH, plain.task).eval(), (torch.rand(2, *plain.task.input_shape),))
    torch.export.save(program, tmp_path / "network.pt2")
    (tmp_path / "network.py").write_text(
        "from pathlib import Path\nimport torch\n"
        "def load():\n    return torch.export.load(Path(__file__).with_name('network.pt2')).module()\n"
    )
    assert Train.of("digits", **SMALL, teacher=str(tmp_path)).teaching.known.classes == 10
    (tmp_path / "learner.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match="the embedding of a few-shot learner, which names no classes"):
        Train.of("digits", **SMALL, teacher=str(tmp_path))


@pytest.mark.parametrize(
    ("teacher", "says"),
    [
        (
            "nowhere",
            "is not there; put it back if it was moved. It takes wide, the folder of an export or of a run, or FILE.py",
        ),
        (".", "holds no export. It takes wide"),
        ("{file}", "it takes FILE.py:NAME"),
        ("{file}:nothing", "has nothing called 'nothing'"),
        ("{file}:number", "cannot be made"),
        ("{file}:fails", "cannot be made: RuntimeError: no weights"),
        ("missing.py:x", "There is no file 'missing.py'"),
    ],
)
def test_a_teacher_that_is_none_is_one_line_before_the_search(file, teacher, says):
    with pytest.raises(UserError, match=says):
        Train.of("digits", **SMALL, teacher=teacher.format(file=file))


def test_a_teacher_of_other_images_or_classes_is_one_line_before_the_search(tmp_path):
    (tmp_path / "three.py").write_text(NETWORKS.format(classes=3))
    with pytest.raises(UserError, match=r"gives \[2, 3\]; it takes logits \[N, 10\]"):
        Train.of("digits", **SMALL, teacher=f"{tmp_path}/three.py:Brightness")
    with pytest.raises(UserError, match="cannot answer"):
        Train.of("digits", **SMALL, teacher=f"{tmp_path}/three.py:Brightness", image_size="16")
    with pytest.raises(UserError, match="teacher_share is 2; it takes 0 to 1"):
        Train.of("digits", **SMALL, teacher="wide", teacher_share="2")
    with pytest.raises(UserError, match="networks of space 'natsbench-size' have no width"):
        Train.of("digits", **SMALL | {"space": "natsbench-size"}, teacher="wide")


def test_the_time_of_a_run_counts_its_teacher(file):
    """Twice the training on the training images alone, and two trainings of the wide teacher."""
    seconds = {4: 10.0, 8: 30.0}
    given, wide, none = (
        Train.of("digits", **SMALL, **more) for more in ({"teacher": f"{file}:made"}, {"teacher": "wide"}, {})
    )
    spent = [t.teaching.seconds(t.final_space, lambda space, archs: seconds[space.channels]) for t in (given, wide)]
    assert spent == pytest.approx([1.6 * 10, 1.6 * 10 + 1.8 * 30])
    assert none.teaching_seconds() == 0
    assert wide.teaching_seconds() > 0
