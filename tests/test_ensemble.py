"""Ensembles of two networks: what they answer, how they are kept, exported and chosen."""

from __future__ import annotations

import dataclasses
import json
import math
from types import SimpleNamespace

import pytest
import torch

from nas.evaluators._pipeline_final import FinalKey
from nas.evaluators._pipeline_trainings import Key, PipelineTrainings
from nas.evaluators.constrained import Constrained
from nas.evaluators.multi_objective import MultiObjective
from nas.evaluators.pipeline import PipelineTraining
from nas.export import ensemble
from nas.export.export import build
from nas.run import (
    averaged,
    comparison,
    finish,
    front,
    model_card,
    names,
    pick,
    session,
    simpler,
    stages,
    step_log,
    store,
    subject,
    trained_network,
)
from nas.run.classify import of_network
from nas.run.comparison import ENSEMBLE, FOUND, LEARNED, REFERENCE, Row
from nas.run.config import RunConfig
from nas.run.session import Setup
from nas.training import metrics, step_time
from nas.types import FinalTraining, TrainedNetwork
from search_spaces import Task, UserError
from search_spaces.pipeline import Pipeline, Settings

SPACE, TASK = Pipeline(), Task("made-up", (3, 12, 12), 4)
ARCHS = [
    SPACE.parse(
        f"|{first}~0|+|none~0|nor_conv_1x1~1|+|skip_connect~0|none~1|nor_conv_3x3~2| width=8 mirror=yes twice=yes"
    )
    for first in ("nor_conv_3x3", "avg_pool_3x3")
]


def images(seed, count=30):
    return torch.rand(count, 3, 12, 12, generator=torch.Generator().manual_seed(seed))


def trained(arch, seed, y=None):
    """A network that was not trained, as if it had been: weights of a seed, measured on made-up images."""
    torch.manual_seed(seed)
    network = SPACE.build(arch, TASK)
    network(images(seed))  # Its batch norms see something.
    network.eval()
    y = torch.arange(30) % 4 if y is None else y
    with torch.no_grad():
        x = images(99)
        logits = (network(x) + network(x.flip(3))) / 2
    measured = metrics.test_metrics(logits, y) | {"loss": [1.0]}
    names, state = ("a", "b", "c", "d"), network.state_dict()
    zeros, ones = torch.zeros(3), torch.ones(3)
    return TrainedNetwork(SPACE.describe(arch), state, zeros, ones, names, measured, (3, 12, 12), True, None, 2.0)


@pytest.fixture(scope="module")
def both():
    return [trained(arch, seed) for seed, arch in enumerate(ARCHS)]


def test_its_answers_follow_from_those_of_its_members(both):
    made = averaged.of(*both)
    classifier = of_network(SPACE, TASK, made)
    with torch.no_grad():
        expected = classifier.logits(images(99)).softmax(1)
    assert torch.allclose(made.metrics["test_probabilities"], expected, atol=1e-6)
    assert made.metrics["test_predictions"] == expected.argmax(1).tolist()
    # And not those of one of them.
    assert not torch.allclose(expected, both[0].metrics["test_probabilities"], atol=1e-3)
    assert made.seconds == 4


def test_it_is_kept_and_read_back(both, tmp_path):
    made = averaged.of(*both)
    trained_network.save(tmp_path, made)
    read = trained_network.load(tmp_path)
    assert read is not None
    assert read.members == tuple(map(SPACE.describe, ARCHS))
    assert torch.equal(trained_network.arch_of(SPACE, read), torch.stack(ARCHS))
    assert all(torch.equal(tensor, made.state_dict[name]) for name, tensor in read.state_dict.items())
    assert trained_network.parameters(read) == sum(map(trained_network.parameters, both))


@pytest.mark.parametrize("archs", [ARCHS, ARCHS[:1] * 2])
def test_its_files_compute_the_same(archs, tmp_path):
    # The export reads each file back and compares it with the network.
    made = averaged.of(*(trained(arch, seed) for seed, arch in enumerate(archs)))
    done = trained_network.write_export(SPACE, TASK, made, tmp_path / "export")
    assert done.left_out == ()
    assert max(file.difference for file in done.files) < 1e-4
    text = (tmp_path / "export" / "network.py").read_text()
    # A class for each cell that differs.
    assert ("class Cell2(" in text) == (archs is ARCHS)
    weights = ensemble.joined([{"x": torch.zeros(1)}, {"x": torch.ones(1)}])
    assert list(weights) == ["members.0.x", "members.1.x"]


