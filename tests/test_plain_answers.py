"""What commands tell people who do not know the program: counts that agree, what is unknown as unknown, how to go on."""

from __future__ import annotations

import json

import pytest
import torch

from nas import training
from nas.commands import export
from nas.run import session, trained_network
from nas.run.config import RunConfig
from nas.tasks import describe_task
from search_spaces.nasbench201 import NasBench201

SPACE = NasBench201()
QUICK = [
    word for value in ("epochs=1", "channels=2", "examples=64", "final_epochs=1", "final_channels=4", "final_cells=1")
    for word in ("-t", value)
]  # fmt: skip


@pytest.fixture
def own_results(nas, tmp_path, monkeypatch):
    """A table of three results, of which nobody said what they were trained on, nor how often."""
    archs = [SPACE.describe(torch.tensor([3, 0, c, 4, 0, 2])) for c in (1, 2, 3)]
    (tmp_path / "birds.csv").write_text(
        "arch,val_acc\n" + "".join(f"{arch},{70 + i}\n" for i, arch in enumerate(archs))
    )
    done = nas("table", "import", "csv", "birds.csv", "--out", "tables/mine.safetensors")
    assert done.returncode == 0, done.stderr
    monkeypatch.setenv("NAS_TABLES", str(tmp_path / "tables"))
    return done.stdout


def test_what_nobody_said_of_a_table_is_unknown(own_results, nas):
    assert own_results.splitlines()[-1].split() == ["birds/val_acc", "percent", "-", "100.0%", "70", "71", "72"]
    (column,) = json.loads(nas("table", "info", "mine", "--json").stdout)["columns"]
    assert column["seeds"] is None
    (row,) = (
        line.split() for line in nas("tasks", "--family", "mine").stdout.splitlines() if line.endswith("mine/birds")
    )
    assert row[:8] == ["mine", "3", "-", "-", "val_acc", "valid*", "not", "stated"]
    (entry,) = (e for e in json.loads(nas("tasks", "--family", "mine", "--json").stdout) if e["task"] == "mine/birds")
    assert entry["input_shape"] is entry["num_classes"] is None


def test_a_search_of_three_architectures_says_that_it_repeats_them(own_results, nas):
    few = ["--task", "mine/birds", "--controller", "random_search", "--evals"]
    assert (
        "There are 3 architectures to try: 20 evaluations repeat some"
        in nas("search", *few, 20, "--name", "one").stdout
    )
    assert "repeat" not in nas("search", *few, 3).stdout
    again = nas("resume", "one").stderr
    assert again.startswith("The search had used up its budget. More: nas resume runs/one --evals N (or --minutes M)")
    assert "used up" not in nas("resume", "one", "--evals", 21).stderr


def test_a_network_for_images_of_which_nothing_is_known_says_what_it_takes(capsys):
    for name, said in (
        ("mine/birds", "the network takes 3x32x32 and has 10 classes, as for CIFAR-10"),
        ("own201/digits", ""),
    ):
        export._say_assumed(describe_task(name, name.partition("/")[2]))
        assert said in (printed := capsys.readouterr().out)
        assert bool(printed) == bool(said)


def test_evaluations_and_trainings_of_the_leaders_are_counted_alike_everywhere(nas, monkeypatch):
    monkeypatch.setattr(trained_network, "write_export", lambda *_, **__: None)
    asked = ["--task", "digits", "--controller", "random_search", "--evals", 8, "--batch", 3, *QUICK]
    said = nas("search", *asked, "--name", "one").stdout.splitlines()
    counts = "6 evaluations, then 2 trainings of the leaders"
    assert said[0] == f"Searching digits with random_search, {counts}; the run is runs/one"
    assert sum(line.startswith("The search was ") for line in said) == 1, (
        "a comparison, unless --no-comparison leaves it out"
    )
    shown = nas("show", "one").stdout
    assert shown.splitlines()[0] == f"runs/one  digits with random_search, 1 seed, {counts}"
    assert nas("runs").stdout.splitlines()[1].split()[2:5] == ["1", "6", "2"]
    (row,) = json.loads(nas("runs", "--json").stdout)
    whole = json.loads(nas("show", "one", "--json").stdout)
    assert (row["evaluations"], row["leader_trainings"]) == (whole["evaluations"], whole["leader_trainings"]) == (6, 2)
    assert [line.split()[:2] for line in shown.splitlines() if line.startswith("test")] == [["test", "accuracy"]]


def test_a_search_in_which_nothing_succeeds_says_why(nas, monkeypatch):
    asked = ["search", "--task", "digits", "--controller", "random_search", "--evals", 1, *QUICK]

    def broken(*_, **__):
        raise RuntimeError("no kernel for it")

    monkeypatch.setattr(training, "networks", broken)
    done = nas(*asked)
    # As where a search gives up, which takes a budget of eight.
    assert done.returncode == 2
    assert done.stderr == "No evaluation has succeeded: the first failed with RuntimeError: no kernel for it.\n"


def test_an_endless_budget_of_an_earlier_version_limits_nothing():
    kept = RunConfig.from_json(RunConfig(evals=3).to_json().replace('"minutes": null', '"minutes": Infinity'))
    assert kept == RunConfig(evals=3)


def test_ctrl_c_while_a_command_loads_says_what_is_kept_and_how_to_go_on(nas, monkeypatch, tmp_path):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(session, "load", stop)
    done = nas("search", "--task", "own201/digits")
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr.strip() == (
        "Stopped. What was stored before is whole; the same command begins again, or goes on where it was."
    )
    assert list(tmp_path.iterdir()) == []
