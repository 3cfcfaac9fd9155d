"""What a comparison keeps of an earlier one, and what it shows of searches that differ in length."""

import dataclasses
import json
import re

import numpy
import pytest
import safetensors.torch
import torch

from nas import tables
from nas.commands import _compare_tables
from nas.compare import comparison, curves, figures, trial_cache, trial_file, yardstick
from nas.compare.folder_name import folder_name
from nas.compare.summary import TrialSummary
from nas.compare.trial import TrialSpec
from nas.tables import Column
from nas.tasks import families, full_columns
from search_spaces import UserError, _noise, _ops

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


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """Writes a table of one task, whose test scores lie by `above` over those of validation."""
    monkeypatch.setenv("NAS_TABLES", str(tmp_path))
    valid = _noise.bits(torch.tensor([3]), 0, 5**6)[0].argsort().float()

    def write(scale=1.0, above=0.0, size=1.0):
        columns = {
            f"toy/{split}_accuracy@200": (Column("toy", "accuracy", split, 200, "points", True), scores)
            for split, scores in {"valid": valid * scale, "test": valid * scale + above}.items()
        }
        columns["toy/size"] = (Column("toy", "size", None, None, None, False), valid * size)
        tables.write(
            tmp_path / "made.safetensors", "nasbench201", _ops.enumerate_all((5,) * 6), columns, "made up", "MIT"
        )
        _clear()

    yield write
    _clear()


def _clear():
    for cached in (full_columns.everything, full_columns.judged, families.protocol, yardstick.of, yardstick.test_of):
        cached.cache_clear()


def compared(folder, **changes):
    return comparison.make(specs(["worst"], "made/toy@200", **changes), folder)[0]


@pytest.mark.parametrize("change", [{"scale": 0.5}, {"above": 7.0}])
def test_a_table_of_other_contents_has_other_trials_and_the_same_contents_have_the_same(change, toy, tmp_path):
    folder = tmp_path / "out"
    toy()
    first = compared(folder)
    before = contents(folder)
    toy(**change)
    second = compared(folder)
    alone = compared(tmp_path / "alone")
    assert (second.report == alone.report).all()
    assert (second.report != first.report)[:, 1:].all(), "zero is the only score that half of it is"
    assert (second.best == alone.best).all()
    assert len(contents(folder)) == 2
    toy()
    assert compared(folder).spec == first.spec
    assert before.items() <= contents(folder).items()
    assert len(contents(folder)) == 2


@pytest.mark.parametrize(("bounds", "aim"), [((), "accuracy,made/toy/size"), (("made/toy/size<=q30",), "")])
def test_another_objective_or_a_bounded_column_that_has_changed_has_other_trials(bounds, aim, toy, tmp_path):
    found = []
    for change in ({}, {"size": 2.0}, {}):
        toy(**change)
        plain = specs(["worst"], "made/toy@200")[0]
        other = comparison.specs("made/toy@200", ["worst"], bounds, 2, 4, None, 1, aim)[0]
        found.append((plain.path(tmp_path), other.path(tmp_path)))
    assert found[0] == found[2]
    assert found[0][0] == found[1][0], "a search for the score alone does not read it"
    assert found[0][1] != found[1][1]


def test_a_trial_from_before_digests_were_kept_is_kept(toy, tmp_path, monkeypatch):
    toy()
    (spec,) = specs(["worst"], "made/toy@200")
    path = trial_cache.run(dataclasses.replace(spec, data=""), tmp_path / "out")
    tensors = safetensors.torch.load_file(path)
    about = trial_file.about(path)
    old = {name: value for name, value in dataclasses.asdict(about.spec).items() if name != "data"}
    header = {"spec": old, "columns_read": about.columns_read, "version": about.version}
    path.write_bytes(safetensors.torch.save(tensors, {trial_file.FORMAT: json.dumps(header)}))
    before = contents(tmp_path / "out")
    assert compared(tmp_path / "out").spec == dataclasses.replace(spec, data="")
    assert contents(tmp_path / "out") == before
    with pytest.raises(UserError, match="holds 2 seeds of 4 evaluations"):
        compared(tmp_path / "out", evals=5)
    monkeypatch.setattr(trial_cache, "version", lambda: "9")
    assert compared(tmp_path / "out").spec == spec, "another version runs it anew, and keeps its digest"


def test_a_comparison_comes_back_to_its_folder_whatever_its_tables_hold(toy):
    toy()
    before = specs(["worst"], "made/toy@200")
    toy(scale=0.5)
    after = specs(["worst"], "made/toy@200")
    assert before != after
    assert folder_name("made", before) == folder_name("made", after)
    assert folder_name("made", after) == folder_name("made", [dataclasses.replace(after[0], data="")])