def test_its_members_are_named_by_their_space():
    network = build(SPACE, torch.stack(ARCHS), TASK, None)
    assert len(network.members) == 2
    assert ensemble.describe(SPACE, torch.stack(ARCHS)) == " + ".join(map(SPACE.describe, ARCHS))


def test_one_network_is_preferred_only_where_it_leads_by_more_than_the_error():
    truth = torch.arange(30) % 4
    right = trained(ARCHS[0], 0, truth)

    def answering(seen):
        return right._replace(metrics={"test_predictions": seen.tolist(), "test_labels": truth.tolist()})

    def wrong(count):
        seen = truth.clone()
        seen[:count] = (truth[:count] + 1) % 4
        return answering(seen)

    # Of 30 images: one that only the network has right leads by 3.3 points, error 3.3; four lead by 13.3, error 6.3.
    assert not simpler._leads(wrong(0), wrong(1))
    assert simpler._leads(wrong(0), wrong(4))
    assert averaged.lead_and_error(wrong(4), wrong(0)) == pytest.approx((13.33, 6.31), abs=0.01)


@pytest.mark.parametrize("found", [SPACE.reference_arch, ARCHS[0]])
def test_two_trainings_of_one_architecture_get_the_time_of_those_that_would_judge_them(found, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        simpler.final_trainings, "networks", lambda _run, _training, each: asked.append(each) or [None] * len(each)
    )
    evaluator = PipelineTraining.of("digits", unit="0.01", final="0.02")
    config = RunConfig(task="digits", comparison=True)
    with store.create(tmp_path / "run", config, {"controller": {}}, {}) as run:
        trained_pairs = simpler.train(run, Setup(evaluator, None, torch.zeros(1).long(), None), found)
    passes = [(one.seed, one.share, one.held_out) for each in asked for one in each]
    if torch.equal(found, SPACE.reference_arch):
        assert trained_pairs == {simpler._SECOND: (None, None), FOUND: (None, None)}
        longer, epochs = 1 + 0.8 / 3, 0.79
        assert passes == [(1, pytest.approx(longer * epochs), False), (0, longer, False)]
        # As long as the others take, whatever they are judged by.
        assert 2 * longer == pytest.approx(comparison.seconds(1.0, 600.0, 1) - 60 + 1)
        own, other = (SPACE.settings_of(one.arch) for one in (asked[0][1], asked[0][0]))
        assert (own.augment, other) == (False, own._replace(augment=True))
        # Of minutes of four cores the judging trainings would have taken nothing. What the first session of a run found is kept:
        # it goes on as it began where there are other cores.
        monkeypatch.setattr(step_time, "measure_side_by_side", lambda *_: 1e-3)
        shares, of_minutes = [], dataclasses.replace(config, minutes=10.0)
        for sessions in ((4, 1), (1, 4)):
            asked.clear()
            with store.create(tmp_path / str(sessions), of_minutes, {"controller": {}}, {}) as run:
                for cores in sessions:
                    monkeypatch.setattr(PipelineTraining, "final_cores", lambda _, cores=cores: cores)
                    simpler.train(run, Setup(evaluator, None, torch.zeros(1).long(), None), found)
            first, again = [[(one.seed, one.share) for one in each] for each in asked]
            assert first == again
            shares.append(first[1][1])
        assert shares[1] / shares[0] == pytest.approx(longer, rel=1e-2)
        assert all(one.beside for one in asked[0])
    else:
        assert list(trained_pairs) == [REFERENCE, FOUND]
        # All in one call, so that those by which two are judged are trained beside them.
        (together,) = asked
        assert [one.held_out for one in together] == [False, False, True, True]
        assert [(seed, held_out) for seed, _, held_out in passes] == [(0, False), (0, False), (0, True), (0, True)]
    assert not simpler._leads(None, None)


@pytest.mark.parametrize(("augment", "share"), [(False, 0.79), (True, 1.0)])
def test_the_second_of_two_networks_is_augmented_otherwise(augment, share):
    evaluator = PipelineTraining.of("digits", unit="0.01", final="0.02")
    settings = SPACE.settings_of(SPACE.reference_arch)._replace(augment=augment, width=8)
    arch = SPACE.arch_of(SPACE.cell_of(SPACE.reference_arch), settings)
    second = evaluator.second(arch)
    assert second == FinalTraining(second.arch, 1, share)
    assert SPACE.settings_of(second.arch) == settings._replace(augment=not augment)
    # RandAugment's network has fewer epochs, and so as many seconds.
    epochs = [
        evaluator._finals.job(FinalKey(SPACE.describe(one.arch), one.seed, 40 * one.share)).recipe.epochs
        for one in (second, FinalTraining(arch))
    ]
    assert epochs[0] == pytest.approx(share * epochs[1], abs=1)


