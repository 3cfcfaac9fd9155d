"""Whatever is wrong with what a user gives: one line that says what would do, exit status 2, nothing half-written.

What concerns one part alone is tried beside it: runs in test_cli, tables in test_tables, downloads in test_nats_import,
pictures in test_data_sets, exports in test_export.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch

from nas import tables
from nas.tables import Column
from search_spaces import UserError
from search_spaces.nasbench201 import NasBench201
from search_spaces.natsbench_size import NatsBenchSize

TASK = "nasbench201/cifar10@12"
CELL = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|none~1|nor_conv_1x1~2|"


@pytest.fixture
def refused(nas, tmp_path):
    """Calls a command that must be refused; gives its one line and checks that nothing new lies there."""

    def run(*args):
        before = sorted(tmp_path.rglob("*"))
        done = nas(*args)
        assert (done.returncode, done.stdout) == (2, ""), done.stdout + done.stderr
        assert done.stderr.startswith("nas: ")
        assert done.stderr.count("\n") == 1, done.stderr
        assert sorted(tmp_path.rglob("*")) == before
        return done.stderr

    return run


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("search", "--task", "nasbench210/cifar10"), "Did you mean 'nasbench201'?"),
        (("search", "--task", "nasbench201/cifar-10"), "Did you mean 'cifar10'?"),
        (("search", "--task", "nasbench201/"), "There are: ImageNet16-120, cifar10, cifar100."),
        (("search", "--task", "nasbench201/cifar10@13"), "there are: 12, 200"),
        (("search", "--task", "nasbench201/cifar10~down"), "after '~' there is: one-seed"),
        (("search", "--task", TASK, "--controller", "evolutoin"), "Did you mean 'evolution'?"),
        (("search", "--task", TASK, "--controller", ""), "No controller is called ''"),
        (("search", "--task", TASK, "--name", ""), "--name is ''"),
        (("search", "--task", "folder:"), "Task 'folder:' names nothing behind its colon; say folder:DIR."),
        (("search", "--task", "."), "Task '.' is a path, and a task says first what is there: folder:."),
        (("search", "--task", "../"), "a path, and a task says first what is there: folder:../."),
        (("forecast", "--task", "npz: "), "names nothing behind its colon; say npz:FILE."),
        (("search", "--task", TASK, "--evaluator", "train"), f"trains on images; task '{TASK}' looks its scores up."),
        (("search", "--task", TASK, "--evaluator", "tabular"), "which a task's name brings by itself; leave it out."),
        (("search", "--task", "digits", "--evaluator", "nats_bench"), "which a task's name brings by itself"),
        (("search", "--task", TASK, "--prior", "folder:"), "There is no prior 'folder:'; --prior takes a file"),
        (("search", "--task", TASK, "--controller", "../nas/cli"), "No controller is called '../nas/cli'"),
        (
            ("search", "--task", TASK, "--controller", "in_context", "--set", "policy_only=true"),
            "policy_only of 'in_context' is gone since 0.2: the policy by itself is the controller attention_policy",
        ),
        (
            ("compare", "--tasks", TASK, "--controllers", "transfer_bo:reader=false", "--out", "x"),
            "reader of 'transfer_bo' is gone since 0.2",
        ),
        (
            ("search", "--task", TASK, "--set", "patience=x"),
            "patience is 'x'; it takes a whole number of 1 or more",
        ),
        (
            ("search", "--task", TASK, "--set", "patience=0"),
            "patience is '0'; it takes a whole number of 1 or more",
        ),
        (
            ("search", "--task", TASK, "--set", "explore_share=-1"),
            "is '-1'; it takes a number of 0 or more",
        ),
        (("search", "--task", TASK, "--set", "explore_share=nan"), "it takes a number of 0 or more"),
        (("search", "--task", TASK, "--set", "use_cold_hypotheses=maybe"), "it takes true or false"),
        (("search", "--task", TASK, "--controller", "ppo", "--set", "lr=0"), "lr is '0'; it takes a number above 0"),
        (("search", "--task", TASK, "--controller", "ppo", "--set", "baseline_decay=1"), "of 0 or more, below 1"),
        (("search", "--task", TASK, "--controller", "evolution", "--set", "population=0"), "of 1 or more"),
        (("search", "--task", TASK, "--controller", "successive_halving", "--set", "entrants=-1"), "of 0 or more"),
        (("search", "--task", "digits", "--with", "lr=nan"), "lr is nan; it takes a number above zero"),
        (("search", "--task", "digits", "--with", "lr=inf"), "lr is inf; it takes a number above zero"),
        (
            ("search", "--space", "natsbench_size", "--task", "digits", "-t", "channels=4"),
            "channels changes nothing: networks of space 'natsbench-size' have the size that the architecture says.",
        ),
        (("forecast", "--space", "natsbench_size", "--task", "digits", "-t", "final_cells=2"), "final_cells changes"),
        (
            ("forecast", "--space", "natsbench_size", "--task", "digits", "-t", "examples=64"),
            "the gain over the ResNet cell, and space 'natsbench-size' has no cells. `nas search` takes it without a forecast.",
        ),
        (("search", "--task", TASK, "--controller", "bayesian", "--set", "encoding=paths"), "it takes one_hot or path"),
        (
            ("compare", "--tasks", TASK, "--controllers", "transfer_bo:patience=0"),
            "is '0'; it takes a whole number",
        ),
        (("meta-train", "--describe", "3"), "instead: --learner transfer_gp --learner-option pca_steps=N"),
        (("meta-train", "--no-atlas"), "instead: --learner-option per_arch_memory=true or false"),
        (("meta-train", "--learner-option", "pca_steps=-1"), "pca_steps is '-1'; it takes a whole number of 0 or more"),
        (("meta-train", "--learner", "rl2"), "give --prior FILE"),
        (("meta-train", "--images", "digits", "--split", "nosuch"), "not from tables; leave --split out"),
        (("meta-train", "--images", "digits", "--task-fraction", "7"), "leave --task-fraction out"),
        (("meta-train", "--images", "digits", "--prior", "/nonexistent"), "leave --prior out"),
        (("meta-train", "--images", "digits", "--settings", "/nonexistent.json"), "leave --settings out"),
        (("meta-train", "--learner", "mamls"), "There are: learned_optimizer, maml, meta_sgd, "),
        (("meta-train", "--task-fraction", "0"), "--task-fraction is 0.0; it takes a number above 0, at most 1"),
        (
            ("search", "--task", "own201/digits", "--seeds", "999999999999999", "--evals", "1"),
            "not enough memory for this; fewer",
        ),
        (("search", "--task", TASK, "--with", "epochs=5"), "it takes no setting 'epochs'"),
        (("search", "--task", "nats:nowhere/cifar10"), "There is no NATS-Bench download 'nowhere'"),
        (("search", "--evals", "many"), "'many' is not a valid integer"),
        (("search", "--evals", "9" * 20), "it takes a number up to 1,000,000,000,000,000."),
        (("search", "--minutes", "inf"), "--minutes is inf; it takes a number. Left out it limits nothing."),
        (("search", "--first-seed", "-1"), "Invalid value for '--first-seed': -1 is not in the range 0<=x<="),
        (("search", "--first-seed", "9" * 20), "is not in the range 0<=x<="),
        (("meta-train", "--seed", "-1"), "is not in the range 0<=x<="),
        (("search", "--task", "digits", "-t", f"epochs={'9' * 20}"), "it takes a number up to 1,000,000,000."),
        (("search", "--task", "digits", "-t", "cells=1000000"), "cells is 1000000; it takes a number up to 200."),
        (("train", "resnet", "-t", "final_channels=9999"), "final_channels is 9999; it takes a number up to 512."),
        (
            ("search", "--space", "pipeline", "--task", "digits", "-t", "image_size=100000"),
            "it takes a number up to 1,024.",
        ),
        (("search", "--task", "digits", "-t", "device=cuda:99"), "device is 'cuda:99', which cannot be used here: "),
        (("search", "--task", "own201"), "'own201' is a table; a task is one of its datasets: own201/arabic_chars28, "),
        (("search", "--task", "evaluator:x"), "'evaluator:x' takes the form evaluator:FILE.py:Class/NAME."),
        (("search", "--metric", "x"), "Invalid value for '--metric': 'x' is not one of"),
        (("search", "--zzz", "x"), "No such option '--zzz'.\n"),
        (("meta-train", "--device", "x"), "No such option '--device'.\n"),
        (("show", ""), "RUN is empty; it takes the name of a run or its folder."),
        (("table", "info", ""), "TABLE is empty; it takes a name or a file."),
        (("export", "nothing", "--to", ""), "Invalid value for '--to': it is empty; it takes a path."),
        (("compare", "--controllers", "evolution", "--out", ""), "Invalid value for '--out': it is empty"),
        (("meta-train", "--out", ""), "Invalid value for '--out': it is empty"),
        (("table", "import", "csv", "", "--out", "a.safetensors"), "it is empty; it takes a path."),
        (("tabel",), "Did you mean 'table'?"),
        (("table", "verfy"), "No such command 'verfy'"),
        (("table", "info", "nasbench202"), "Did you mean 'nasbench201'?"),
        (("table", "verify", "nowhere/a.safetensors"), "There is no table 'nowhere/a.safetensors'"),
        (("table", "import", "nats", "nowhere", "--out", "a.safetensors"), "There is no NATS-Bench download"),
        (("table", "import", "nats", ".", "--out", "a.csv"), "a table's name ends in '.safetensors'"),
        (("table", "import", "nats", "."), "Missing option '--out'"),
        (("export", "nothing", "--to", "out"), "There is no run"),
        (("export", "nothing"), "nas export takes --to FOLDER, or --hf FOLDER, or both"),
        (("show",), "Missing argument 'RUN'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_name_or_an_option_that_is_not_there(args, says, nasbench201, refused):
    assert says in refused(*args)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "has 1 nodes joined by '+'; it takes 3"),
        ("|none~0|+|none~0|none~1|", "has 2 nodes"),
        (CELL.replace("|none~0|skip_connect~1|", "|none~0|"), "Node 2 of architecture"),
        (CELL.replace("none~1", "nane~1"), "Edge 1-3 of architecture"),
        (CELL.replace("none~1", "nane~1"), "operation 'nane'; there are: none, skip_connect, nor_conv_1x1"),
        (CELL.replace("none~1", "none~2"), "Edge 1-3 of architecture"),
        (CELL.replace("none~1", "none"), "reads 'none'; it takes 'OPERATION~1'"),
        (CELL + "+|none~0|", "has 4 nodes"),
    ],
)
def test_a_malformed_cell_is_told_which_edge_and_what_there_is(text, says):
    with pytest.raises(UserError) as error:
        NasBench201().parse(text)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("64:48:8:32", "has 4 widths; it takes 5"),
        ("64:48:7:32:64", "Stage 2 of architecture '64:48:7:32:64' has width '7'; there are: 8, 16,"),
        ("64:48:-8:32:64", "has width '-8'"),
        ("a:b:c:d:e", "Stage 0"),
        (CELL, "has 1 widths"),
    ],
)
def test_malformed_widths_are_told_which_stage_and_what_there_is(text, says):
    with pytest.raises(UserError) as error:
        NatsBenchSize().parse(text)
    assert says in str(error.value)


@pytest.fixture
def small(tmp_path):
    """A table of our own of five cells, in a folder that tables are found in."""
    folder = tmp_path / "tables"
    archs = torch.arange(5)[:, None].expand(5, 6)
    about = Column("t", "accuracy", "valid", 3, "percent", True)
    tables.write(folder / "small.safetensors", "nasbench201", archs, {"t/a": (about, torch.arange(5.0))}, "", "")
    return folder / "small.safetensors"


def cut(path):
    path.write_bytes(path.read_bytes()[:-7])


def flip(path):
    data = bytearray(path.read_bytes())
    data[-2] ^= 1
    path.write_bytes(data)


def other_format(path):
    safetensors.torch.save_file({"archs": torch.zeros(5, 6)}, path, {"format": "pt"})


def other_space(path):
    table = tables.read(path)
    about = table.columns["t/a"]
    tables.write(path, "natsbench-size", table.archs, {"t/a": (about, table.column("t/a"))}, "", "")


def no_space(path):
    table = tables.read(path)
    tables.write(path, "nasbnch201", table.archs, {"t/a": (table.columns["t/a"], table.column("t/a"))}, "", "")


def text(path):
    path.write_text("task,accuracy\n")


@pytest.mark.parametrize(
    ("damage", "verify_says", "search_says"),
    [
        (cut, "is not a whole .safetensors file", "is not a whole .safetensors file"),
        (text, "is not a whole .safetensors file", "is not a whole .safetensors file"),
        (other_format, "has format 'pt'; a table has 'nas-table/1'", "has format 'pt'"),
        (flip, "the checksum differs", None),
        (other_space, "have 6 decisions; space 'natsbench-size' takes 5", None),
        (no_space, None, "Did you mean 'nasbench201'?"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_table_that_is_damaged_or_of_something_else(
    damage, verify_says, search_says, small, refused, nas, monkeypatch
):
    monkeypatch.setenv("NAS_TABLES", str(small.parent))
    assert nas("table", "verify", "small").returncode == 0
    damage(small)
    if verify_says:
        assert verify_says in refused("table", "verify", "small")
        assert verify_says in refused("table", "verify", small)
    if search_says:
        assert search_says in refused("search", "--task", "small/t")


def test_a_missing_folder_of_tables_is_named(refused, monkeypatch):
    monkeypatch.setenv("NAS_TABLES", "/nowhere/tables")
    assert "NAS_TABLES names '/nowhere/tables', which is not a folder" in refused("tasks")
    assert "NAS_TABLES names" in refused("search", "--task", TASK)


@pytest.mark.parametrize("folder", ["/proc/run", "taken/run"], ids=["where nothing can be made", "below a file"])
def test_a_folder_that_cannot_be_made_is_named_and_nothing_is_left(
    folder, nasbench201, nats_sample, refused, nas, tmp_path
):
    (tmp_path / "taken").write_text("a file")
    nas("search", "--task", TASK, "--evals", "3", "--name", "one")
    shutil.copytree(
        nats_sample,
        tmp_path / "download",
        ignore=lambda _, names: [n for n in names if n[:6] > "000002" and n[:4] != "meta"],
    )
    for args in [
        ("search", "--task", TASK, "--evals", "3", "--name", folder),
        ("export", "one", "--to", folder, "--no-onnx"),
        ("table", "import", "nats", "download", "--out", f"{folder}/a.safetensors"),
    ]:
        assert folder.split("/")[1 if folder[0] == "/" else 0] in refused(*args)


def test_a_disk_without_room_leaves_no_half_export_and_no_half_table(nasbench201, small, refused, nas, monkeypatch):
    nas("search", "--task", TASK, "--evals", "3", "--name", "one")
    write = Path.write_bytes

    def full(path, data):
        write(path, data[: len(data) // 2])
        raise OSError(28, os.strerror(28), str(path))

    monkeypatch.setattr(Path, "write_bytes", full)
    assert "No space left on device" in refused("export", "one", "--to", "out", "--no-onnx")
    before = small.read_bytes()
    table = tables.read(small)
    with pytest.raises(OSError, match="No space"):
        tables.write(small, table.space, table.archs, {"t/a": (table.columns["t/a"], table.column("t/a"))}, "", "")
    assert small.read_bytes() == before
    assert [f.name for f in small.parent.iterdir()] == ["small.safetensors"]


def test_an_import_does_not_replace_a_table_unasked(nats_sample, small, refused):
    assert "exists already; --force" in refused("table", "import", "nats", nats_sample, "--out", small)


def test_no_package_of_an_extra_is_one_line(nasbench201, nas, refused, monkeypatch):
    nas("search", "--task", TASK, "--evals", "3", "--name", "one")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "pip install 'metacell[onnx]'" in refused("export", "one", "--to", "out", "--onnx")
