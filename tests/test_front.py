"""Accuracy against size of all that a run trained, and the sizes themselves counted by hand."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass

import pytest
import safetensors.torch
import torch

from nas.export.device import Device
from nas.run import choice, finish, front, pick, session, step_log, store, trained_network
from nas.run.config import RunConfig
from search_spaces import Task, UserError
from search_spaces._network_costs import network_cost
from search_spaces.nasbench201 import NasBench201
from search_spaces.natsbench_size import NatsBenchSize

TINY = {
    "epochs": "1",
    "channels": "4",
    "examples": "128",
    "final_epochs": "1",
    "final_channels": "4",
    "final_cells": "1",
}
TASK = Task("t", (1, 8, 8), 10)
SKIPS = "|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"
CONV = "|none~0|+|none~0|none~1|+|nor_conv_3x3~0|none~1|none~2|"

# Weights and running parameters, layer by layer, of four channels and one cell a stage on 8x8 gray images, ten classes.
STEM = 9 * 1 * 4 + 2 * 4
BLOCKS = (9 * 4 * 8 + 2 * 8) + (9 * 8 * 8 + 2 * 8) + 4 * 8 + (9 * 8 * 16 + 2 * 16) + (9 * 16 * 16 + 2 * 16) + 8 * 16
HEAD = 2 * 16 + 16 * 10 + 10
CONVS = (9 * 4 * 4 + 2 * 4) + (9 * 8 * 8 + 2 * 8) + (9 * 16 * 16 + 2 * 16)
WORK = 36 * 64 + (9 * 4 * 8 + 9 * 8 * 8 + 4 * 8) * 16 + (9 * 8 * 16 + 9 * 16 * 16 + 8 * 16) * 4 + 160
CONVS_WORK = 9 * 4 * 4 * 64 + 9 * 8 * 8 * 16 + 9 * 16 * 16 * 4


@dataclass(frozen=True)
class Uncounted:
    """A space that cannot say what its networks cost."""

    inner: NasBench201

    def build(self, arch, task):
        return self.inner.build(arch, task)


@pytest.mark.parametrize("space", [NasBench201(4, 1, 1), Uncounted(NasBench201(4, 1, 1))], ids=["formula", "built"])
def test_parameters_and_multiply_accumulates_are_those_counted_by_hand(space):
    archs = torch.stack([NasBench201().parse(text) for text in (SKIPS, CONV)])
    parameters, flops = network_cost(space, archs, TASK)
    assert parameters.tolist() == [STEM + BLOCKS + HEAD, STEM + BLOCKS + HEAD + CONVS]
    assert flops.tolist() == [WORK, WORK + CONVS_WORK]


def test_sizes_of_a_space_of_widths_are_counted_network_by_network():
    arch = NatsBenchSize().parse("8:16:8:24:8")
    parameters, _ = network_cost(NatsBenchSize(), arch[None], TASK)
    assert parameters.tolist() == [sum(p.numel() for p in NatsBenchSize().build(arch, TASK).parameters())]


def test_the_front_is_what_no_point_dominates():
    scores, sizes = [90.0, 80.0, 80.0, 95.0, 60.0, 90.0], [[20.0], [10.0], [10.0], [40.0], [10.0], [30.0]]
    by_hand = [
        not any(
            (scores[j] >= scores[i] and sizes[j] <= sizes[i]) and (scores[j] > scores[i] or sizes[j] < sizes[i])
            for j in range(6)
        )
        for i in range(6)
    ]
    assert front.non_dominated(scores, sizes) == by_hand == [True, True, True, True, False, False]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A search of twelve evaluations whose last ones tell two leaders apart."""
    config = RunConfig("digits", "random_search", evals=12, batch=6, leaders=2, prior="none", training_options=TINY)
    setup = session.load(config)
    made = session.start(tmp_path_factory.mktemp("runs") / "run", config, setup)
    for _ in session.resume(made, setup):
        pass
    from nas.run import leaders

    leaders.choose(made, setup.evaluator)
    return made, setup


def test_each_function_is_one_point_with_its_score_and_the_size_of_its_final_network(run):
    made, setup = run
    past, space = step_log.history(made), setup.evaluator.training.final_space
    found = front.points(made)
    functions = {tuple(arch) for arch in setup.evaluator.training.equivalents(past.archs[0]).tolist()}
    assert len(found) == len(functions)
    told_apart = {leader.arch: leader for c in choice.choices(made, past) for leader in c.leaders}
    for point in found:
        arch = setup.evaluator.training.equivalents(space.parse(point.arch))
        assert point.parameters == sum(p.numel() for p in space.build(arch, setup.evaluator.task).parameters())
        at = [space.describe(a) for a in setup.evaluator.training.equivalents(past.archs[0])].index(point.arch)
        leader = told_apart.get(point.arch)
        assert point.score == pytest.approx(past.score[0, at].item() if leader is None else leader.mean, abs=1e-4)
        assert point.trainings == (1 if leader is None else 2)
    sizes = [point.parameters for point in found]
    assert sizes == sorted(sizes)
    scores = [point.score for point in found if point.on_front]
    assert all(a <= b for a, b in itertools.pairwise(scores))