def test_the_sentence_is_about_the_ensemble_where_that_is_handed_out():
    def row(name, kind, right):
        return Row(name, kind, None, right, 0.0, [0, 0], 0.0, 0.0, 1, None, 1.0, "1" * right + "0" * (40 - right))

    rows = [row("SVC", LEARNED, 20), row("the plain ResNet", REFERENCE, 30), row("the network found", FOUND, 31)]
    rows.append(row("the ensemble of both networks", ENSEMBLE, 38))
    rows[2] = rows[2]._replace(correct=rows[2].correct[::-1])
    assert comparison.sentence(rows, ENSEMBLE).startswith(
        "The search was worth it: of 40 test images the ensemble of both networks alone is right on 8, the plain ResNet alone "
    )
    assert comparison.sentence(rows).startswith(
        "The search was not worth it here, take the simpler one, the plain ResNet."
    )
    document = {"rows": [one._asdict() for one in rows], "handed_out": rows[-1].name, "sentence": "", "latency_by": "x"}
    assert comparison.lines(document)[0].startswith("The export is the ensemble of both networks")
    assert not comparison.lines(document | {"handed_out": rows[2].name})[0].startswith("The export is")
    # What it says to type is taken.
    name, value = comparison.lines(document)[0].partition("-t ")[2].split()[0].split("=")
    assert PipelineTraining.of("digits").ensemble
    assert not PipelineTraining.of("digits", **{name: value}).ensemble


def test_a_score_of_the_search_stands_beside_no_figure_of_longer_trainings(tmp_path, monkeypatch):
    options = {"space": "pipeline", "unit": "0.005", "final": "0.005"}
    config = RunConfig("digits", "random_search", prior="none", evals=1, comparison=True, training_options=options)
    monkeypatch.setattr(PipelineTraining, "reference", lambda self, arch: None)
    monkeypatch.setattr(simpler.latency, "of_networks", lambda modules, shape: ([1.0] * len(modules), "x"))
    monkeypatch.setattr(
        simpler.baselines, "fit_best", lambda images, *_: simpler.baselines.majority(images, tuple("0123456789"))
    )
    setup = session.load(config)
    with session.start(tmp_path / "run", config, setup) as run:
        list(session.resume(run, setup))
        finish.write_report(run, setup)
        simpler.make(run, setup)
        document = comparison.read(run)
        assert document is not None
        figures = {row.kind: row.valid_score is not None for row in comparison.rows_of(document)}
        assert figures == {"majority": True, LEARNED: True, FOUND: False, ENSEMBLE: False}
        said = [line for line in comparison.lines(document) if line.startswith("Networks have no figure under valid: ")]
        assert len(said) == 1
        text = "\n".join(comparison.section(run))
        assert said[0] in text
        assert "as the search trained them" not in text


@pytest.mark.parametrize(("own", "other", "chosen"), [(20, 21, 1), (20, 20, 0), (21, 20, 0)])
def test_without_an_ensemble_validation_images_choose_between_its_two_trainings(
    own, other, chosen, tmp_path, monkeypatch
):
    evaluator = PipelineTraining.of("digits", unit="0.01", final="0.02", ensemble="false")
    truth, asked = torch.arange(30) % 4, []
    right = trained(ARCHS[0], 0, truth)

    def networks(_run, training, each):
        asked.extend(each)
        plain = [torch.equal(one.arch, SPACE.reference_arch) for one in each]
        # Of the final trainings, which test images judge, the other one is right on fewer.
        counts = [(own if is_own else other) if one.held_out else 9 + is_own for is_own, one in zip(plain, each)]
        seen = [torch.where(torch.arange(30) < count, truth, (truth + 1) % 4) for count in counts]
        return [
            right._replace(
                arch=training.space.describe(one.arch),
                metrics={"test_predictions": x.tolist(), "test_labels": truth.tolist()},
            )
            for one, x in zip(each, seen)
        ]

    monkeypatch.setattr(simpler.final_trainings, "networks", networks)
    config = RunConfig(task="digits", comparison=True)
    with store.create(tmp_path / "run", config, {"controller": {}}, {}) as run:
        pairs = simpler.train(run, Setup(evaluator, None, torch.zeros(1).long(), None), SPACE.reference_arch)
    assert list(pairs) == [FOUND]
    both = [SPACE.describe(SPACE.reference_arch), SPACE.describe(evaluator.second(SPACE.reference_arch).arch)]
    assert [network.arch for network in pairs[FOUND] if network] == [both[chosen]] * 2
    assert [(one.seed, one.held_out) for one in asked] == [(1, False), (0, False), (1, True), (0, True)]


