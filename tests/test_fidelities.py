"""Epochs that a proposal asks for: what is looked up for them, what they cost, which score is the best."""

import json

import pytest
import torch

from controller import Proposal, Results, Step
from nas import tasks
from nas.compare import comparison, rows, trial_cache
from nas.run import incumbent, session, step_log
from nas.run.config import RunConfig
from search_spaces import UserError, _ops

TASK = "own201/digits"
ARCHS = _ops.from_index(torch.arange(60), (5,) * 6).view(2, 30, 6)


def test_each_architecture_is_looked_up_after_its_own_epochs_at_their_share_of_the_cost():
    evaluator = tasks.find(TASK)
    assert evaluator.task.fidelities == (1, 2, 4)
    evaluate = evaluator.load(torch.arange(2))
    epochs = torch.tensor([1, 2, 4]).repeat(2, 10)
    mixed = evaluate(Proposal(ARCHS, epochs))
    for length in (1, 2, 4):
        alone = tasks.find(f"{TASK}@{length}").load(torch.arange(2))(Proposal(ARCHS))
        assert mixed.constraint_ratio is alone.constraint_ratio is None
        for ours, theirs in zip(mixed[:2], alone[:2]):
            assert torch.equal(ours[epochs == length].nan_to_num(-1), theirs[epochs == length].nan_to_num(-1))
    full = evaluate(Proposal(ARCHS))
    assert torch.allclose(mixed.cost, full.cost * epochs / 4)


@pytest.mark.parametrize(("task", "epochs", "held"), [(TASK, 3, "1, 2, 4"), (f"{TASK}@2", 4, "1, 2")])
def test_epochs_that_a_table_does_not_hold_are_refused_by_name(task, epochs, held):
    evaluate = tasks.find(task).load(torch.arange(2))
    with pytest.raises(UserError, match=f"asks for {epochs} epochs; task '{task}' has metrics after: {held}"):
        evaluate(Proposal(ARCHS, torch.full((2, 30), epochs)))


def test_fewer_epochs_read_no_column_of_another_split(tmp_path, monkeypatch):
    from nas import tables
    from nas.tables import Column

    archs = _ops.from_index(torch.arange(40), (5,) * 6)
    test_12, valid_200 = (
        Column("t", "accuracy", split, at, "percent", True) for split, at in (("test", 12), ("valid", 200))
    )
    figures = torch.linspace(10, 90, 40)
    columns = {"t/test_accuracy@12": (test_12, figures), "t/valid_accuracy@200": (valid_200, figures / 2)}
    tables.write(tmp_path / "made.safetensors", "nasbench201", archs, columns, "made up", "MIT")
    monkeypatch.setenv("NAS_TABLES", str(tmp_path))
    assert tasks.find("made/t").task.fidelities == (200,)


def test_the_best_is_among_those_after_the_most_epochs_by_hand():
    archs = torch.arange(10).view(2, 5, 1)
    score = torch.tensor([[90.0, 50, 80, 60, 99], [70, torch.nan, 71, 10, 10]])
    epochs = torch.tensor([[1, 4, 2, 4, 1], [1, 4, 1, 1, 2]])
    found = incumbent.best(archs, score, epochs=epochs)
    assert found.score.tolist() == [60, 10]
    assert found.at.tolist() == [4, 5]
    assert found.epochs.tolist() == [4, 2]
    best, at = incumbent.so_far(score, epochs)
    assert best.tolist() == [[90, 50, 50, 60, 60], [70, 70, 71, 71, 10]]
    assert at.tolist() == [[0, 1, 1, 3, 3], [0, 0, 2, 2, 4]]
    assert incumbent.top(found) == 0


def test_of_equal_scores_the_first_is_the_best():
    archs = torch.arange(8).view(2, 4, 1)
    found = incumbent.best(archs, torch.tensor([[1.0, 3, 3, 3], [torch.nan, 2, torch.nan, 2]]))
    assert found.at.tolist() == [2, 2]
    assert found.archs.tolist() == [[1], [5]]
    assert incumbent.top(found._replace(score=torch.tensor([3.0, 3.0]))) == 0


def test_without_epochs_the_best_so_far_is_the_running_maximum():
    score = torch.tensor([[torch.nan, 3.0, 1, 3, 4]])
    best, at = incumbent.so_far(score)
    assert best.nan_to_num(-1).tolist() == [[-1, 3, 3, 3, 4]]
    assert at.tolist() == [[0, 1, 1, 1, 4]]


@pytest.mark.parametrize("controller", ["hyperband", "successive_halving"])
def test_a_search_by_halving_needs_no_settings_and_its_best_had_all_epochs(nas, controller):
    found = nas("search", "--task", TASK, "--controller", controller, "--evals", "30", "--seeds", "3", "--json")
    assert found.returncode == 0, found.stderr
    document = json.loads(found.stdout)
    column = tasks.find(TASK).table.by_index("digits/valid_accuracy@4", (5,) * 6)
    column = column if column.dim() == 1 else column.nanmean(-1)
    for row in document["best"]:
        arch = tasks.find(TASK).space.parse(row["arch"])
        assert row["epochs"] == 4
        assert row["score"] == pytest.approx(column[_ops.index(arch, (5,) * 6)].item(), abs=1e-4)


def test_a_budget_that_ends_before_the_last_rung_says_so(nas):
    said = nas("search", "--task", TASK, "--controller", "successive_halving", "--evals", "3", "--seeds", "2")
    assert ", after 1 of 4 epochs" in said.stdout


def test_a_run_keeps_the_epochs_of_every_evaluation_and_one_without_them_is_read(tmp_path):
    asked = RunConfig(task=TASK, controller="hyperband", evals=9, seeds=2)
    setup = session.load(asked)
    with session.start(tmp_path / "run", asked, setup) as run:
        list(session.resume(run, setup))
        assert step_log.history(run).epochs.unique().tolist() == [1, 4]
        step = Step(
            Proposal(torch.zeros(2, 1, 6).long()),
            Results(torch.zeros(2, 1), torch.zeros(2, 1)),
            step_log.state(run, None),
        )
        step_log.append(run, 9, step, None, 0.1, str)
        assert step_log.history(run).epochs is None


def test_a_comparison_counts_scores_after_all_epochs_alone(tmp_path):
    specs = comparison.specs(TASK, ["hyperband", "random_search"], (), 5, 12, None, 1)
    cell, plain = comparison.make(specs, tmp_path)
    trace = trial_cache.read(specs[0].path(tmp_path))
    whole = torch.where(trace.epochs == 4, trace.score, torch.nan)
    assert torch.equal(torch.from_numpy(cell.best[:, -1]).float(), whole.nan_to_num(-1).amax(1))
    assert (rows.row(cell)["seconds"]) < rows.row(plain)["seconds"]
    assert trial_cache.read(specs[1].path(tmp_path)).epochs is None
