"""What a comparison keeps of an earlier one, and what it shows of searches that differ in length."""

import dataclasses
import json
import re

import numpy
import pytest

from nas.commands import _compare_tables
from nas.compare import comparison, curves, figures, trial_cache
from nas.compare.summary import TrialSummary
from nas.compare.trial import TrialSpec
from search_spaces import UserError

TASKS = "own201/digits,own201/fashion_mnist"


def specs(controllers, patterns=TASKS, seeds=2, evals: int | None = 4, seconds=None):
    return comparison.specs(patterns, controllers, (), seeds, evals, seconds, 1)


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("jobs", [1, 2])
def test_trials_of_another_size_that_another_version_made_are_left_alone(jobs, tmp_path, monkeypatch):
    monkeypatch.setattr(trial_cache, "version", lambda: "0.0.1")
    comparison.make(specs(["random_search"]), tmp_path)
    monkeypatch.undo()
    before = contents(tmp_path)
    # A trial that is not there comes first: it is not run either.
    asked = [dataclasses.replace(spec, evals=5) for spec in specs(["worst", "random_search"])]
    with pytest.raises(UserError, match="holds 2 seeds of 4 evaluations; this comparison asks for 2 seeds of 5"):
        comparison.make(asked, tmp_path, jobs)
    assert contents(tmp_path) == before


def summarized(best, seconds):
    """A search of one seed whose scores are from 0 to 10, by hand."""
    best, seconds = numpy.array([best], float), numpy.array([seconds], float)
    least = {"top_threshold": numpy.full(1, 9.0), "optimum": numpy.full(1, 10.0), "median": numpy.zeros(1)}
    found = {
        "tried": best,
        "best": best,
        "seconds": seconds,
        "report": best + 1,
        "test_regret": 12 - best,
        "test_rank": best,
    }
    empty = dict.fromkeys(TrialSummary._fields) | {"spec": TrialSpec("own201/digits", "one", 1, None, 9.0)}
    return TrialSummary(**(empty | found | least))


def test_a_curve_of_searches_that_differ_in_length_is_as_long_as_the_longest_and_the_shorter_keep_their_end():
    short, long = summarized([2, 4], [1, 3]), summarized([2, 4, 6, 10], [1, 2, 3, 4])
    for several in ([short, long], [long, short]):
        at, regret, *_ = curves.regret(several)
        assert at.tolist() == [1, 2, 3, 4]
        assert regret.tolist() == pytest.approx([0.8, 0.6, 0.5, 0.3])
        assert curves.reported(several)[1].tolist() == pytest.approx([3, 5, 6, 8])
        assert curves.test_regret(several)[1].tolist() == pytest.approx([10, 8, 7, 5])
        at, share, *_ = curves.reached(several)
        assert (at.tolist(), share.tolist()) == ([1, 2, 3, 4], [0, 0, 0, 0.5])
    after_2, after_4 = curves.best_after(short, (2, 4))
    assert after_4 == after_2 | {"evaluations": 4}


def test_searches_that_share_no_time_have_no_curve_by_seconds():
    quick, slow = summarized([2, 4], [1, 3]), summarized([2, 4], [5, 9])
    assert curves.by_seconds([quick, slow]) is None
    moments, *_ = curves.by_seconds([slow])
    assert (moments[0], moments[-1]) == pytest.approx((5, 9))
    assert curves.by_seconds([summarized([2, 4], [0, 3])]) is None, "a logarithmic axis has no 0"


def test_searches_that_differ_in_length_are_compared_and_drawn(tmp_path, nas):
    words = ("compare", "--simulated-seconds", 2, "--seeds", 3, "--jobs", 1)
    controllers = ("--controllers", "random_search,evolution")
    one = nas(
        *words, *controllers, "--tasks", "own201/digits", "--evals", 30, "--report-after", 30, "--out", tmp_path / "one"
    )
    assert one.returncode == 0
    assert "30" in one.stdout
    family = "own201,own201/digits@1,own201/fashion_mnist@1"
    assert nas(*words, "--controllers", "random_search", "--tasks", family, "--out", tmp_path / "many").returncode == 0
    rows = json.loads((tmp_path / "many/results.json").read_text())["rows"]
    assert len(rows) == figures._MOST_TASKS + 1, "they share a panel"
    assert len({row["evaluations"] for row in rows}) > 1
    assert (tmp_path / "many/regret.svg").is_file()


def test_shares_of_a_front_stand_under_their_number_of_evaluations(capsys):
    def row(controller, **shares):
        interval = {
            count[1:]: {"iqm": share, "low": share - 0.01, "high": share + 0.01} for count, share in shares.items()
        }
        return {"task": "a/b", "controller": controller, "front_share": interval}

    rows = [row("one", n1=0.11, n5=0.15, n8=0.18), row("two", n1=0.21, n5=0.25, n10=0.26, n12=0.28)]
    _compare_tables._print_fronts({"aim": "accuracy,params", "rows": rows})
    lines = [re.findall(r"[^│┃\s][^│┃]*[^│┃\s]|-", line) for line in capsys.readouterr().out.splitlines()]
    heading, one, two = (next(line for line in lines if word in line) for word in ("controller", "one", "two"))
    assert heading[2:] == ["N = 1", "N = 5", "N = 8", "N = 10", "N = 12", "interval"]
    assert one[2:] == ["11.00", "15.00", "18.00", "-", "-", "17.00 to 19.00"]
    assert two[2:] == ["21.00", "25.00", "-", "26.00", "28.00", "27.00 to 29.00"]