def test_what_takes_longer_than_planned_by_the_minutes_has_fewer_epochs(tmp_path, monkeypatch):
    evaluator = PipelineTraining.of("digits", unit="0.01", final="0.02")
    second = evaluator.second(SPACE.reference_arch)
    seconds = {None: 10.0, SPACE.describe(second.arch): 40.0, SPACE.describe(SPACE.reference_arch): 5.0}

    def measured(self, arch=None):
        return seconds[None if arch is None else SPACE.describe(arch)]

    monkeypatch.setattr(PipelineTraining, "final_seconds", measured)
    monkeypatch.setattr(PipelineTraining, "planned_seconds", measured)
    both = [second, FinalTraining(SPACE.reference_arch)]
    config = RunConfig(task="digits", comparison=True)
    with store.create(tmp_path / "free", config, {"controller": {}}, {}) as run:
        assert simpler._in_time(run, evaluator, both) == both
    limited = RunConfig(task="digits", comparison=True, minutes=3.0)
    with store.create(tmp_path / "run", limited, {"controller": {}}, {}) as run:
        # The slow one has a quarter; the quick one has no more than it is asked for.
        assert [one.share for one in simpler._in_time(run, evaluator, both)] == [0.25, 1.0]
        seconds[None] = 20.0
        assert [one.share for one in simpler._in_time(run, evaluator, both)] == [0.25, 1.0]
        # Shares that are not as many as the trainings, as of a file that was edited, are found out anew.
        store.set_meta(run, comparison.SHARES, [0.1])
        assert [one.share for one in simpler._in_time(run, evaluator, both)] == [0.5, 1.0]


@pytest.mark.parametrize(
    ("share", "expected"), [(0.95, "mirror=yes twice={}"), (0.9, "mirror=yes twice={}"), (0.89, ""), (math.nan, "")]
)
@pytest.mark.parametrize("twice", [True, False])
def test_final_trainings_have_mirror_images_where_they_change_no_answer(share, expected, twice, monkeypatch):
    evaluator = PipelineTraining.of("digits")
    monkeypatch.setattr(PipelineTrainings, "mirrored_share", lambda self: share)
    arch = SPACE.reference_arch
    made = SPACE.describe(evaluator.final_arch(arch, twice=twice, larger=False))
    words = set(made.split()) - set(SPACE.describe(arch).split())
    assert words == {word for word in expected.format("yes" if twice else "no").split() if word != "twice=no"}
    # What has them already stays as it is: alone it would answer more slowly than was asked for, or faster.
    mirrored = SPACE.with_mirrors(arch, twice=True)
    assert torch.equal(evaluator.final_arch(mirrored, twice=twice, larger=False), mirrored)


def test_a_final_network_is_the_largest_that_sees_its_images_often():
    cell = SPACE.cell_of(SPACE.reference_arch)
    arch = SPACE.arch_of(cell, Settings(cells=0, stem=2))
    digits = PipelineTraining.of("digits")
    images = sum(len(digits.images[split][1]) for split in ("train", "valid"))

    def trained(epochs, size):  # With as much compute as a network of that size has so many epochs by.
        made = SPACE.arch_of(cell, Settings(cells=0, **size))
        return PipelineTraining.of("digits", final=str(epochs * images * int(SPACE.cost(made, digits.task)[1]) / 1e9))

    for epochs, size in ((100.5, {"stem": 1}), (200.5, {"stem": 2, "width": 24}), (200.5, {"stem": 1, "width": 24})):
        evaluator = trained(epochs, size)
        found = SPACE.settings_of(evaluator.final_arch(arch, twice=True, larger=True))
        # Either step, whichever has time; the stem first.
        assert found == Settings(cells=0, **(size if epochs < 200 or size["stem"] == 1 else {"stem": 1}))
        assert torch.equal(evaluator.final_arch(arch, twice=True, larger=False), arch)
    whole = SPACE.arch_of(cell, Settings(cells=0, stem=1))
    assert SPACE.settings_of(trained(200.5, {"width": 24}).final_arch(whole, twice=True, larger=True)).width == 24
    for epochs, size, small in ((99, {"stem": 1}, arch), (199, {"width": 24}, whole)):
        assert torch.equal(trained(epochs, size).final_arch(small, twice=True, larger=True), small)
    # The plain network of that size, which it is compared with, has as many epochs.
    lean = SPACE.arch_of(torch.tensor([1] * 6), Settings(cells=0, stem=2))
    assert SPACE.settings_of(trained(100.5, {"stem": 1}).final_arch(lean, twice=True, larger=True)).stem == 1
    assert torch.equal(trained(99, {"stem": 1}).final_arch(lean, twice=True, larger=True), lean)
    # The largest there is stays as it is; the end takes no longer than it does.
    most = PipelineTraining.of("digits", final="1e6")
    largest = most.final_arch(arch, twice=True, larger=True)
    assert SPACE.settings_of(largest) == Settings(cells=0, width=48)
    assert torch.equal(most.final_arch(largest, twice=True, larger=True), largest)


