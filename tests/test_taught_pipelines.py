"""A teacher of whole pipelines: which images its answers belong to, at which size it sees them, and the time that it takes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from nas import training
from nas.commands import _shared
from nas.evaluators import _teacher
from nas.evaluators._distillation import KEY
from nas.evaluators._pipeline_final import FinalKey
from nas.evaluators._teacher import GivenTeacher
from nas.evaluators.pipeline import PipelineTraining
from nas.evaluators.train import Train
from nas.run import averaged, comparison, session, stages, store, subject
from nas.run.config import RunConfig
from nas.training import Images, step_time
from nas.types import FinalTraining
from search_spaces import UserError
from search_spaces.pipeline import Pipeline, Settings

SPACE = Pipeline()
ARCH = SPACE.arch_of(SPACE.cell_of(SPACE.reference_arch), Settings(width=8, stem=2))
COMPUTE = {"unit": "0.05", "final": "0.1"}
TEACHER = """
from torch import nn
from torch.nn import functional

class Columns(nn.Module):
    def forward(self, pixels):
        return 4 * functional.pad(pixels[:, 0].mean(1), (0, 2))
"""


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    path = tmp_path_factory.mktemp("teacher") / "mine.py"
    path.write_text(TEACHER)
    options = {"teacher": f"{path}:Columns", "temperature": "2", "teacher_share": "0.5"}
    return PipelineTraining.of("digits", **COMPUTE, **options)


@pytest.mark.parametrize("share", [1.0, 0.02])
@pytest.mark.parametrize("held_out", [False, True])
def test_a_pipeline_learns_what_its_teacher_says_of_the_same_images(taught, share, held_out):
    name = SPACE.describe(taught.equivalents(ARCH))
    plain = PipelineTraining.of("digits", **COMPUTE)._finals.job(FinalKey(name, share=share, held_out=held_out))
    assert (len(plain.images.y) < len(taught.data.y_train)) == (share < 1), "with little compute, fewer images"
    said = (4 * F.pad(plain.images.x[:, 0].float().mean(1) / 255, (0, 2)) / 2).softmax(-1)
    soft = 0.5 * F.one_hot(plain.images.y, 10).float() + 0.5 * said
    expected = training.train_alone(plain._replace(images=plain.images._replace(y=soft)), "cpu", lambda losses: None)
    (made,) = taught._taught.taught.networks([FinalTraining(taught.equivalents(ARCH), share=share, held_out=held_out)])
    assert made.metrics["loss"] == pytest.approx(expected.losses, rel=1e-5)


def test_validation_images_decide_whether_a_pipeline_is_taught(taught):
    about = taught.final_network(ARCH).metrics[KEY]
    assert about["used"] == (about["with"] > about["without"])
    assert about["teacher"].endswith("mine.py:Columns")
    ensemble = averaged.of(*taught.final_networks([FinalTraining(ARCH), FinalTraining(ARCH, seed=1)]))
    assert ensemble.metrics[KEY] == about, "an ensemble says it too"
    assert KEY not in PipelineTraining.of("digits", **COMPUTE).final_network(ARCH).metrics


def test_a_teacher_of_smaller_images_sees_them_scaled():
    class Small(torch.nn.Module):
        def forward(self, pixels):
            assert pixels.shape[1:] == (1, 4, 4)
            return pixels.flatten(1)

    images = Images(
        torch.full((3, 1, 8, 8), 51, dtype=torch.uint8), torch.zeros(3).long(), torch.zeros(1), torch.ones(1)
    )
    found = GivenTeacher("small", Small(), 16, 4).logits(images, False, None)
    torch.testing.assert_close(found, torch.full((3, 16), 0.2))
    with pytest.raises(UserError, match="cannot answer"):
        GivenTeacher("small", Small(), 16).logits(images, False, None)


@pytest.mark.parametrize("evaluator", [PipelineTraining, Train])
@pytest.mark.parametrize(("side", "said"), [(12, True), (8, False), (4, False), (None, False)])
def test_images_that_are_scaled_up_for_a_teacher_are_said(evaluator, side, said, monkeypatch):
    class Any(torch.nn.Module):
        def forward(self, pixels):
            return pixels.new_zeros(len(pixels), 10)

    monkeypatch.setattr(_teacher, "given", lambda name, class_names: GivenTeacher(name, Any(), 10, side))
    notes = evaluator.of("digits", teacher="runs/photos").data_notes
    about = [note for note in notes if "teacher" in note]
    assert len(about) == said
    assert all("takes images of 12 pixels" in note and "-t image_size=12 " in note for note in about)


def test_a_run_of_minutes_leaves_time_for_its_teacher(taught, monkeypatch):
    asked = []
    monkeypatch.setattr(PipelineTraining, "timed", lambda self, search, final, **_: asked.append((search, final)) or {})
    config = RunConfig(minutes=10, comparison=False)
    for evaluator in (taught, replace(taught, teaching=None)):
        stages.timed(config, evaluator)
    end = 300 - stages._EXPORT_SECONDS
    # With and without the teacher, on the training images alone.
    assert asked == [(300, pytest.approx(end / (1 + 2 * 0.8))), (300, pytest.approx(end))]


def test_a_search_with_a_prior_leaves_three_quarters_to_the_end(taught, monkeypatch):
    asked = []
    monkeypatch.setattr(
        PipelineTraining, "timed", lambda self, *seconds, warm, **_: asked.append((*seconds, warm)) or {}
    )
    plain = replace(taught, teaching=None)
    for warm in (False, True):
        stages.timed(RunConfig(minutes=10, comparison=False), plain, warm=warm)
    rest = stages._EXPORT_SECONDS
    assert asked == [(300, 300 - rest, False), (pytest.approx(150), pytest.approx(450 - rest), True)]
    stages.timed(RunConfig(minutes=10, comparison=True), plain, warm=True)
    # Of 150 seconds of search a tenth is for models of scikit-learn.
    trainings = comparison.seconds(1.0, 150.0, plain.final_cores()) - 15 + 1
    assert asked[2] == (pytest.approx(150), pytest.approx((450 - rest - 15) / trainings), True)


def test_what_a_search_has_spent_is_not_planned_for_the_end_again(taught, monkeypatch):
    asked, plain = [], replace(taught, teaching=None)
    monkeypatch.setattr(PipelineTraining, "lengthened", lambda self, final: asked.append(final) or {})
    config = RunConfig(minutes=40, comparison=False)
    for spent in (60, 1800, 2300):
        stages.lengthened(config, plain, spent)
    assert asked == [pytest.approx(end - stages._EXPORT_SECONDS) for end in (1200, 600, 100)]
    stages.refuse_no_end(config, plain, 2300)
    with pytest.raises(UserError, match=r"40, all sessions together, and the search has used 39\.8 of them: no time"):
        stages.refuse_no_end(config, plain, 2390)
    stages.refuse_no_end(replace(config, training_options={"final": "1"}), plain, 2390)


@pytest.mark.parametrize("compared", [True, False])
@pytest.mark.parametrize("seeds", [1, 3, 20])
def test_the_final_trainings_of_all_seeds_fit_into_the_minutes(taught, seeds, compared, monkeypatch):
    plain, asked = replace(taught, teaching=None), []
    monkeypatch.setattr(PipelineTraining, "timed", lambda self, *seconds, **_: asked.append(seconds) or {})
    config = RunConfig(minutes=10, comparison=compared, seeds=seeds)
    stages.timed(config, plain)
    ((search, final),) = asked
    for name in ("final_seconds", "longest_seconds"):
        monkeypatch.setattr(PipelineTraining, name, lambda self, arch=None: final)
    ending = sum(stages.expected(config, plain).values())
    assert search + ending == pytest.approx(600, rel=0.01)


@pytest.mark.parametrize(
    ("options", "planned", "longer"),
    [
        ({"final": "0.01"}, "unit,final", True),
        ({"final": "0.01"}, "unit", False),  # The user's own.
        ({}, "", True),  # Of a run of evaluations, which planned nothing.
    ],
)
def test_minutes_that_a_run_gets_later_lengthen_its_final_training(options, planned, longer, tmp_path, monkeypatch):
    monkeypatch.setattr(step_time, "measure_side_by_side", lambda job, beside, device: 1e-6)
    config = RunConfig(
        "digits", "random_search", prior="none", evals=1, planned=planned,
        training_options={"space": "pipeline", "unit": "0.005"} | options,
    )  # fmt: skip
    setup = session.load(config)
    before = setup.evaluator.training
    with session.start(tmp_path / "run", config, setup) as run:
        list(session.resume(run, setup))
        run, _ = session.extend(run, setup, minutes=60)
        run, setup = session.lengthen(run, setup, run.config)
        after = setup.evaluator.training
        assert after.unit == before.unit
        if not longer:
            assert run.config.training_options == config.training_options
            return
        assert subject.read(run).description == after.description != before.description
        assert after.planned_seconds() == pytest.approx(1800 - stages._EXPORT_SECONDS, rel=1e-3)
        assert run.config.ending_seconds == pytest.approx(sum(stages.expected(run.config, setup.evaluator).values()))
        # As often as it gets other minutes.
        for minutes in (120, 60):
            run, setup = session.lengthen(
                store.set_config(run, replace(run.config, minutes=minutes)), setup, run.config
            )
            seconds = setup.evaluator.training.planned_seconds()
            assert seconds == pytest.approx(30 * minutes - stages._EXPORT_SECONDS, rel=1e-3)


@pytest.mark.parametrize("asked", [[], ["-t", "final=2"]])
def test_a_resumed_search_plans_its_final_training_anew_unless_it_was_asked_for(asked, nas, tmp_path, monkeypatch):
    monkeypatch.setattr(step_time, "measure_side_by_side", lambda job, beside, device: 1e-4)
    monkeypatch.setattr(_shared, "work", lambda run, setup, quiet: 0)
    nas("search", "--task", "digits", "--space", "pipeline", "--minutes", 10, "--name", "a", *asked)
    nas("resume", "runs/a", "--minutes", 60)
    with store.open_run(tmp_path / "runs" / "a") as run:
        config = run.config
    nas("search", "--task", "digits", "--space", "pipeline", "--minutes", 60, "--name", "b", *asked)
    with store.open_run(tmp_path / "runs" / "b") as run:
        fresh = run.config
    options, wanted = config.training_options, fresh.training_options
    assert float(options["final"]) == pytest.approx(float(wanted["final"]), rel=1e-3)
    # The few seconds of the other models of a comparison stay, where nothing is planned anew.
    assert config.ending_seconds == pytest.approx(fresh.ending_seconds, abs=3 if asked else 0.1)
    assert float(options["unit"]) < float(wanted["unit"])
    assert config.planned == ",".join(name for name in ("unit", "final") if f"{name}=2" not in asked)


def test_a_wide_teacher_of_pipelines_is_refused_with_what_would_do():
    with pytest.raises(UserError, match=r"teacher is 'wide'.* name a run, an export or FILE.py:NAME"):
        PipelineTraining.of("digits", **COMPUTE, teacher="wide")
