"""What a comparison says of the architecture that a search hands out: by test, and by the seeds that the search did not see.

On tables made for it, on NAS-Bench-201's space, where every function has one score under all its names.
"""

from __future__ import annotations

import json
import math

import numpy
import pytest
import torch

from controller import Proposal
from nas import plugins, tables, tasks
from nas.compare import comparison, statistics, summary
from nas.tables import Column
from nas.tables.functions import function_index
from nas.tasks import families, full_columns
from search_spaces import UserError, _ops

ARCHS = _ops.enumerate_all((5,) * 6)


def function_ranks():
    """For each architecture the place of its function, 0 to 4,929, in an order that no controller knows."""
    functions, of = function_index(plugins.load("space", "nasbench201")()).unique(return_inverse=True)
    return torch.randperm(len(functions), generator=torch.Generator().manual_seed(0))[of]


def column(split, metric="accuracy"):
    return Column("data", metric, split, 10, "points", True)


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes a table called `made` with the columns given by split."""
    monkeypatch.setenv("NAS_TABLES", str(tmp_path))

    def made(**columns):
        named = {
            f"data/{name}_accuracy@10": (column(name.split("_")[0]), values.clone()) for name, values in columns.items()
        }
        tables.write(tmp_path / "made.safetensors", "nasbench201", ARCHS, named, "made", "none")
        for cached in (
            full_columns.everything, full_columns.judged, families.protocol, summary.yardstick.of, summary.yardstick.test_of,
        ):  # fmt: skip
            cached.cache_clear()
        return tables.find("made")

    return made


def compared(tmp_path, controllers, task="made/data", seeds=4, evals=12):
    specs = comparison.specs(task, controllers, (), seeds, evals, None, 1)
    return comparison.make(specs, tmp_path / "out")


def test_of_what_validation_chose_the_test_score_its_regret_and_its_rank(write, tmp_path):
    """The validation optimum (place 4,929) is third by test: two others are lifted above it."""
    valid = function_ranks().float()
    test = torch.where(valid == 17, 6000.0, torch.where(valid == 4000, 5000.5, valid))
    write(valid=valid, test=test)
    (found,) = compared(tmp_path, ["oracle"])
    assert (found.regret == 0).all()
    assert (found.report == 4929).all()
    assert (found.test_rank == 3).all()
    assert (found.test_regret == 6000 - 4929).all()
    document = comparison.document([found])
    assert [row["evaluations"] for row in document["best_after"]] == [1, 5, 10, 12]
    for row in document["best_after"]:
        assert (row["report"]["median"], row["test_regret"]["mean"], row["test_rank"]["median"]) == (4929, 1071, 3)
        assert row["test_rank"]["std"] == 0
    comparison.write(document, tmp_path)
    assert "test_rank.median" in (tmp_path / "best_after.csv").read_text().splitlines()[0]


def test_the_test_score_is_of_the_incumbent_and_not_the_best_seen(write, tmp_path):
    """By test everything is turned around: what validation likes better is worse."""
    valid = function_ranks().float()
    write(valid=valid, test=-valid)
    (found,) = compared(tmp_path, ["random_search"])
    assert (found.report == -found.best).all()
    assert (numpy.diff(found.report, axis=1) <= 0).all()
    assert (found.test_rank == found.best + 1).all()


def test_without_a_test_column_there_is_no_test_estimate(write, tmp_path, nas):
    write(valid=function_ranks().float())
    (found,) = compared(tmp_path, ["random_search"])
    (row,) = comparison.document([found])["rows"]
    assert (row["report"], row["test_regret"], row["test_rank"]) == (None, None, None)
    words = ("--tasks", "made/data", "--controllers", "random_search", "--seeds", 2, "--evals", 3, "--jobs", 1)
    said = nas("compare", *words, "--no-figures").stdout
    assert "no test estimate" in said
    assert "Test score" not in said


def test_test_examples_that_were_chosen_by_give_no_estimate(tmp_path, monkeypatch):
    monkeypatch.setenv("NAS_TABLES", str(tmp_path))
    values = function_ranks().float()
    columns = {
        f"data/test_accuracy@{epochs}": (column("test")._replace(epochs=epochs), values.clone()) for epochs in (2, 10)
    }
    tables.write(tmp_path / "tested.safetensors", "nasbench201", ARCHS, columns, "made", "none")
    evaluator = tasks.find("tested/data@2")
    assert evaluator.description.endswith(
        "test split, number of training seeds not stated; no test estimate besides it"
    )
    assert evaluator.report(ARCHS[:3]) is None


def test_a_column_of_which_nothing_was_measured_has_no_optimum_and_no_top(write, nas, tmp_path):
    write(valid=torch.full((len(ARCHS),), torch.nan), test=torch.full((len(ARCHS),), torch.nan))
    (entry,) = json.loads(nas("tasks", "--family", "made", "--json").stdout)
    assert (entry["optimum"], entry["top"]) == (None, None)
    (found,) = compared(tmp_path, ["random_search"], seeds=2, evals=3)
    (row,) = comparison.document([found])["rows"]
    assert (row["top"], row["regret"], row["test_rank"]) == (None, None, None)


def lucky():
    """Seeds `[N, 3]` of functions that are worth 50 and have 90 once, and of the five best, which are worth 80 each time."""
    rank = function_ranks()
    values = torch.full((len(rank), 3), 50.0)
    values[torch.arange(len(rank)), rank % 3] = 90.0
    values[rank >= 4925] = 80.0
    return values


def test_a_drawn_score_is_judged_by_the_mean_of_the_other_seeds(write):
    values = lucky()
    values = values + torch.arange(3)
    write(valid=values)
    seeds = torch.arange(5)
    drawn = tasks.find("made/data~one-seed").load(seeds)(Proposal(ARCHS.expand(5, -1, -1))).score
    judged = full_columns.judged("made/data@10~one-seed", 5)
    assert torch.equal(judged * 2, values.sum(1) - drawn)
    assert not torch.equal(judged[0], judged[1])
    assert torch.equal(full_columns.judged("made/data@10~mean", 5), values.mean(1)[None])


def test_an_architecture_trained_once_is_judged_by_its_one_score(write):
    values = lucky()
    values[::3, 1:] = torch.nan
    write(valid=values)
    judged = full_columns.judged("made/data@10~one-seed", 4)
    assert torch.equal(judged[:, ::3], values[::3, 0].expand(4, -1))


def test_luck_is_neither_top_nor_better_than_the_best(write, tmp_path):
    """Nine tenths of what is handed out scored 90 once, above the 80 of the best; none of it is in the top."""
    values = lucky()
    write(valid=values)
    (found,) = compared(tmp_path, ["random_search"], seeds=40, evals=30)
    assert found.spec.task == "made/data~one-seed"
    assert (found.top_threshold == 80).all()
    assert (found.optimum == 80).all()
    assert (found.regret >= 0).all()
    assert (found.best[:, -1] == 50).all(), "each search has met a 90, and handed it out"
    assert summary.handed_out_top(found) == 0
    with_best = [bool((one == 80).any()) for one in found.tried]
    reached = summary.first_reached(found, found.top_threshold)
    assert numpy.isfinite(reached).tolist() == with_best
    assert 0 < sum(with_best) < 40
    (row,) = comparison.document([found])["rows"]
    assert row["evaluations_to_top"]["reached"] == pytest.approx(sum(with_best) / 40)
    assert (row["handed_out_top"], row["regret"]["mean"]) == (0, 30)


def test_no_draw_of_any_search_beats_the_best_of_its_space(write, tmp_path):
    generator = torch.Generator().manual_seed(1)
    values = function_ranks()[:, None] / 100 + 20 * torch.randn(len(ARCHS), 3, generator=generator)
    write(valid=values)
    for found in compared(tmp_path, ["oracle", "random_search"], seeds=20):
        assert (found.regret >= 0).all()
        assert (found.tried <= found.optimum[:, None]).all()


def test_a_comparison_draws_where_several_seeds_are_held_and_the_mean_is_named(write, tmp_path):
    values = lucky()
    write(valid=values)
    assert families.protocol("made/data@10") == "made/data@10~one-seed"
    assert families.protocol("made/data@10~mean") == "made/data@10~mean"
    assert families.protocol("digits") == "digits"
    tasks_of = [spec.task for spec in comparison.specs("made,made/data@10", ["evolution"], (), 2, 3, None, 1)]
    assert tasks_of == ["made/data@10~one-seed"]
    mean, named = (
        [spec.task for spec in comparison.specs(text, ["evolution"], (), 2, 3, None, 1)]
        for text in ("made~mean", "made/*~mean")
    )
    assert mean == named == ["made/data@10~mean"]
    (found,) = compared(tmp_path, ["oracle"], "made~mean")
    assert found.family == "made"
    assert (found.best == 80).all()
    write(valid=values.mean(1))
    assert families.protocol("made/data@10") == "made/data@10"
    with pytest.raises(UserError, match="after '~' there is: one-seed, mean"):
        families.select("made~median")


def test_a_sample_with_more_seeds_is_no_column_to_draw_from():
    """The shipped table holds three seeds of one function in eleven, to measure their noise."""
    assert families.protocol("own201/digits@4") == "own201/digits@4"
    assert "one training seed;" in tasks.find("own201/digits@4~one-seed").description


def test_a_task_says_its_split_and_its_seeds(write):
    values = lucky()
    write(valid=values, test=values.mean(1))
    said = {suffix: tasks.find(f"made/data{suffix}").description for suffix in ("", "~mean", "~one-seed")}
    assert "validation split, mean of up to 3 training seeds; test: data/test_accuracy@10" in said[""] == said["~mean"]
    assert "validation split, one drawn of up to 3 training seeds; test: data/test_accuracy@10" in said["~one-seed"]


def test_fewer_epochs_by_fewer_seeds_are_a_fidelity_of_the_same_task(tmp_path, monkeypatch):
    monkeypatch.setenv("NAS_TABLES", str(tmp_path))
    values = function_ranks().float()
    about = {epochs: column("valid")._replace(epochs=epochs, seeds=seeds) for epochs, seeds in ((2, 1), (10, 3))}
    columns = {f"data/valid_accuracy@{epochs}": (each, values.clone()) for epochs, each in about.items()}
    tables.write(tmp_path / "short.safetensors", "nasbench201", ARCHS, columns, "made", "none")
    assert tasks.find("short/data").task.fidelities == (2, 10)


def test_a_search_by_the_plain_name_is_by_the_mean_as_it_was(write):
    values = lucky()
    write(valid=values)
    proposal = Proposal(ARCHS[None])
    plain, mean = (tasks.find(f"made/data{s}").load(torch.tensor([3]))(proposal).score for s in ("", "~mean"))
    assert torch.equal(plain, mean)
    assert torch.equal(plain[0], values.mean(1))


def test_a_run_says_where_its_best_stands_by_test(write, nas):
    valid = function_ranks().float()
    test = torch.where(valid == 17, 6000.0, torch.where(valid == 4000, 5000.5, valid))
    write(valid=valid, test=test)
    words = ("--task", "made/data", "--controller", "random_search", "--evals", 9, "--seeds", 2, "--name", "r")
    best = json.loads(nas("search", *words, "--json").stdout)["best"]
    for row in best:
        assert row["test_rank"] == 1 + int((test.unique() > row["report"]).sum())
        assert row["test_regret"] == 6000 - row["report"]
        assert row["test_functions"] == 4930
    first = max(best, key=lambda row: row["score"])
    said = f"; {first['test_regret']:.3f} below the best of the space, rank {first['test_rank']:,} of 4,930 functions"
    assert said in nas("show", "r").stdout


def test_with_a_constraint_the_regret_by_test_has_the_penalties_of_the_objective(write, tmp_path):
    """Above the bound each point costs five: the function at the bound is the best, though 2,929 others score above it."""
    rank = function_ranks().float()
    write(valid=rank, test=rank + 1)
    task = "made/data+made/data/valid_accuracy@10<=2000*10000"
    (found,) = compared(tmp_path, ["oracle"], task)
    assert (found.best == 2000).all()
    assert (found.report == 2001).all()
    assert (found.test_regret == 0).all()
    assert (found.test_rank == 1).all()


def test_the_points_after_which_a_comparison_looks_lie_within_its_budget():
    assert statistics.ends(3) == (1, 3)
    assert statistics.ends(30) == (1, 5, 10, 30)
    assert statistics.ends(150) == (1, 5, 10, 30, 100, 150)


def test_a_trial_in_which_all_failed_has_no_score_and_is_printed(write, tmp_path):
    valid = torch.full((len(ARCHS),), torch.nan)
    valid[0] = 1.0
    write(valid=valid, test=valid)
    (found,) = compared(tmp_path, ["random_search"], seeds=2, evals=3)
    assert numpy.isnan(found.best).all()
    text = json.dumps(comparison.document([found]), allow_nan=False)
    assert math.isfinite(len(text))


def test_a_printed_comparison_names_every_task_whole_and_says_what_it_measures(write, nas):
    values = lucky()
    write(valid=values, test=values.mean(1))
    words = ("--tasks", "made", "--controllers", "random_search,oracle", "--seeds", 3, "--evals", 12, "--jobs", 1)
    said = nas("compare", *words, "--no-figures").stdout
    assert "made/data@10~one-seed  score: data/valid_accuracy@10" in said
    assert "one drawn of up to 3 training seeds; test: data/test_accuracy@10" in said
    assert "distinct functions" in said
    assert "after N evaluations, in brackets its regret and its rank" in said
    for heading in ("score", "to top 0.1%", "reached", "handed out", "regret"):
        assert f"{heading}: " in said
    for heading in ("to top 0.1%", "handed out", "N = 1 ", "N = 5 ", "N = 10", "N = 12"):
        assert heading in said
    assert sum(line.startswith("│ made/data@10~one-seed │") for line in said.splitlines()) == 4
    assert "optimum" not in said