def test_the_time_of_the_end_is_that_of_the_largest_network_where_final_networks_may_be_larger(monkeypatch):
    options = {"space": "pipeline", "unit": "0.02", "final": "1"}
    monkeypatch.setattr(PipelineTraining, "longest_seconds", lambda self: 100.0)
    monkeypatch.setattr(PipelineTraining, "final_seconds", lambda self, arch=None: 10.0)
    for more, longest in (({}, True), ({"ensemble": "false"}, False)):
        for compared in (True, False):
            config = RunConfig("digits", "random_search", prior="none", evals=1, comparison=compared)
            setup = session.load(dataclasses.replace(config, training_options=options | more))
            ending = stages.expected(config, setup.evaluator)[stages.FINAL]
            assert (ending >= 100) == (longest and compared)


def test_the_end_takes_no_longer_than_planned_though_its_network_is_larger(monkeypatch):
    evaluator = PipelineTraining.of("digits", final="1000")
    timed = evaluator._timed
    grown = evaluator.final_arch(timed, twice=True, larger=True)
    assert not torch.equal(grown, timed)
    # Seconds an image: a larger network takes more for its multiply-accumulates than the one that minutes are planned by.
    for slower in (1.0, 4.0):
        ratio = slower * int(SPACE.cost(grown, evaluator.task)[1]) / int(SPACE.cost(timed, evaluator.task)[1])
        monkeypatch.setattr(
            step_time,
            "measure_side_by_side",
            lambda job, beside, device, ratio=ratio: (
                1e-6 * (ratio if job.space.skeleton == SPACE.skeleton_of(grown) else 1.0)
            ),
        )
        assert evaluator.planned_seconds() == pytest.approx(1e-6 * evaluator.trainings.seen(timed, evaluator.final))
        assert evaluator.longest_seconds() == pytest.approx(
            min(evaluator.planned_seconds(), evaluator.final_seconds(grown))
        )
        # Of so few images a small network takes a part of it.
        assert evaluator.final_seconds() < 0.7 * evaluator.planned_seconds()
        slow = [FinalTraining(grown)]
        limited = RunConfig(task="digits", comparison=True, minutes=3.0)
        monkeypatch.setattr(store, "get_meta", lambda run, key: None)
        monkeypatch.setattr(store, "set_meta", lambda run, key, value: None)
        run = SimpleNamespace(config=limited)
        (share,) = [one.share for one in simpler._in_time(run, evaluator, slow)]
        assert share * evaluator.final_seconds(grown) <= evaluator.planned_seconds() * 1.01


def test_seeds_are_reported_by_networks_of_one_kind(monkeypatch):
    evaluator, asked = PipelineTraining.of("digits"), []
    result = SimpleNamespace(tested=70.0)
    monkeypatch.setattr(simpler.final_trainings, "networks", lambda run, training, each: [result] * len(each))
    monkeypatch.setattr(
        PipelineTraining, "final_arch", lambda self, arch, **how: (asked.append(how), arch)[1]
    )  # As that of the best is trained where an ensemble may be handed out.
    archs = torch.stack([SPACE.reference_arch, ARCHS[0], SPACE.reference_arch])
    best = {FOUND: (None, SimpleNamespace(tested=90.0))}
    run = SimpleNamespace(config=RunConfig("digits", comparison=True))
    values = finish._reported(run, SimpleNamespace(evaluator=evaluator), archs, SPACE.reference_arch, best)
    assert values.tolist() == [90, 70, 90]
    assert asked == [{"twice": True, "larger": True}]


def test_networks_do_not_grow_where_small_ones_are_asked_for():
    evaluator = PipelineTraining.of("digits")
    assert averaged.grows(evaluator) is evaluator
    assert averaged.grows(PipelineTraining.of("digits", ensemble="false")) is None
    several = object.__new__(MultiObjective)
    object.__setattr__(several, "inner", evaluator)
    assert averaged.grows(several) is None
    assert averaged.wanted(several) is evaluator


