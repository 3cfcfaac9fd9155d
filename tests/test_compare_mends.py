"""What a comparison keeps of an earlier one, and what it shows of searches that differ in length."""

import dataclasses

import pytest

from nas.compare import comparison, trial_cache
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
