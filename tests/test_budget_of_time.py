"""A budget of minutes: what counts as time, and what is said of the time left."""

from itertools import count
from types import SimpleNamespace

import pytest
import torch

from nas.run import budget, session
from nas.run.budget import Progress
from nas.run.config import RunConfig
from nas.run.incumbent import Best

FOUND = Best(torch.zeros(1, 6).long(), torch.zeros(1), torch.ones(1).long())
SEARCH = ("search", "--task", "own201/digits", "--controller", "evolution", "--minutes", "0.04")


def left(evaluations, wall, cost=0.0, **asked):
    return budget.remaining(RunConfig(**asked), Progress(evaluations, FOUND, wall, cost))


def test_the_time_left_by_hand():
    assert left(10, 30.0, minutes=1) == (30, 20)
    assert left(10, 30.0, minutes=1, evals=15) == (15, 15)
    assert left(10, 30.0, minutes=1, batch=4) == (36, 22)
    assert left(10, 30.0, cost=5.0, simulated_seconds=6.0) == pytest.approx((6, 12))
    assert left(16, 8.0, evals=32, batch=16) == (8, 32)
    assert left(20, 61.0, minutes=1) == (0, 20)


@pytest.fixture
def clock(monkeypatch):
    """A clock that a step of a search moves on by 0.3 seconds, however busy the machine is."""
    ticks = count()
    monkeypatch.setattr(session, "time", SimpleNamespace(perf_counter=lambda: 0.3 * next(ticks)))


def test_a_search_of_some_minutes_says_what_is_left_where_there_is_no_bar(nas, clock):
    done = nas(*SEARCH, "--name", "one")
    assert done.returncode == 0
    lines = done.stderr.splitlines()
    assert [line.split(" of about ")[0] for line in lines] == [
        "1",
        "2",
        "4",
        "7",
    ]  # Where a quarter of eight is first passed.
    assert all("evaluations, best" in line and line.endswith("left to search") for line in lines)
    assert nas(*SEARCH, "--name", "two", "--json").stderr == ""


def test_the_minutes_are_those_of_the_clock(tmp_path, clock):
    asked = RunConfig(task="own201/digits", controller="random_search", minutes=0.02)
    setup = session.load(asked)
    with session.start(tmp_path / "run", asked, setup) as run:
        steps = [progress.wall for progress in session.resume(run, setup)]
    assert steps == pytest.approx([0.3, 0.6, 0.9, 1.2])