def test_a_comparison_says_that_final_networks_are_larger():
    row = {"kind": comparison.FOUND, "arch": "cell width=24 stem=1 mirror=yes"}
    document = {"searched": "cell width=16 stem=2 mirror=yes", "mirrored_share": None}
    rows = [comparison.Row(**{**dict.fromkeys(comparison.Row._fields), **row})._asdict()]
    assert comparison._is_larger(document | {"rows": rows}).startswith("Final trainings have width=24 stem=1: ")
    assert comparison._second_is_exported(document | {"rows": rows}) == ""
    assert comparison._has_mirrors(document | {"rows": rows}) == ""
    assert comparison._is_larger({"searched": "", "rows": rows}) == ""


def test_mirror_images_are_looked_at_by_networks_that_never_saw_any(tmp_path):
    evaluator = PipelineTraining.of("digits", unit="1")
    trainings = evaluator.trainings
    assert math.isnan(trainings.mirrored_share())
    assert evaluator.mirrored_share is None
    trainings.cache_to(tmp_path / "cache.jsonl")
    plain, mirrored = SPACE.reference_arch, SPACE.with_mirrors(SPACE.reference_arch, twice=False)
    keys = [Key(SPACE.describe(arch), level) for arch in (plain, mirrored) for level in (1, 3)]
    trainings.train(keys)
    found = [trainings.results[key] for key in keys]
    assert [math.isnan(one.mirrored) for one in found] == [False, False, True, True], found
    assert trainings.mirrored_share() == found[1].mirrored / found[1].score
    # Digits are no mirror images of one another.
    assert 0 < evaluator.mirrored_share < 0.8
    again = PipelineTraining.of("digits", unit="1").trainings
    again.cache_to(tmp_path / "cache.jsonl")
    assert again.mirrored_share() == trainings.mirrored_share()
    # A training of an earlier version says nothing of mirror images.
    lines = [json.loads(line) for line in (tmp_path / "cache.jsonl").read_text().splitlines() if line]
    (tmp_path / "old.jsonl").write_text(
        "\n".join(json.dumps({k: v for k, v in line.items() if k != "mirrored"}) for line in lines)
    )
    old = PipelineTraining.of("digits", unit="1").trainings
    old.cache_to(tmp_path / "old.jsonl")
    assert len(old.results) == 4
    assert math.isnan(old.mirrored_share())


def test_networks_at_chance_say_nothing_of_mirror_images(monkeypatch):
    trainings = PipelineTraining.of("digits", unit="1").trainings
    key = Key(SPACE.describe(SPACE.reference_arch), 3)
    monkeypatch.setattr(metrics, "beats_chance", lambda seen, y, classes: False)
    trainings.train([key])
    assert math.isnan(trainings.mirrored_share())
    assert trainings.results[key].score > 50


@pytest.mark.parametrize("images", [100, 1000])
def test_chance_is_what_answers_that_look_at_no_image_have_right(images):
    generator = torch.Generator().manual_seed(images)
    y = torch.multinomial(torch.tensor([0.6, 0.3, 0.1]), images, True, generator=generator)
    assert metrics.beats_chance(y, y, 3)
    for answer in range(3):
        assert not metrics.beats_chance(torch.full_like(y, answer), y, 3)
    at_random = [metrics.beats_chance(y[torch.randperm(images, generator=generator)], y, 3) for _ in range(200)]
    # Two standard errors are one in forty; some more, as answers that are shuffled vary by their own counts.
    assert sum(at_random) <= 14
    half = torch.where(torch.rand(images, generator=generator) < 0.5, y, y.flip(0))
    assert metrics.beats_chance(half, y, 3)


def test_a_run_that_was_killed_in_the_end_knows_what_its_search_saw_of_mirror_images(tmp_path):
    options = {"space": "pipeline", "unit": "0.1", "final": "0.01"}
    config = RunConfig("digits", "random_search", prior="none", evals=6, comparison=True, training_options=options)
    with session.start(tmp_path / "run", config, session.load(config)) as run:
        setup = session.load(config)
        list(session.resume(run, setup))
        before = setup.evaluator.training.mirrored_share
        assert before is not None
    with store.open_run(tmp_path / "run", write=True) as run:
        setup = session.load(run.config)
        assert setup.evaluator.training.mirrored_share is None
        assert list(session.resume(run, setup)) == []
        assert setup.evaluator.training.mirrored_share == before


