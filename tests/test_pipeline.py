"""Whole pipelines: what their decisions stand for, how much compute a training takes, what is kept and handed out."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from controller import Proposal
from nas import training
from nas.commands import show
from nas.evaluators import _jobs_progress, pipeline
from nas.evaluators._final_training import JUDGED_STEPS
from nas.evaluators._pipeline_final import FinalKey
from nas.evaluators._pipeline_jobs import MOST_EPOCHS, MOST_STEPS, _length
from nas.evaluators._pipeline_trainings import Key
from nas.evaluators.pipeline import PipelineTraining
from nas.run import comparison, stages
from nas.run.config import RunConfig
from nas.training import Images, Recipe, compiler
from nas.types import FinalTraining
from search_spaces import Task, UserError, _sampling
from search_spaces.nasbench201 import NasBench201
from search_spaces.pipeline import Pipeline, Settings

SPACE = Pipeline()
TASK = Task("photos", (3, 32, 32), 7)
RESNET = SPACE.cell_of(SPACE.reference_arch)


def arch(**settings):
    return SPACE.arch_of(RESNET, Settings(**settings))


@pytest.fixture
def untimed(digits):
    """Where nothing was timed yet."""
    return replace(digits)


@pytest.fixture
def one_core_each(monkeypatch):
    """Plans are made as on a machine with a C compiler."""
    # By its place among modules: the package has a function of that name.
    monkeypatch.setattr(sys.modules["nas.training.train"], "by_one_core", lambda *_: True)


@pytest.fixture(scope="module")
def digits():
    return PipelineTraining.of("digits", unit="0.05", final="0.3")


def test_settings_are_read_back_from_an_architecture():
    chosen = Settings(width=32, cells=2, stem=2, size=0.75, lr=0.05, mirror=True, twice=True, mixup=0.2)
    assert SPACE.settings_of(SPACE.arch_of(RESNET, chosen)) == chosen
    assert torch.equal(SPACE.first_archs[0], SPACE.reference_arch)
    assert torch.equal(SPACE.with_reference_cell(_sampling.sample(SPACE, torch.tensor([3]), 0, 1)[0, 0])[:6], RESNET)


@pytest.mark.parametrize(
    ("side", "share", "size"),
    [
        (32, 0.5, 16),
        (32, 0.75, 24),
        (32, 1.0, 32),
        (30, 1.0, 30),
        (30, 0.5, 16),
        (28, 0.5, 16),
        (8, 0.5, 8),
        (6, 0.5, 6),
        (96, 0.75, 72),
    ],
)
def test_images_are_scaled_to_a_multiple_of_four_and_never_up(side, share, size):
    assert SPACE.sized(arch(size=share), Task("t", (1, side, side), 2)).input_shape == (1, size, size)


def test_a_pipelines_network_is_that_of_its_cell_and_sizes():
    one = arch(width=8, cells=2, stem=2, size=0.5, mirror=True)
    ours, theirs = SPACE.build(one, TASK), NasBench201(8, 2, 2).build(RESNET, TASK)
    shapes = ({name: value.shape for name, value in network.state_dict().items()} for network in (ours, theirs))
    assert next(shapes) == next(shapes)
    sized = Task("photos", (3, 16, 16), 7)
    assert [int(n) for n in SPACE.cost(one, TASK)] == [int(n) for n in NasBench201(8, 2, 2).cost(RESNET, sized)]


def test_a_mean_over_mirror_images_without_mirrors_in_training_is_folded_away():
    plain, both = SPACE.canonical(arch()), SPACE.canonical(arch(mirror=True, twice=True))
    assert torch.equal(SPACE.canonical(arch(twice=True)), plain)
    assert SPACE.settings_of(both) == Settings(mirror=True, twice=True)


def test_settings_that_are_left_out_of_a_text_are_the_benchmarks():
    text = SPACE.describe(arch(width=24)).split()[0]
    assert torch.equal(SPACE.parse(f"{text} mirror=yes width=24"), arch(width=24, mirror=True))
    for wrong in ("width=25", "breadth=3"):
        with pytest.raises(UserError, match=r"[Tt]here are: width"):
            SPACE.parse(f"{text} {wrong}")


def test_levels_are_compared_at_equal_compute(digits):
    trainings = digits.trainings
    for one in _sampling.sample(SPACE, torch.tensor([0]), 0, 20)[0]:
        compute, flops = 3e9, int(SPACE.cost(one, digits.task)[1])
        job = trainings.job(SPACE.describe(one), compute)
        seen = job.recipe.epochs * job.recipe.passes(len(job.images.y))
        # Half a step of the few that large networks take, and the tenth by which whole epochs may miss it.
        assert abs(seen - compute / flops) <= max(job.recipe.batch / 2, 0.1 * compute / flops)


@pytest.mark.parametrize("count", [40, 130, 160, 500, 1000, 4000])
@pytest.mark.parametrize("batch", [32, 64, 128])
def test_steps_are_shared_out_among_epochs_so_that_a_level_has_its_compute(count, batch):
    recipe, size = Recipe(1, batch), min(count, batch)
    for steps in (1, 2, 3, 5, 8, 13, 40, 77, 200, 1999):
        epochs, images = _length(recipe, count, steps * size, final=False)
        assert size <= images <= count
        taken = epochs * recipe.steps(images)
        # Five steps of at most two an epoch are five epochs.
        assert abs(taken - steps) <= 0.1 * steps, (steps, epochs, images)
        epochs, images = _length(recipe, count, steps * size, final=True)
        if steps > recipe.steps(count):
            assert images == count, "a final training leaves none out"
            assert abs(epochs * recipe.steps(count) - steps) <= recipe.steps(count) / 2


def test_few_images_pass_more_often_than_300_times_until_they_have_made_2000_steps():
    recipe = Recipe(1, 64)
    assert _length(recipe, 2000, 1e9, final=True) == (MOST_EPOCHS, 2000) == _length(recipe, 2000, 1e9, final=False)
    assert _length(recipe, 130, 1e9, final=True) == (MOST_STEPS / 2, 130)


def test_without_minutes_few_images_are_trained_on_for_as_many_steps_as_are_judged(tmp_path):
    file, pixels = tmp_path / "few.npz", torch.arange(120 * 64).view(120, 8, 8) % 251
    np.savez(
        file, x_train=pixels.byte(), y_train=torch.arange(120) % 3, x_test=pixels.byte(), y_test=torch.arange(120) % 3
    )
    few, digits = PipelineTraining.of(f"npz:{file}"), PipelineTraining.of("digits")
    of_image = {one: int(NasBench201(16, 1, 2).cost(RESNET, one.task)[1]) for one in (few, digits)}
    assert few.unit == JUDGED_STEPS * 64 * of_image[few]
    assert digits.unit == JUDGED_STEPS * 64 * of_image[digits]
    assert digits.unit > 6 * len(digits.data.y_train) * of_image[digits]


def test_a_level_has_as_many_times_the_compute(digits):
    name = SPACE.describe(arch(width=8, stem=2))
    flops, count = int(SPACE.cost(SPACE.parse(name), digits.task)[1]), len(digits.data.y_train)
    digits.trainings.train([Key(name, 1), Key(name, 9)])
    lengths = [len(digits.trainings.results[Key(name, level)].loss) for level in (1, 9)]
    per_epoch = count // 64 * 64
    assert lengths == [math.ceil(level * digits.unit / flops / per_epoch) for level in (1, 9)]
    assert lengths[1] > lengths[0]


def test_what_is_held_out_of_a_final_training_is_not_trained_on(digits):
    name, data = SPACE.describe(arch(width=8, stem=2)), digits.data
    both = torch.cat([data.x_train, data.x_valid])
    for held_out, x in ((True, data.x_train), (False, both)):
        job = digits._finals.job(FinalKey(name, held_out=held_out))
        assert torch.equal(job.images.x, x)
        assert torch.equal(job.scored.x, data.x_valid if held_out else data.x_test)


def test_sizes_that_are_one_for_small_images_are_trained_once(digits):
    evaluator = PipelineTraining.of("digits", unit="0.05", final="0.1")
    archs = torch.stack([arch(size=share, width=8) for share in (0.5, 0.75, 1.0)])
    score = evaluator.load(torch.tensor([0]))(Proposal(archs[None])).score
    assert len(evaluator.trainings.results) == 1
    assert len(score.unique()) == 1
    losses = [evaluator.training_loss(one) for one in archs]
    assert losses[0] == losses[1] == losses[2] != []
    # Of twelve pixels two are: 8, 8, 12; of 32 none.
    for side, places in ((12, [1, 1, 2]), (32, [0, 1, 2])):
        found = SPACE.with_one_size(archs, Task("t", (3, side, side), 10))
        assert [SPACE.settings_of(one).size for one in found] == [(0.5, 0.75, 1.0)[place] for place in places]


@pytest.mark.parametrize(("settings", "weighs"), [({}, False), ({"balanced": "true"}, True)])
def test_classes_are_weighed_in_every_training_where_that_is_asked_for(settings, weighs):
    evaluator = PipelineTraining.of("digits", unit="0.05", final="0.1", **settings)
    name = SPACE.describe(SPACE.reference_arch)
    jobs = [evaluator.trainings.job(name, evaluator.unit), evaluator._finals.job(FinalKey(name))]
    assert [job.recipe.balanced for job in jobs] == [weighs, weighs]


def test_a_score_is_that_of_the_training_alone_and_is_read_back(digits, tmp_path):
    names = [SPACE.describe(one) for one in SPACE.first_archs[:2]]
    keys = [Key(name, level) for name in names for level in (1, 3)]
    digits.trainings.train(keys)
    alone = PipelineTraining.of("digits", unit="0.05", final="0.3")
    alone.cache_to(tmp_path)
    alone.trainings.train(keys[3:])
    assert alone.trainings.results[keys[3]].score == digits.trainings.results[keys[3]].score
    file = tmp_path / "pipelines.jsonl"
    with file.open("a") as opened:
        opened.write('\n{"arch": "cut sho')
    again = PipelineTraining.of("digits", unit="0.05", final="0.3")
    again.cache_to(tmp_path)
    assert again.trainings.results.keys() == {keys[3]}
    assert again.trainings.results[keys[3]].score == alone.trainings.results[keys[3]].score
    assert json.loads(file.read_text().splitlines()[1])["level"] == 3


def test_every_epoch_is_told_and_every_end_of_a_search_with_the_best_so_far(digits):
    fresh, told = PipelineTraining.of("digits", unit="0.05", final="0.1"), []
    fresh.watch(told.append)
    keys = [Key(SPACE.describe(arch(width=8, lr=lr)), 1) for lr in (0.05, 0.2)]
    fresh.trainings.train(keys)
    epochs = len(fresh.trainings.results[keys[0]].loss)
    assert len(told) == 2 * (epochs + 1)
    assert (told[0].done, told[0].total, told[0].epochs) == (1 / epochs, 2, epochs)
    assert (told[-1].done, told[-1].share) == (2, 1)
    found = {key.arch: fresh.trainings.results[key] for key in keys}
    assert told[-1].best == max(one.score for one in found.values())
    assert told[-1].loss == found[told[-1].archs[0]].loss[-1]
    told.clear()
    fresh.final_networks([FinalTraining(arch(width=8, lr=lr)) for lr in (0.05, 0.2)])
    assert len(told) == 2 * told[0].epochs
    assert (told[-1].done, told[-1].share) == (2, 1)


@pytest.mark.parametrize(
    ("cores", "whole", "left"),
    [(1, 30, [28, 23, 15, 10]), (2, 15, [14, 11.5, 10, 5]), (4, 10, [10, 10, 10, 5])],
)
def test_how_much_of_the_time_is_over_follows_from_the_lengths_of_trainings_and_the_cores(
    monkeypatch, cores, whole, left
):
    monkeypatch.setattr(_jobs_progress, "work", lambda *_: None)
    monkeypatch.setattr(_jobs_progress, "at_once", lambda *_: cores)
    jobs = [
        SimpleNamespace(space=None, arch=None, task=None, images=SimpleNamespace(y=range(9)), recipe=Recipe(epochs))
        for epochs in (10, 10, 5, 5)
    ]
    told = []
    progress = _jobs_progress.JobsProgress("abcd", jobs, torch.device("cpu"), told.append)
    for place, epochs in ((1, 2), (2, 5), (1, 10), (0, 5)):
        progress(place, [0.5] * epochs)
    # Epochs that are left: of all, shared by the cores, or of the longest alone.
    assert [one.share for one in told] == pytest.approx([1 - rest / whole for rest in left])
    # What the epoch is of comes first.
    assert [one.archs for one in told] == [("b",), ("c", "b"), ("b",), ("a",)]
    progress.ended(3)  # With an error, before its first epoch.
    assert (told[-1].done, told[-1].epoch, math.isnan(told[-1].loss)) == (3.5, 0, True)


def test_a_training_that_diverges_or_raises_fails_alone(digits, monkeypatch):
    keys = [Key(SPACE.describe(arch(lr=lr)), 1) for lr in (0.05, 0.2)]
    own = training.train_each

    def broken(jobs, device, tell):
        for n, outcome in own(jobs, device, tell):
            yield n, outcome._replace(error=RuntimeError("boom\nmore")) if jobs[n].recipe.lr == 0.2 else outcome

    monkeypatch.setattr(training, "train_each", broken)
    digits.trainings.train(keys)
    good, bad = (digits.trainings.results[key] for key in keys)
    assert not math.isnan(good.score)
    assert math.isnan(bad.score)
    assert bad.error == "RuntimeError: boom"
    assert digits.failures() == ["RuntimeError: boom"]


def test_each_level_has_a_split_of_its_own_where_the_data_bring_none(digits):
    splits = [digits.trainings.split(level) for level in pipeline.LEVELS]
    count = len(digits.data.y_train) + len(digits.data.y_valid)
    for train, valid in splits:
        assert torch.equal(torch.cat([train, valid]).sort().values, torch.arange(count))
    assert len({tuple(valid.tolist()) for _, valid in splits}) == len(splits)
    theirs = PipelineTraining.of("digits", unit="0.05", final="0.3")
    object.__setattr__(theirs, "data", theirs.data._replace(valid_held_out=False))
    assert len({tuple(theirs.trainings.split(level)[1].tolist()) for level in pipeline.LEVELS}) == 1


def test_the_final_network_answers_as_it_is_built_and_fed(digits):
    one = arch(size=0.5, width=8, mirror=True, twice=True)
    found = digits.final_network(one)
    assert found.input_shape == (1, 8, 8)
    assert found.mirror
    network = digits.final_space.build(SPACE.parse(found.arch), digits.task)
    network.load_state_dict(found.state_dict)
    data = digits.data
    x = Images(data.x_test, data.y_test, data.mean, data.std).normalised(slice(None))
    with torch.inference_mode():
        logits = (network.eval()(x) + network(x.flip(-1))) / 2
    torch.testing.assert_close(found.metrics["test_probabilities"], logits.softmax(-1), atol=1e-4, rtol=0)
    assert found.metrics["test_predictions"] == logits.argmax(-1).tolist()
    assert len(found.metrics["loss"]) == round(0.3e9 / int(SPACE.cost(one, digits.task)[1]) / 1438)


@pytest.mark.parametrize("settings", [{"width": 8}, {"width": 16, "cells": 2}, {"width": 8, "stem": 2, "size": 0.5}])
def test_the_compute_of_a_final_training_is_that_of_the_run_to_half_an_epoch(digits, settings):
    one = arch(**settings)
    batch = int(SPACE.cost(one, digits.task)[1]) * 64
    epoch = batch * ((len(digits.data.y_train) + len(digits.data.y_valid)) // 64)
    missed = abs(digits.final_flops(one) - digits.final)
    assert missed <= (epoch if epoch < digits.final else batch) / 2


def test_final_networks_side_by_side_are_those_alone(digits):
    asked = [FinalTraining(arch(width=8, lr=lr), held_out=True) for lr in (0.05, 0.1)]
    together = digits.final_networks(asked)
    alone = PipelineTraining.of("digits", unit="0.05", final="0.3").final_networks(asked[1:])[0]
    assert together[1].metrics["loss"] == alone.metrics["loss"]
    assert len(alone.metrics["test_labels"]) == len(digits.data.y_valid)


@pytest.mark.usefixtures("one_core_each")
def test_more_seconds_buy_as_much_more_compute(untimed, monkeypatch):
    monkeypatch.setattr(pipeline.step_time, "measure_side_by_side", lambda *_: 1e-3)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    flops, of_yardstick = (int(NasBench201(16, cells, 2).cost(RESNET, untimed.task)[1]) for cells in (0, 1))
    one, two = untimed.timed(600.0, 200.0), untimed.timed(1200.0, 600.0)
    assert float(one["final"]) == pytest.approx(200 * flops / 1e-3 / 1e9, rel=1e-3)
    # 12 trainings of level 1 and 4 of level 3, by two cores.
    assert float(one["unit"]) == pytest.approx(600 * 2 * flops / 1e-3 / 1e9 / (12 + 4 * 3), rel=1e-3)
    assert float(two["unit"]) == pytest.approx(2 * float(one["unit"]), rel=1e-3)
    assert float(two["final"]) == pytest.approx(3 * float(one["final"]), rel=1e-3)
    # With a prior 9 and 3.
    warm = untimed.timed(600.0, 200.0, warm=True)
    assert float(warm["unit"]) == pytest.approx(float(one["unit"]) * (12 + 4 * 3) / (9 + 3 * 3), rel=1e-3)
    assert warm["final"] == one["final"]
    # However few seconds there are, two epochs of the network by which compute is measured.
    least = 2 * len(untimed.data.y_train) * of_yardstick / 1e9
    assert [float(text) for text in untimed.timed(0.1, 0.1).values()] == pytest.approx([least, least], rel=1e-3)


@pytest.mark.usefixtures("one_core_each")
@pytest.mark.parametrize(
    ("cores", "seeds", "batch", "counts"),
    [
        (1, 1, 2, (9, 3)),
        (2, 1, 2, (9, 3)),
        (2, 3, 2, (9, 3)),
        (4, 1, 4, (16, 4)),
        (8, 1, 8, (32, 8)),
        (8, 3, 2, (9, 3)),
        (8, 2, 4, (16, 4)),
        (64, 1, 8, (32, 8)),
        (15, 8, 2, (9, 3)),
        (5, 3, 2, (9, 3)),
    ],
)
def test_a_search_of_minutes_has_work_for_all_cores_and_goes_up_a_level_in_time(
    untimed, monkeypatch, cores, seeds, batch, counts
):
    beside = []
    monkeypatch.setattr(pipeline.step_time, "measure_side_by_side", lambda _, copies, __: beside.append(copies) or 1e-3)
    monkeypatch.setattr(torch, "get_num_threads", lambda: cores)
    config = RunConfig(minutes=10, seeds=seeds)
    assert stages.batch(config, untimed) == batch
    assert stages.batch(replace(config, minutes=None), untimed) == 2
    flops = int(NasBench201(16, 0, 2).cost(RESNET, untimed.task)[1])
    seconds = float(untimed.timed(1800.0, 200.0, warm=True, seeds=seeds)["unit"]) * 1e9 / flops * 1e-3
    busy = min(cores, seeds * batch)
    assert busy in beside
    # A batch goes on when three batches were trained: there is time for that, in whole rounds.
    rounds = math.ceil(seeds * batch / busy)
    needed = seconds * max(seeds * (counts[0] + 3 * counts[1]) / busy, rounds * (3 + 3))
    assert needed == pytest.approx(1800, rel=1e-3)


@pytest.mark.usefixtures("one_core_each")
def test_a_budget_of_evaluations_pays_for_the_higher_level_on_many_cores_too(untimed, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    batches = [stages.batch(RunConfig(minutes=10, evals=evals), untimed) for evals in (4, 8, 16, 24, 100)]
    assert batches == [2, 2, 4, 6, 8]


def test_a_search_without_compiled_code_is_planned_for_one_training_at_a_time(untimed, monkeypatch):
    beside = []
    monkeypatch.setattr(pipeline.step_time, "measure_side_by_side", lambda _, copies, __: beside.append(copies) or 1e-3)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(compiler, "library", lambda: None)
    assert (untimed.final_cores(), untimed.at_once(1)) == (1, 2)
    flops = int(NasBench201(16, 0, 2).cost(RESNET, untimed.task)[1])
    seconds = float(untimed.timed(1800.0, 200.0, warm=True)["unit"]) * 1e9 / flops * 1e-3
    assert seconds * (9 + 3 * 3) == pytest.approx(1800, rel=1e-3)
    untimed.final_seconds()
    assert beside[0] == beside[-1] == 1


@pytest.mark.usefixtures("one_core_each")
def test_the_end_is_timed_with_as_many_trainings_beside_one_another_as_it_has(untimed, monkeypatch):
    seconds = {2: 1e-3, 4: 2e-3, 8: 4e-3}
    monkeypatch.setattr(pipeline.step_time, "measure_side_by_side", lambda _, copies, __: seconds[copies])
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    flops = int(NasBench201(16, 0, 2).cost(RESNET, untimed.task)[1])
    for batch, slowest in ((2, 2e-3), (8, 4e-3)):
        final = float(untimed.timed(600.0, 200.0, batch=batch)["final"]) * 1e9
        assert final == pytest.approx(200 * flops / slowest, rel=1e-3)


@pytest.mark.usefixtures("one_core_each")
def test_a_batch_that_is_asked_for_is_planned_by(untimed, monkeypatch):
    monkeypatch.setattr(pipeline.step_time, "measure_side_by_side", lambda *_: 1e-3)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    two, six = (float(untimed.timed(600.0, 200.0, batch=batch)["unit"]) for batch in (2, 6))
    assert six / two == pytest.approx((12 + 3 * 4) / (24 + 3 * 6), rel=1e-3)


def test_the_final_training_is_foretold_by_the_network_that_is_timed_for_the_levels(untimed, monkeypatch):
    measured = []
    monkeypatch.setattr(pipeline.step_time, "measure_side_by_side", lambda job, *_: measured.append(job) or 1e-3)
    untimed.timed(600.0, 200.0)
    untimed.final_seconds()
    assert {(job.space, job.recipe.crop, tuple(job.arch.tolist())) for job in measured} == {
        (NasBench201(16, 0, 2), 1, tuple(NasBench201().reference_arch.tolist()))
    }


@pytest.mark.usefixtures("one_core_each")
@pytest.mark.parametrize(("half", "taken"), [(0.8e-3, "bf16"), (0.95e-3, "float32")])
def test_minutes_take_bfloat16_where_it_is_faster_and_the_run_keeps_that(untimed, monkeypatch, half, taken):
    def measured(job, copies, _device):
        assert copies == torch.get_num_threads()
        return half if job.recipe.precision == "bf16" else 1e-3

    monkeypatch.setattr(pipeline.step_time, "measure_side_by_side", measured)
    settings = untimed.in_faster_precision().timed(600.0, 200.0)
    assert settings.get("precision", "float32") == taken
    flops = int(NasBench201(16, 0, 2).cost(RESNET, untimed.task)[1])
    assert float(settings["final"]) == pytest.approx(200 * flops / {"bf16": half}.get(taken, 1e-3) / 1e9, rel=1e-3)
    again = PipelineTraining.of("digits", **settings)
    assert again._finals.job(FinalKey(SPACE.describe(SPACE.reference_arch))).recipe.precision == taken


def test_minutes_count_the_cores_of_the_precision_that_they_take(untimed, monkeypatch):
    # As without a C compiler: PyTorch takes all cores for one training in float32, and one for each in bfloat16.
    monkeypatch.setattr(
        sys.modules["nas.training.train"], "by_one_core", lambda _space, _task, _device, precision: precision == "bf16"
    )
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    seconds, planned = {"float32": 1e-3, "bf16": 4e-3}, []
    monkeypatch.setattr(pipeline.step_time, "measure_side_by_side", lambda job, *_: seconds[job.recipe.precision])
    monkeypatch.setattr(PipelineTraining, "timed", lambda self, *asked, **_: planned.append(asked) or {})
    config = RunConfig(minutes=10, comparison=True)
    for slower, cores, batch in ((1, 8, 8), (8, 1, 2)):
        seconds["bf16"] *= slower
        fresh = replace(untimed)
        assert stages.batch(config, fresh) == batch
        stages.timed(config, fresh)
        trainings = comparison.seconds(1.0, 300.0, cores) - 30 + 1
        assert planned[-1] == (300, pytest.approx((300 - stages._EXPORT_SECONDS - 30) / trainings))


@pytest.mark.parametrize("asked", ["float32", "bf16"])
def test_minutes_are_planned_by_the_precision_that_is_asked_for(monkeypatch, asked):
    other = {"float32": "bf16", "bf16": "float32"}[asked]
    seconds = {asked: 1e-3, other: 1e-6}
    monkeypatch.setattr(pipeline.step_time, "measure_side_by_side", lambda job, *_: seconds[job.recipe.precision])
    evaluator = PipelineTraining.of("digits", precision=asked)
    settings = evaluator.in_faster_precision().timed(600.0, 200.0)
    assert settings.get("precision", "float32") == asked
    flops = int(NasBench201(16, 0, 2).cost(RESNET, evaluator.task)[1])
    assert float(settings["final"]) == pytest.approx(200 * flops / 1e-3 / 1e9, rel=1e-3)


@pytest.mark.parametrize("width", [8, 16, 32])
def test_in_bfloat16_narrow_networks_see_fewer_images_for_their_compute(width):
    half, plain = (
        PipelineTraining.of("digits", unit="0.05", final="0.3", precision=one).trainings for one in ("bf16", "float32")
    )
    seen = half.seen(arch(width=width), 1e9) / plain.seen(arch(width=width), 1e9)
    assert seen == pytest.approx((1 + 26 / 16) / (1 + 26 / width))
    steps = seen * plain.seen(arch(width=width), 1e9) / 64
    job = half.job(SPACE.describe(arch(width=width)), 1e9)
    assert job.recipe.epochs * job.recipe.steps(len(job.images.y)) == pytest.approx(steps, rel=0.1)


def test_a_precision_that_there_is_not_is_refused():
    with pytest.raises(UserError, match="precision"):
        PipelineTraining.of("digits", precision="float16")


def test_a_search_sees_validation_scores_of_its_levels(digits):
    archs, levels = SPACE.first_archs[None, :2], torch.tensor([[1, 3]])
    results = digits.load(torch.tensor([0]))(Proposal(archs, levels))
    for b, level in enumerate(levels[0].tolist()):
        key = Key(SPACE.describe(SPACE.canonical(archs[0, b])), level)
        assert results.score[0, b] == pytest.approx(digits.trainings.results[key].score)


def test_a_level_of_compute_is_not_called_epochs():
    task = Task("photos", (3, 32, 32), 7, fidelities=pipeline.LEVELS)
    assert show._after({"epochs": 1}, task, levels=True) == ", at level 1 of compute; the levels are 1, 3"
    assert show._after({"epochs": 3}, task, levels=True) == ""
    assert show._after({"epochs": 1}, task, levels=False) == ", after 1 of 3 epochs"


def test_an_option_that_came_later_has_the_place_of_its_value_and_renumbers_no_other():
    d = SPACE.decisions.index("cells")
    assert SPACE.operations[d] == ("cells=1", "cells=2", "cells=3", "cells=0")
    numbers = [features.number for features in SPACE.operation_features[d]]
    assert sorted(numbers) == [numbers[3], *numbers[:3]]
    assert numbers[3] == SPACE.operation_features[SPACE.decisions.index("width")][0].number
