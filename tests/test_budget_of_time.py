"""A budget of minutes: what counts as time, and what is said of the time left."""

from dataclasses import dataclass, field, fields, replace
from itertools import count
from types import SimpleNamespace

import pytest
import torch

from controller import Results
from nas.evaluators.train import Train
from nas.run import budget, choice, finish, leaders, session, stages, step_log
from nas.run.budget import Progress
from nas.run.config import RunConfig
from nas.run.incumbent import Best
from nas.run.step_log import History
from nas.training import step_time

FOUND = Best(torch.zeros(1, 6).long(), torch.zeros(1), torch.ones(1).long())


def left(evaluations, wall, cost=0.0, **asked):
    return budget.remaining(RunConfig(**asked), Progress(evaluations, FOUND, wall, cost))


def test_the_time_left_by_hand():
    assert left(10, 30.0, minutes=1) == (30, 20)
    assert left(10, 30.0, minutes=1, evals=15) == (15, 15)
    assert left(10, 30.0, minutes=1, batch=4) == (24, 18)
    assert left(10, 30.0, cost=5.0, simulated_seconds=6.0) == pytest.approx((6, 12))
    assert left(16, 8.0, evals=32, batch=16) == (8, 32)
    assert left(20, 61.0, minutes=1) == (0, 20)


@pytest.fixture
def clock(monkeypatch):
    """A clock that a step of a search moves on by 0.3 seconds, however busy the machine is."""
    ticks = count()
    monkeypatch.setattr(session, "time", SimpleNamespace(perf_counter=lambda: 0.3 * next(ticks)))


def test_the_minutes_are_those_of_the_clock(tmp_path, clock):
    asked = RunConfig(task="own201/digits", controller="random_search", minutes=0.02)
    setup = session.load(asked)
    with session.start(tmp_path / "run", asked, setup) as run:
        steps = [progress.wall for progress in session.resume(run, setup)]
    assert steps == pytest.approx([0.3, 0.6, 0.9, 1.2])


def test_a_step_begins_only_if_it_ends_in_time_at_the_pace_so_far():
    def spent(evaluations, wall, **asked):
        past = History(torch.zeros(1, 0, 1).long(), *torch.zeros(2, 1, evaluations), wall, 1)
        return budget.spent(RunConfig(minutes=1, batch=4, **asked), past)

    assert [spent(8, wall) for wall in (40.0, 40.1)] == [False, True]
    # Of 60 seconds 15 are kept for what follows; never more than four fifths of them.
    assert [spent(8, wall, ending_seconds=15) for wall in (30.0, 30.1)] == [False, True]
    assert [spent(8, wall, ending_seconds=500) for wall in (7.9, 8.1)] == [False, True]
    assert not spent(0, 0.0, ending_seconds=500)


@dataclass(frozen=True)
class Timed(Train):
    """Trains nothing; each thing that it would do moves a clock on."""

    clock: list[float] = field(default_factory=lambda: [0.0])

    def load(self, seeds):
        def evaluate(proposal):
            self.clock[0] += 2.0 * proposal.archs[..., 0].numel()
            return Results(proposal.archs.sum(-1).float(), torch.ones(proposal.archs.shape[:2]))

        return evaluate

    def retrain(self, archs, repeat):
        self.clock[0] += 2.0 * len(archs) * (repeat > 0)
        return archs.sum(-1).float()

    def final_seconds(self):
        return 40.0

    def report(self, archs):
        self.clock[0] += 40.0
        return None


def test_minutes_count_the_search_its_leaders_and_the_final_training(tmp_path, monkeypatch):
    own = Train.of("digits", epochs="1")
    evaluator = Timed(**{f.name: getattr(own, f.name) for f in fields(own) if not f.name.startswith("_")})
    monkeypatch.setattr(stages, "_EXPORT_SECONDS", 10.0)
    for module in (session, leaders):
        monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: evaluator.clock[0]))
    asked = RunConfig(controller="random_search", minutes=3, batch=4, leaders=None)
    setup = session.load(asked)._replace(evaluator=evaluator)
    with session.start(tmp_path / "run", asked, setup) as run:
        list(session.resume(run, setup))
        finish.write_report(run, setup)
        past = step_log.history(run)
        assert choice.trainings(run, past) == 14
    assert evaluator.clock[0] <= 180 - 10
    assert evaluator.clock[0] > 180 - 10 - 4 * 2.0  # No whole step was left over.


def test_what_follows_a_search_by_hand(monkeypatch):
    monkeypatch.setattr(Train, "final_seconds", lambda _self, _arch=None: 40.0)
    monkeypatch.setattr(Train, "final_cores", lambda _self: 2)
    evaluator = Train.of("digits", epochs="1")
    asked = RunConfig(seeds=2, minutes=10, comparison=False)
    assert stages.expected(asked, evaluator) == {stages.FINAL: 80, stages.EXPORT: 15}
    # What the comparison trains is trained beside the winner; a tenth of the rest is for models of scikit-learn.
    beside = (2 + 2 / 3 * 0.8) * 40 / 2 - 40
    expected = {stages.FINAL: 80 + beside, stages.COMPARISON: (600 - 80 - beside - 15) / 10, stages.EXPORT: 15}
    assert stages.expected(replace(asked, comparison=True), evaluator) == pytest.approx(expected)
    # Without a plain network two trainings are made, side by side.
    monkeypatch.setattr(Train, "reference", lambda _self, _arch: None)
    expected = {stages.FINAL: 80, stages.COMPARISON: (600 - 80 - 15) / 10, stages.EXPORT: 15}
    assert stages.expected(replace(asked, comparison=True), evaluator) == pytest.approx(expected)


def test_the_end_of_a_search_of_cells_is_timed_as_it_is_trained_beside_others(monkeypatch):
    evaluator, asked = Train.of("digits", epochs="1"), []
    monkeypatch.setattr(Train, "final_seconds", lambda _self, _arch=None: 40.0)
    monkeypatch.setattr(step_time, "measure_side_by_side", lambda job, copies, _: asked.append((job, copies)) or 1e-3)
    for cores, copies in ((2, None), (3, 3), (8, 4)):
        monkeypatch.setattr(Train, "final_cores", lambda _self, cores=cores: cores)
        found = stages.expected(RunConfig(minutes=10, comparison=True), evaluator)[stages.FINAL]
        if copies is None:
            assert (asked, found) == ([], pytest.approx((2 + 2 / 3 * 0.8) * 40 / 2))
        else:
            recipe, images = asked[-1][0].recipe, len(evaluator.data.y_train) + len(evaluator.data.y_valid)
            assert asked[-1][1] == copies
            assert found == pytest.approx(1e-3 * recipe.passes(images) * recipe.epochs)
            assert asked[-1][0].space == evaluator.final_space