@pytest.mark.parametrize("compared", [True, False])
def test_every_final_training_of_a_run_has_mirror_images(compared, tmp_path, monkeypatch):
    options = {"space": "pipeline", "unit": "0.005", "final": "0.005", "ensemble": "false"}
    config = RunConfig(
        "digits", "random_search", prior="none", evals=1, seeds=2, comparison=compared, training_options=options
    )
    monkeypatch.setattr(PipelineTrainings, "mirrored_share", lambda self: 0.95)
    monkeypatch.setattr(trained_network, "write_export", lambda *_, **__: None)
    # What takes seconds, and is tested elsewhere.
    monkeypatch.setattr(PipelineTraining, "reference", lambda self, arch: None)
    monkeypatch.setattr(simpler.latency, "of_networks", lambda modules, shape: ([1.0] * len(modules), "x"))
    monkeypatch.setattr(
        simpler.baselines, "fit_best", lambda images, *_: simpler.baselines.majority(images, tuple("0123456789"))
    )
    setup, asked = session.load(config), []
    networks = PipelineTraining.each_final_network
    monkeypatch.setattr(
        PipelineTraining, "each_final_network", lambda self, each: (asked.extend(each), networks(self, each))[1]
    )
    with session.start(tmp_path / "run", config, setup) as run:
        list(session.resume(run, setup))
        archs = step_log.history(run).archs[:, 0]
        # Otherwise this shows nothing.
        assert not all(SPACE.settings_of(arch).mirror for arch in archs)
        finish.finish(run, setup)
        winner, values = trained_network.load(run.folder), store.get_meta(run, "report")
        assert winner is not None
        assert all(SPACE.settings_of(one.arch).mirror for one in asked)
        # No architecture is trained for longer than it takes: of two, once each; the second training of the best.
        finals = {(SPACE.describe(SPACE.canonical(one.arch)), one.seed, one.held_out) for one in asked}
        assert len(finals) == (5 if compared else 2)
        assert len(values) == 2
        assert winner.metrics["test_accuracy"] in values
        # Kept before the comparison, in which a run may be killed.
        assert store.get_meta(run, comparison.SEARCHED) == comparison.searched(run)
        assert comparison.searched(run) in [SPACE.describe(SPACE.canonical(arch)) for arch in archs]
        assert winner.arch != comparison.searched(run)


def test_more_is_not_right_on_mirror_images_than_on_others(monkeypatch):
    monkeypatch.setattr(PipelineTrainings, "mirrored_share", lambda self: 1.1)
    assert PipelineTraining.of("digits").mirrored_share == 1


def test_no_ensemble_is_handed_out_under_a_bound_beside_several_objectives():
    bound = object.__new__(Constrained)
    object.__setattr__(bound, "inner", PipelineTraining.of("digits"))
    both = object.__new__(MultiObjective)
    object.__setattr__(both, "inner", bound)
    assert averaged.wanted(both) is None
    object.__setattr__(both, "inner", bound.inner)
    assert averaged.wanted(both) is bound.inner


def test_a_comparison_says_that_final_trainings_have_mirror_images():
    row = {"kind": comparison.FOUND, "arch": "cell width=16 mirror=yes twice=yes augment=yes"}
    document = {"searched": "cell width=16 mirror=no twice=no augment=no", "mirrored_share": 0.957}
    rows = [comparison.Row(**{**dict.fromkeys(comparison.Row._fields), **row})._asdict()]
    said = comparison._has_mirrors(document | {"rows": rows})
    assert said.startswith("Final trainings have mirror=yes twice=yes: ")
    assert "have 96% as much right" in said
    assert "preferred that with augment=yes:" in comparison._second_is_exported(document | {"rows": rows})
    assert comparison._has_mirrors({"searched": "", "rows": rows}) == ""


