"""The best 0.1% is counted by function, and ranks and regrets are of the whole space."""

from __future__ import annotations

import json
import math

import pytest
import torch

from nas import plugins, tasks
from nas.tables.functions import function_index
from nas.tasks import top
from search_spaces import _ops


@pytest.fixture(scope="module")
def space():
    return plugins.load("space", "nasbench201")()


@pytest.fixture(scope="module")
def by_function(space):
    """A score for each architecture: the same for all that compute the same, else distinct."""
    return function_index(space).float()


def test_the_top_has_one_in_a_thousand_functions_rounded_up(space, by_function):
    found = top.top(by_function, space)
    functions = by_function.unique()
    assert found.all_functions == len(functions) == 4930
    assert found.functions == math.ceil(0.001 * 4930) == 5
    assert found.threshold == functions.sort(descending=True).values[4]
    assert found.archs == int((by_function >= found.threshold).sum())
    assert found.share == found.archs / 15625


def test_a_function_of_many_names_counts_once(space, by_function):
    """The best function has the most names of all: they fill no place but the first, and the task is coarse by its share."""
    of_most = by_function.mode().values
    score = torch.where(by_function == of_most, 1e6, by_function)
    names, found = int((by_function == of_most).sum()), top.top(score, space)
    assert names > 31  # More than 0.2% of the architectures.
    assert found.functions == 5
    assert found.threshold < 1e6
    assert found.archs > names
    assert found.coarse
    assert not top.top(by_function, space).coarse


def test_ties_of_functions_make_a_task_coarse(space, by_function):
    least = by_function.unique().sort(descending=True).values[10]
    found = top.top(by_function.clamp_max(least), space)
    assert (found.functions, found.coarse) == (11, True)
    assert not top.top(by_function.clamp_max(least), space)._replace(functions=9, share=0.002).coarse


def test_architectures_that_were_not_measured_have_no_place(space, by_function):
    half = torch.where(torch.arange(15625) % 2 == 0, by_function, torch.nan)
    found = top.top(half, space)
    assert found.all_functions == len(half[~half.isnan()].unique())
    assert found.share == found.archs / 7813


def test_a_rank_counts_the_functions_above_and_is_one_at_the_best_alone(space, by_function):
    best = top.best_of_functions(by_function, space)
    ordered = by_function.unique().sort(descending=True).values
    assert torch.equal(best, ordered)
    assert top.rank(ordered[[0, 1, 7]], best).tolist() == [1, 2, 8]
    tied = by_function.clamp_max(ordered[2])
    assert top.rank(ordered[[2, 3]], top.best_of_functions(tied, space)).tolist() == [1, 4]


def test_a_function_that_was_trained_under_several_names_has_the_best_of_their_scores(space, by_function):
    score = torch.arange(15625.0)
    best = top.best_of_functions(score, space)
    for function in by_function.unique()[:3]:
        assert score[by_function == function].max() in best
    assert len(best) == 4930


def test_a_space_without_cells_counts_by_canonical(table):
    table("natsbench-size")
    size = tasks.find("natsbench-size/cifar10@90").space
    assert torch.equal(function_index(size), torch.arange(_ops.size(size.choices)))


def test_the_list_of_tasks_says_split_seeds_and_top(nas):
    entries = {entry["task"]: entry for entry in json.loads(nas("tasks", "--family", "own201", "--json").stdout)}
    digits = entries["own201/digits@4"]
    assert (digits["split"], digits["training_seeds"]) == ("valid", "one training seed")
    assert digits["test_metric"] == "digits/test_accuracy@4"
    assert set(digits["top"]) == {"threshold", "archs", "share", "functions", "all_functions", "coarse"}
    lines = nas("tasks", "--family", "own201").stdout.splitlines()
    (line,) = [line for line in lines if line.endswith(" own201/rsscn7_aerial@4")]
    assert "37 (0.24%, 6 functions, coarse)" in line


def test_a_task_whose_only_column_is_a_test_column_says_so(table, nas):
    table("nasbench201-ninapro")
    task = "nasbench201-ninapro/ninapro"
    (entry,) = json.loads(nas("tasks", "--family", "domain", "--json").stdout)
    assert (entry["split"], entry["test_metric"]) == ("test", None)
    assert "test*" in nas("tasks", "--family", "domain").stdout
    description = tasks.find(task).description
    assert "test split, number of training seeds not stated; no test estimate" in description
    said = nas("search", "--task", task, "--controller", "random_search", "--evals", "2", "--name", "r").stdout
    assert "test split" in said
    assert "\nreport" not in said
    assert "\ntest" not in said
