"""The command line: one JSON document, quiet when piped, one line for a mistake."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from nas.run import store

SEARCH = ("search", "--task", "nasbench201/cifar10@12", "--controller", "evolution", "--evals", "30", "--seeds", "3")


def test_search_and_show_print_the_same_json_document_and_nothing_else(nas, nasbench201, tmp_path):
    # In a process of its own, as all that a shell sees.
    command = [sys.executable, "-m", "nas", *SEARCH, "--name", "one", "--json"]
    searched = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert (searched.returncode, searched.stderr) == (0, "")
    document = json.loads(searched.stdout)
    assert {"run", "task", "controller", "seeds", "evaluations", "best"} <= document.keys()
    assert document["run"] == "runs/one"
    assert (document["seeds"], document["evaluations"]) == (3, 30)
    assert [row["seed"] for row in document["best"]] == [0, 1, 2]
    keys = {"seed", "arch", "score", "report", "found_at", "epochs", "test_regret", "test_rank", "test_functions"}
    keys |= {"proposed_as"}
    assert all(row.keys() == keys for row in document["best"])
    assert all(1 <= row["found_at"] <= 30 and 10 <= row["score"] <= 100 for row in document["best"])
    assert json.loads(nas("show", "one", "--json").stdout) == document
    rows = json.loads(nas("runs", "--json").stdout)
    assert [row["run"] for row in rows] == ["runs/one"]
    assert rows[0]["best_score"] == max(row["score"] for row in document["best"])


def test_a_listing_says_which_runs_are_worked_on(nas, nasbench201, tmp_path):
    nas("search", "--task", "nasbench201/cifar10@12", "--controller", "evolution", "--evals", "20", "--name", "one")

    def state():
        printed, table = json.loads(nas("runs", "--json").stdout), nas("runs").stdout
        assert f" {printed[0]['state']} " in table
        return printed[0]["state"]

    assert state() == "finished"
    with store.open_run(tmp_path / "runs/one", write=True):
        assert state() == "running"
    assert state() == "finished"
    (tmp_path / "runs/one/run.lock").unlink(missing_ok=True)
    assert state() == "finished"


def test_the_reported_best_is_what_the_table_says_of_it(nas, nasbench201, tmp_path):
    from nas import tasks

    evaluator = tasks.find("nasbench201/cifar10@12")
    for row in json.loads(nas(*SEARCH, "--json").stdout)["best"]:
        arch = evaluator.space.parse(row["arch"])
        table = evaluator.table
        at = (table.archs == arch).all(1).nonzero().item()
        assert row["score"] == pytest.approx(table.column("cifar10/valid_accuracy@12")[at].item(), abs=1e-4)
        assert row["report"] == pytest.approx(table.column("cifar10/test_accuracy@200")[at].item(), abs=1e-4)


def test_show_draws_the_best_cell_here_and_as_files(nas, nasbench201, tmp_path):
    nas(*SEARCH, "--name", "one")
    shown = nas("show", "one").stdout
    assert "nasbench201/cifar10@12 with evolution" in shown
    assert (tmp_path / "runs/one/best.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (tmp_path / "runs/one/best.svg").read_text()


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("search", "--controller", "reinfroce"), "Did you mean 'reinforce'?"),
        (("search", "--task", "digitz"), "digits"),
        (("search", "--evals", "0"), "--evals is 0; it takes a number above zero."),
        (("search", "--batch", "-3"), "--batch is -3"),
        (("search", "--seeds", "0"), "--seeds is 0"),
        (("search", "--simulated-seconds", "-1"), "--simulated-seconds is -1"),
        (("search", "--controller-option", "population"), "--controller-option is 'population'; it takes NAME=VALUE."),
        (("search", "-c", "poplation=3"), "Did you mean 'population'?"),
        (("search", "-c", "population=many"), "it takes a whole number"),
        (("search", "--evalz", "3"), "--evalz"),
        (("serach",), "serach"),
        (("show", "runs/nothing"), "There is no run"),
        (("resume", "nothing"), "There is no run"),
    ],
)
def test_a_mistake_gets_one_line_and_status_two_and_leaves_nothing_behind(args, says, nas, nasbench201, tmp_path):
    if args[0] == "search" and "--task" not in args:
        args = (*args, "--task", "nasbench201/cifar10@12")
        args = args if "--controller" in args else (*args, "--controller", "evolution")
    done = nas(*args)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1
    assert says in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_taken_name_is_refused_and_the_run_there_stays(nas, nasbench201, tmp_path):
    before = json.loads(nas(*SEARCH, "--name", "one", "--json").stdout)
    again = nas(*SEARCH, "--name", "one")
    assert again.returncode == 2
    assert "exists already" in again.stderr
    assert json.loads(nas("show", "one", "--json").stdout) == before


def test_a_run_does_not_go_on_with_other_settings(nas, nasbench201, tmp_path):
    nas(*SEARCH, "--name", "one")
    done = nas("resume", "one", "--seeds", "4")
    assert done.returncode == 2
    assert "has --seeds 3; it cannot go on with '4'" in done.stderr


def test_a_folder_that_cannot_be_written_is_named(nas, nasbench201, tmp_path):
    done = nas(*SEARCH, "--name", "/proc/nowhere/run")
    assert done.returncode == 2
    assert "/proc/nowhere" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_disk_that_fills_up_during_a_run_is_one_line_and_the_run_stays_whole(nas, nasbench201, tmp_path):
    import resource

    def small_files():
        resource.setrlimit(resource.RLIMIT_FSIZE, (70_000, 70_000))

    command = [sys.executable, "-m", "nas", *SEARCH[:-3], "300", "--batch", "10", "--name", "one"]
    full = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, preexec_fn=small_files, timeout=600)
    assert full.returncode == 2
    assert "Traceback" not in full.stderr
    assert len(full.stderr.strip().splitlines()) == 1
    document = json.loads(nas("show", "one", "--json").stdout)
    assert 0 < document["evaluations"] < 300
    assert nas("resume", "one").returncode == 0
    assert json.loads(nas("show", "one", "--json").stdout)["evaluations"] == 300


OLD_AND_NEW = {
    "--seconds": ("--simulated-seconds", "500"),
    "--wall-minutes": ("--minutes", "9"),
    "--set": ("--controller-option", "population=4"),
    "--with": ("--training-option", "epochs=2"),
    "--limit": ("--constraint", "nasbench201-hardware/fpga/latency<=q30"),
}


@pytest.mark.parametrize("old", OLD_AND_NEW)
def test_a_flag_of_0_1_still_works_and_no_help_shows_it(old):
    from nas.commands.search import command

    new, value = OLD_AND_NEW[old]
    assert command.make_context("search", [old, value]).params == command.make_context("search", [new, value]).params
    shown = command.get_help(command.make_context("search", []))
    assert new in shown
    assert f"{old} " not in shown


def test_a_dry_run_of_0_1_is_a_forecast_now(nas):
    assert "--dry-run" not in nas("search", "--help").stdout
    found = nas("search", "--task", "own201/digits", "--evals", "2", "--dry-run", "--json")
    assert json.loads(found.stdout)["evaluations"] == 2