def test_the_second_training_is_named_wherever_it_is_handed_out(nas, tmp_path, monkeypatch):
    options = {"space": "pipeline", "unit": "0.005", "final": "0.005", "ensemble": "false"}
    config = RunConfig("digits", "random_search", prior="none", evals=1, comparison=True, training_options=options)
    monkeypatch.setattr(simpler, "_preferred", lambda first, second, metric: second)
    monkeypatch.setattr(PipelineTraining, "reference", lambda self, arch: None)
    # What takes seconds, and is tested elsewhere.
    monkeypatch.setattr(simpler.latency, "of_networks", lambda modules, shape: ([1.0] * len(modules), "x"))
    monkeypatch.setattr(
        simpler.baselines, "fit_best", lambda images, *_: simpler.baselines.majority(images, tuple("0123456789"))
    )
    monkeypatch.setattr(trained_network, "write_export", lambda *_, **__: None)
    setup = session.load(config)
    with session.start(tmp_path / "run", config, setup) as run:
        list(session.resume(run, setup))
        finish.finish(run, setup)
        winner, searched = trained_network.load(run.folder), comparison.searched(run)
        assert winner is not None
        assert searched == names.of(subject.read(run), SPACE, step_log.history(run).archs[0, 0]).arch != winner.arch
        said = f"validation images preferred that with augment={'no' if 'augment=yes' in searched else 'yes'}: it is the export."
        assert any(said in line for line in comparison.lines(comparison.read(run)))
        assert "in the end trained otherwise than in the search" in model_card.of(run, winner).search
        assert winner.arch in (run.folder / finish.PAGE).read_text()
    assert said in nas("show", run.folder).stdout

    def write(_space, _task, trained, *_, **__):
        raise UserError(f"{trained.arch} is written.")

    monkeypatch.setattr(trained_network, "write_export", write)
    # It is what the search found, trained: nothing is trained anew, and nothing is written without its weights.
    for asked in (["--pick", "params<=1G"], ["--seed", 0]):
        assert f"{winner.arch} is written." in nas("export", run.folder, *asked, "--to", tmp_path / "out").stderr


def test_a_pick_is_no_network_that_answers_twice_and_not_the_plain_one(nas, tmp_path, monkeypatch):
    config = RunConfig(
        "digits",
        "random_search",
        prior="none",
        evals=1,
        comparison=False,
        training_options={"space": "pipeline", "unit": "0.005", "final": "0.005"},
    )
    monkeypatch.setattr(trained_network, "write_export", lambda *_, **__: None)
    setup = session.load(config)
    with session.start(tmp_path / "run", config, setup) as run:
        list(session.resume(run, setup))
        finish.finish(run, setup)
        winner, (point,) = trained_network.load(run.folder), front.points(run)
        assert winner is not None
        monkeypatch.setattr(comparison, "searched", lambda run: point.arch)
        settings = SPACE.settings_of(SPACE.parse(point.arch))
        cell = SPACE.cell_of(SPACE.parse(point.arch))
        augmented = settings._replace(augment=not settings.augment)
        other = SPACE.describe(SPACE.arch_of(cell, augmented))
        wider = SPACE.describe(SPACE.arch_of(cell, augmented._replace(width=32 if settings.width != 32 else 16)))
        for plain, stored, trains in (
            (False, winner._replace(arch=other), False),  # Another training of what was searched.
            (False, winner._replace(arch=other, mirror=not winner.mirror), True),
            (False, winner._replace(arch=wider), True),
            (True, winner._replace(arch=other), True),
        ):
            monkeypatch.setattr(comparison, "plain_handed_out", lambda run, plain=plain: plain)
            trained_network.save(run.folder, stored)
            said = []
            monkeypatch.setattr(pick, "_FOLDER", f"picked-{len(list(run.folder.iterdir()))}")
            picked = pick.network(run, point, SPACE, trusted=False, say=said.append)
            assert picked is not None
            assert (picked.arch, len(said)) == ((point.arch, 1) if trains else (stored.arch, 0))


def test_a_pick_has_mirror_images_where_the_final_trainings_of_its_run_would(tmp_path, monkeypatch):
    options = {"space": "pipeline", "unit": "0.005", "final": "0.005"}
    config = RunConfig("digits", "random_search", prior="none", evals=4, comparison=False, training_options=options)
    # As the run's trainings say: none are known until they are read.
    monkeypatch.setattr(PipelineTrainings, "mirrored_share", lambda self: 0.95 if self.results else math.nan)
    setup = session.load(config)
    with session.start(tmp_path / "run", config, setup) as run:
        list(session.resume(run, setup))
        point = next(point for point in front.points(run) if "mirror=no" in point.arch)
        said = []
        with monkeypatch.context() as patch:
            patch.setattr(TrainedNetwork, "diverged", True)
            # Without the advice to take another learning rate: each pipeline has its own.
            with pytest.raises(UserError, match=r"none is handed out\.$"):
                pick.network(run, point, SPACE, trusted=False, say=said.append)
        assert not (run.folder / pick._FOLDER).exists()
        said.clear()
        first, again = (pick.network(run, point, SPACE, trusted=False, say=said.append) for _ in range(2))
        assert first is not None
        assert again is not None
        assert first.arch == point.arch.replace("mirror=no", "mirror=yes")
        assert not first.mirror
        assert len(said) == 1
        assert all(torch.equal(value, again.state_dict[name]) for name, value in first.state_dict.items())