def test_a_latency_that_is_not_known_neither_hides_one_that_is_nor_saves_a_worse_network(run, monkeypatch):
    made, setup = run
    space = setup.evaluator.training.final_space

    def where_one_is_known(point):
        proposed = [a for a in step_log.history(made).archs[0] if front.find([point], space, a)]
        monkeypatch.setattr(front.verified, "latencies", lambda run: {space.describe(a): 1.5 for a in proposed})
        found = front.points(made)
        assert [p.arch for p in found if p.latency_ms == 1.5] == [point.arch]
        return [p.on_front for p in found]

    none_known = front.points(made)
    worse = next(p for p in none_known if not p.on_front)
    assert where_one_is_known(worse) == [p.on_front or p == worse for p in none_known]
    better = next(p for p in none_known if p.score >= worse.score and p.parameters <= worse.parameters and p != worse)
    assert not where_one_is_known(better)[none_known.index(worse)]


def test_the_front_is_printed_and_all_points_are_in_the_document(run, nas):
    made, _ = run
    found = front.points(made)
    printed = nas("show", made.folder, "--front").stdout.splitlines()
    best = [point for point in found if point.on_front]
    assert printed[0].endswith("no other is as good and as small")
    assert [line.split()[-1] for line in printed[2 : 2 + len(best)]] == [point.arch for point in best]
    points = json.loads(nas("show", made.folder, "--front", "--json").stdout)["points"]
    assert [point["on_front"] for point in points] == [point.on_front for point in found]


def test_a_run_of_a_table_has_the_sizes_of_the_networks_that_the_table_measured(nas):
    nas("search", "--task", "own201/digits", "--evals", 6, "--name", "r", "--controller", "random_search")
    found = json.loads(nas("show", "r", "--front", "--json").stdout)["points"]
    assert len(found) == 6
    assert all(point["parameters"] > 10_000 and point["trainings"] == 1 for point in found)


def test_a_damaged_note_of_sizes_is_one_line(run, nas, monkeypatch):
    made, _ = run
    monkeypatch.setattr("nas.run.stored_space.StoredSpace.ours", property(lambda self: False))
    store.set_meta(made, front.SIZES, {"x": 3})
    done = nas("show", made.folder, "--front")
    assert done.returncode == 2
    assert "keeps no sizes of its networks" in done.stderr


def finished(run):
    made, setup = run
    finish.write_report(made, setup)
    return made, setup, setup.evaluator.training.final_space, setup.evaluator.task


def test_what_is_picked_is_the_highest_score_that_keeps_all_bounds(run):
    made, _, space, task = finished(run)
    points = front.points(made)
    for bound in sorted({point.parameters for point in points}):
        within = [point for point in points if point.parameters <= bound]
        found = pick.choose(made, space, task, (f"params<={bound}",))
        assert found.score == max(point.score for point in within)
        assert found in within
    flops = min(point.flops for point in points)
    assert pick.choose(made, space, task, ("params<=1G", f"flops<={flops}")).flops == flops
    for text, says in (
        (f"params<={min(point.parameters for point in points) - 1}", "the least that the run evaluated is"),
        ("size<=3", "it takes params<=20k, flops<=5M or latency<=2ms"),
        ("params<=3x", "takes a number and a unit"),
    ):
        with pytest.raises(UserError, match=says):
            pick.choose(made, space, task, (text,))


def test_the_best_network_that_is_measured_to_be_fast_enough_is_picked(run, monkeypatch):
    made, _, space, task = finished(run)
    asked = []
    monkeypatch.setattr(Device, "milliseconds", lambda self, space, arch, task: asked.append(arch) or 10.0 / len(asked))
    found = pick.choose(made, space, task, ("latency<=4ms",))
    best = sorted(front.points(made), key=lambda point: (-point.score, point.parameters))
    assert [space.describe(arch) for arch in asked] == [point.arch for point in best[:3]]
    assert found == best[2]._replace(latency_ms=10 / 3, measured=True)
    with pytest.raises(UserError, match="no network that the run evaluated keeps all of it"):
        pick.choose(made, space, task, ("latency<=1us",))


def test_what_the_search_did_not_hand_out_is_trained_once_and_exported(run, nas, tmp_path):
    made, setup, space, _ = finished(run)
    handed = trained_network.load(made.folder).arch
    function = setup.evaluator.training.equivalents
    bound = next(
        f"params<={point.parameters}"
        for point in reversed(front.points(made))
        if not torch.equal(*function(torch.stack([space.parse(point.arch), space.parse(handed)])))
        and point.score == pick.choose(made, space, setup.evaluator.task, (f"params<={point.parameters}",)).score
    )
    for to in ("first", "second"):
        done = nas("export", made.folder, "--pick", bound, "--no-onnx", "--to", tmp_path / to, "--json")
        assert done.returncode == 0, done.stderr
        picked = pick.choose(made, space, setup.evaluator.task, (bound,))
        assert json.loads(done.stdout)["parameters"] == picked.parameters
        is_handed_out = torch.equal(*function(torch.stack([space.parse(picked.arch), space.parse(handed)])))
        assert ("trained to the end first" in done.stderr) == (to == "first" and not is_handed_out)
    one, other = (safetensors.torch.load_file(tmp_path / to / "network.safetensors") for to in ("first", "second"))
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    assert nas("export", made.folder, "--pick", bound, "--seed", 0, "--to", "x").returncode == 2


def test_an_ensemble_is_not_picked_as_one_of_its_members(run):
    made, _, space, _ = finished(run)
    winner, said = trained_network.load(made.folder), []
    point = next(point for point in front.points(made) if point.arch == winner.arch)
    assert pick.network(made, point, space, trusted=False, say=said.append).arch == winner.arch
    assert not said
    trained_network.save(made.folder, winner._replace(members=(winner.arch, winner.arch)))
    picked = pick.network(made, point, space, trusted=False, say=said.append)
    assert (picked.arch, picked.members, len(said)) == (winner.arch, (), 1)
    trained_network.save(made.folder, winner)
