"""`nas compare`: the statistics by hand, the same bytes however it was made, and bounds that bound."""

import json
from pathlib import Path

import numpy
import pytest
from click.testing import CliRunner
from scipy.stats import trim_mean

from nas.cli import cli
from nas.compare import comparison, rows, statistics, summary
from nas.tasks import full_columns
from search_spaces import UserError

CONTROLLERS = ["random_search", "evolution:population=5", "oracle", "worst", "portfolio"]
TASK = "nasbench201/ImageNet16-120@200"


def specs(controllers=None, seeds=8, evals=30, seconds=None, patterns=TASK, batch=1):
    return comparison.specs(patterns, controllers or CONTROLLERS, (), seeds, evals, seconds, batch)


def contents(folder):
    return {f.name: f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


def test_the_interquartile_mean_is_scipys_trimmed_mean():
    values = numpy.random.default_rng(0).normal(size=(5, 43))
    numpy.testing.assert_allclose(statistics.iqm(values), trim_mean(values, 0.25, axis=1))
    assert statistics.iqm(numpy.array([100.0, 1, 2, -100])) == 1.5


def test_an_interval_covers_the_truth_as_often_as_it_says():
    rng = numpy.random.default_rng(1)
    covered = 0
    for _ in range(200):
        found = statistics.interval(rng.normal(size=(2, 40)))
        covered += found.low <= 0 <= found.high
    assert 180 <= covered <= 199


def test_the_probability_of_improvement_by_hand():
    ours, theirs = numpy.array([[1.0, 2, 3, 4]]), numpy.array([[0.0, 2, 2, 9]])
    found = statistics.improvement(ours, theirs)
    assert found.value == (1 + 2 + 3 + 3) / 16
    assert found.low < found.value < found.high
    assert statistics.improvement(ours, ours).value == 0.5
    assert statistics.improvement(ours + 10, theirs) == (1, 1, 1)


def test_quartiles_count_what_was_never_reached():
    never = numpy.inf
    assert statistics.quartiles(numpy.array([3.0, 1, never, 2])) == (1, 2, 3)
    assert statistics.quartiles(numpy.array([3.0, never, never, 2])) == (2, 3, None)
    assert statistics.quartiles(numpy.array([never] * 4)) == (None, None, None)


def test_a_profile_falls_from_all_to_none():
    shares = statistics.profile(numpy.array([[0.1, 0.5], [0.5, 0.9]]), numpy.array([0.0, 0.5, 0.6, 1.0]))
    assert shares.tolist() == [1, 0.75, 0.25, 0]


def test_the_same_comparison_gives_the_same_bytes_however_it_was_made(tmp_path, nasbench201):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for folder, jobs in ((whole, 1), (parts, 2)):
        if folder == parts:
            comparison.make(specs(CONTROLLERS[2:], seeds=4, evals=12), folder)
        cells = comparison.make(specs(seeds=4, evals=12), folder, jobs)
        comparison.write(comparison.document(cells), folder)
        comparison.draw(cells, folder)
    assert contents(whole) == contents(parts)
    assert {"results.json", "results.csv", "curves.csv", "regret.svg", "regret.png"} <= set(contents(whole))


def test_no_searcher_is_above_the_oracle_or_below_the_worst(tmp_path, nasbench201):
    cells = {c.spec.controller: c for c in comparison.make(specs(), tmp_path)}
    for cell in cells.values():
        assert (cells["worst"].best <= cell.best).all()
        assert (cell.best <= cells["oracle"].best).all()
    assert (summary.first_reached(cells["oracle"], cells["oracle"].optimum) == 1).all()
    assert rows.row(cells["oracle"])["regret"]["mean"] == 0


def test_a_portfolio_never_copies_from_its_own_data_set(nasbench201, table):
    table("nasbench201-robustness")
    assert full_columns.sources(TASK) == ["nasbench201/cifar10@200", "nasbench201/cifar100@200"]
    robust = full_columns.sources("nasbench201-robustness/cifar10-fgsm-1.0")
    assert robust == ["nasbench201/cifar100@200", "nasbench201/ImageNet16-120@200"]


def test_a_budget_of_seconds_counts_what_ends_within_it(tmp_path, nasbench201):
    (cell,) = comparison.make(
        specs(["random_search"], evals=None, seconds=5000.0, patterns="nasbench201/cifar10@12"), tmp_path
    )
    within = cell.seconds <= 5000
    assert (within.sum(1) == cell.evaluations).all()
    assert (cell.seconds[:, -1] > 5000).all()
    last = numpy.take_along_axis(cell.best, cell.evaluations[:, None] - 1, 1)
    assert (cell.best[:, -1:] == last).all()


def test_searching_reads_the_search_column_once_and_no_report(tmp_path, nasbench201):
    (cell,) = comparison.make(specs(["evolution"]), tmp_path)
    name = "nasbench201/ImageNet16-120"
    assert cell.columns_read["search"] == {f"{name}/valid_accuracy@200": 1, f"{name}/train_seconds@200": 1}
    assert cell.columns_read["report"] == {f"{name}/test_accuracy@200": 1}


def test_a_folder_that_holds_another_comparison_is_left_alone(tmp_path, nasbench201):
    comparison.make(specs(["random_search"]), tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(UserError) as told:
        comparison.make(specs(["random_search"], evals=31), tmp_path)
    assert "holds 8 seeds of 30 evaluations; this comparison asks for 8 seeds of 31 evaluations. Name" in str(
        told.value
    )
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_comparison_without_a_folder_has_one_of_its_own_to_which_the_same_command_returns(
    tmp_path, nasbench201, monkeypatch
):
    monkeypatch.chdir(tmp_path)

    def folder(*changes):
        words = [
            "compare",
            "--tasks",
            TASK,
            "--controllers",
            "random_search",
            "--seeds",
            "2",
            "--evals",
            "3",
            "--jobs",
            "1",
        ]
        result = CliRunner().invoke(cli, [*words, "--no-figures", *changes], catch_exceptions=False)
        return Path(result.stdout.splitlines()[-1].removeprefix("All results are in "))

    first, again = folder(), folder()
    others = [folder(*change) for change in (["--seeds", "3"], ["--evals", "4"], ["--controllers", "evolution"])]
    assert first == again
    assert first.name.startswith("compare-nasbench201-ImageNet16-120-200-random_search-")
    assert len({first, *others}) == 4
    assert all((each / "results.json").is_file() for each in (first, *others))


def test_json_is_one_document_with_the_keys_promised(tmp_path, nasbench201):
    words = ["compare", "--tasks", TASK, "--controllers", "random-search,evolution", "--seeds", "4", "--evals", "6"]
    words += ["--json", "--no-figures", "--jobs", "1", "--out", str(tmp_path)]
    result = CliRunner().invoke(cli, words, catch_exceptions=False)
    rows = json.loads(result.stdout)["rows"]
    assert [row["controller"] for row in rows] == ["random_search", "evolution"]
    for row in rows:
        assert {"task", "seeds", "evaluations"} <= set(row)
        assert set(row["evaluations_to_top"]) == {"q25", "median", "q75", "reached"}
        assert set(row["score"]) == set(row["report"]) == {"iqm", "low", "high", "mean", "std"}


LIMIT = "nasbench201-hardware/fpga/latency"
BAD = {
    ("--controllers", "evolutoin"): "Did you mean 'evolution'",
    ("--controllers", "evolution:populaton=3"): "Did you mean 'population'",
    ("--controllers", "evolution:population"): "NAME=VALUE",
    ("--controllers", ","): "at least one",
    ("--tasks", "nasbench201/cifar11"): "cifar10",
    ("--tasks", "nothing*"): "No task or family",
    ("--seeds", "0"): "--seeds is 0",
    ("--evals", "-1"): "--evals is -1",
    ("--constraint", "nasbench201-hardware/fpga/latency"): "takes TABLE/COLUMN<=VALUE",
}


@pytest.mark.parametrize(("wrong", "says"), BAD.items())
def test_what_cannot_be_compared_is_told(wrong, says, tmp_path, nasbench201):
    good = {"--tasks": TASK, "--controllers": "random_search", "--out": str(tmp_path), "--jobs": "1", "--evals": "3"}
    words = [word for pair in (good | dict([wrong])).items() for word in pair]
    with pytest.raises(UserError, match=says):
        CliRunner().invoke(cli, ["compare", *words], catch_exceptions=False, standalone_mode=False)


@pytest.mark.parametrize(
    ("old", "new"),
    [(("--limit", LIMIT), ("--constraint", LIMIT)), (("--seconds=-1",), ("--simulated-seconds", "-1"))],
)
def test_flags_of_version_0_1_are_taken(old, new, tmp_path, nasbench201):
    words = ["compare", "--tasks", TASK, "--controllers", "evolution", "--out", str(tmp_path)]
    refused = [str(CliRunner().invoke(cli, [*words, *flag]).exception) for flag in (old, new)]
    assert refused[0] == refused[1]
    assert "takes" in refused[0]
    assert old[0].partition("=")[0] + " " not in CliRunner().invoke(cli, ["compare", "--help"]).output


def test_the_median_of_searches_that_did_not_all_arrive_is_a_count_that_one_of_them_had():
    inf = numpy.inf
    assert statistics.quartiles(numpy.array([3, inf, 1, inf]))[1] == 3
    assert statistics.quartiles(numpy.array([3, inf, 1, inf, inf]))[1] is None
    twelve = numpy.array([10] * 6 + [inf] * 6)
    assert statistics.quartiles(twelve)[1] == 10, "not the mean of 10 and of twice the budget"
    assert statistics.quartiles(twelve[1:])[1] is None


def test_never_counts_as_twice_the_budget_in_a_geometric_mean():
    assert statistics.geometric_mean([2, 8], 100) == pytest.approx(4)
    assert statistics.geometric_mean([2, None], 100) == pytest.approx(20)
    assert statistics.geometric_mean([None] * 9, 100) == pytest.approx(200)


def test_what_was_never_reached_is_above_every_budget_and_is_called_so():
    counts = numpy.array([100.0, numpy.inf, numpy.inf])
    assert statistics.count_text(statistics.quartiles(counts)[1]) == "never"
    assert statistics.count_text(statistics.quartiles(counts[:2])[1]) == "100"
    worst_reached, none = statistics.geometric_mean([100] * 9, 100), statistics.geometric_mean([None] * 9, 100)
    assert worst_reached == pytest.approx(100)
    assert none == pytest.approx(200)
