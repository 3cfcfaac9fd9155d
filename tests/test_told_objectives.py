"""Several objectives in a search that is driven from outside."""

import math

import pytest
import torch

from nas import Search
from nas.run import objective_front, store
from search_spaces import UserError

AIMS = "accuracy,latency,recall:max"


def figures(architecture):
    at = architecture.indices
    return {"accuracy": float(sum(at)), "latency": float(at[0] + at[5]), "recall": float(at[1])}


def drive(search, turns):
    for _ in range(turns):
        asked = search.ask(4)
        search.tell(asked[::-1], [figures(a) for a in asked[::-1]], seconds=1.0)


@pytest.mark.parametrize("controller", ["nsga2", "evolution", "bayesian"])
def test_a_stored_search_with_several_objectives_goes_on_to_the_bit(controller, tmp_path):
    with Search("nasbench201", controller, aims=AIMS, prior="none") as whole:
        drive(whole, 8)
    with Search("nasbench201", controller, aims=AIMS, prior="none", folder=tmp_path / "run") as begun:
        drive(begun, 3)
    with Search("nasbench201", controller, aims=AIMS, prior="none", folder=tmp_path / "run") as again:
        drive(again, 5)
        assert again.told == whole.told
    run = store.open_run(tmp_path / "run")
    shown = {point.values for point in objective_front.points(run) if point.on_front}
    run.close()
    assert shown == {t.values for t in whole.front}


def test_the_front_has_what_nothing_is_better_than_in_all_objectives():
    search = Search("nasbench201", "random_search", aims="accuracy,latency")
    rows = torch.tensor([[0] * 6, [1] * 6, [2] * 6, [3] * 6, [4] * 6])
    values = [(90.0, 5.0), (80.0, 1.0), (85.0, 5.0), None, (80.0, 2.0)]
    search.tell(list(rows), values)
    assert [t.values for t in search.front] == [(90.0, 5.0), (80.0, 1.0)]
    assert search.best.score == 90
    assert math.isnan(search.told[3].score)


@pytest.mark.parametrize(
    ("told", "says"),
    [
        (3.0, "it takes 2 numbers, or a dict: a, b"),
        ({"a": 1.0}, "lacks 'b'; the objectives are a, b"),
        ((1.0, "x"), "'x' is no score"),
        ((1.0, 2.0, 3.0), "it takes 2 numbers"),
    ],
)
def test_what_is_no_result_is_refused_and_nothing_is_told(told, says):
    search = Search("nasbench201", "evolution", aims="a,b")
    (asked,) = search.ask()
    with pytest.raises(UserError, match=says):
        search.tell(asked, told)
    assert not search.told
    assert search.pending == [asked]


@pytest.mark.parametrize(
    ("aims", "says"),
    [("a", "two objectives or more"), ("a,a", "each once"), ("a:min,b", "is raised"), (("a", ""), "two objectives")],
)
def test_objectives_that_are_none_are_refused(aims, says):
    with pytest.raises(UserError, match=says):
        Search("nasbench201", "evolution", aims=aims)


def test_another_run_s_objectives_are_refused(tmp_path):
    Search("nasbench201", "evolution", aims="a,b", folder=tmp_path / "run").close()
    with pytest.raises(UserError, match="began with aim"):
        Search("nasbench201", "evolution", aims="a,c", folder=tmp_path / "run")
