"""A table that holds a part of its space is searched among what it holds; people's own results become such a table."""

from __future__ import annotations

import json
import re

import pytest
import torch

from nas import plugins, tables, tasks
from nas.run import priors
from nas.tables import Column
from search_spaces import _measured, _ops, as_cell_space
from search_spaces.nasbench201 import NasBench201
from tests import _toys

CONTROLLERS = plugins.names("controller")
SPACE = NasBench201()
ABOUT = Column("t", "accuracy", "valid", 3, "percent", True)


@pytest.fixture
def part(tmp_path, monkeypatch):
    """A table of 60 of 15,625 cells, in NAS_TABLES."""
    index = torch.randperm(15_625, generator=torch.Generator().manual_seed(0))[:60]
    archs, score = _ops.from_index(index, SPACE.choices), torch.linspace(10, 90, 60)
    tables.write(tmp_path / "part.safetensors", "nasbench201", archs, {"t/a": (ABOUT, score)}, "made up", "MIT")
    monkeypatch.setenv("NAS_TABLES", str(tmp_path))
    return archs


@pytest.mark.parametrize("name", CONTROLLERS)
def test_every_controller_proposes_only_what_the_table_holds(name, part):
    evaluator = tasks.find("part/t")
    controller = plugins.load("controller", name)(evaluator.space)
    seeds, state = torch.arange(2), controller.begin(evaluator.task, torch.arange(2))
    _, scores, _ = _toys.walk(controller, evaluator.load(seeds), seeds, 3, 10, state)
    assert not scores.isnan().any()


@pytest.mark.parametrize(
    ("name", "prior"), [("transfer_bo", "none"), ("transfer_bo", "shipped"), ("portfolio", "none")]
)
def test_the_best_is_found_in_as_many_evaluations_as_there_are_cells(name, prior, part):
    evaluator, seeds = tasks.find("part/t"), torch.arange(2)
    controller = plugins.load("controller", name)(evaluator.space)
    state = controller.begin(evaluator.task, seeds, priors.find(prior, name))
    archs, scores, _ = _toys.walk(controller, evaluator.load(seeds), seeds, 6, 10, state)
    assert (scores.flatten(1).amax(1) == 90).all()
    assert SPACE.valid(archs).all()


def test_what_a_prior_remembers_of_a_part_are_the_rows_of_the_whole(part):
    from controller.models import features, transfer_model

    prior, evaluator = priors.find("shipped", "transfer_bo"), tasks.find("part/t")
    of_part, of_whole = (transfer_model.make(space, prior).memory for space in (evaluator.space, SPACE))
    rows = features.row_of(SPACE, features.enumerate_valid(evaluator.space).archs)
    assert torch.equal(of_part.mean, of_whole.mean[rows])
    assert torch.equal(of_part.components, of_whole.components[rows])


def test_a_part_of_a_space_of_cells_is_one_and_a_whole_is_itself(part):
    space = tasks.find("part/t").space
    assert as_cell_space(space) is not None
    assert torch.equal(space.reference_arch, SPACE.reference_arch)
    assert int(space.valid(_ops.enumerate_all(SPACE.choices)).sum()) == 60
    assert not space.valid(torch.full((1, 6), 5)).any()
    assert _measured.measured(SPACE, _ops.enumerate_all(SPACE.choices)) is SPACE
    assert tasks.find("own201/digits").space == SPACE


def test_a_mutant_where_no_neighbor_is_valid_is_one_of_the_nearest():
    archs = torch.tensor([[0, 0, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0], [0, 0, 0, 0, 2, 2], [4, 4, 4, 4, 4, 4]])
    space = _measured.measured(SPACE, archs)
    from search_spaces import _noise, _sampling

    bits = _noise.bits(torch.arange(3), 0, 40, 2)
    found = _sampling.mutate_from_bits(archs[0].expand(3, 40, 6), bits, space)
    assert {tuple(arch) for arch in found.flatten(0, 1).tolist()} == {(1, 1, 0, 0, 0, 0), (0, 0, 0, 0, 2, 2)}


def test_a_part_is_shown_listed_and_compared(part, nas):
    asked = ("--task", "part/t", "--controller", "evolution", "--evals", 20, "--name", "one", "--json")
    searched = nas("search", *asked)
    assert searched.returncode == 0, searched.stderr
    best = json.loads(searched.stdout)["best"][0]
    assert 10 <= best["score"] <= 90
    assert nas("show", "one").returncode == 0
    compared = nas(
        "compare", "--tasks", "part/t", "--controllers", "random_search,oracle", "--seeds", 2, "--evals", 5, "--jobs", 1,
        "--no-figures", "--json",
    )  # fmt: skip
    assert compared.returncode == 0, compared.stderr
    assert json.loads(compared.stdout)["rows"][1]["score"]["iqm"] == 90


CELLS = (
    "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|none~1|nor_conv_1x1~2|",
    "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|",
)


def imported(nas, tmp_path, text, *options):
    (tmp_path / "own.csv").write_text(text)
    return nas("table", "import", "csv", "own.csv", "--out", "own.safetensors", *options)


def test_own_results_become_a_table_that_is_searched_among_them(nas, tmp_path, monkeypatch):
    rows = [f"{cell},{90 + i},{10 * i + 5}" for i, cell in enumerate(CELLS)]
    done = imported(nas, tmp_path, "\n".join(["arch,accuracy,seconds", *rows]) + "\n")
    assert done.returncode == 0, done.stderr
    table = tables.read(tmp_path / "own.safetensors")
    assert (table.space, table.rows) == ("nasbench201", 2)
    assert [SPACE.describe(arch) for arch in table.archs] == list(CELLS)
    assert table.column("own/accuracy").tolist() == [90, 91]
    assert table.column("own/seconds").tolist() == [5, 15]
    assert nas("table", "verify", "own.safetensors").returncode == 0
    monkeypatch.setenv("NAS_TABLES", str(tmp_path))
    searched = nas("search", "--task", "own/own", "--controller", "random_search", "--evals", 12, "--json")
    best = json.loads(searched.stdout)["best"][0]
    assert (best["arch"], best["score"]) == (CELLS[1], 91)


@pytest.mark.parametrize("missing", ["", " ", "nan", "NaN", "NA", "None"])
def test_a_column_of_numbers_stays_where_one_is_missing_and_one_without_numbers_is_ignored(missing, nas, tmp_path):
    rows = [f"{CELLS[0]},90,3.5,{missing},1", f"{CELLS[1]},91,{missing},{missing},inf"]
    done = imported(nas, tmp_path, "\n".join(["arch,accuracy,energy,nothing,endless", *rows]) + "\n")
    assert done.returncode == 0, done.stderr
    table = tables.read(tmp_path / "own.safetensors")
    assert set(table.columns) == {"own/accuracy", "own/energy"}
    assert table.column("own/energy").nan_to_num(-1).tolist() == [3.5, -1]
    assert "nothing" in done.stderr
    assert "endless" in done.stderr


def test_decisions_seeds_semicolons_failures_and_other_columns_are_read(nas, tmp_path):
    header = ";".join([*SPACE.decisions, "Valid_Accuracy", "test_accuracy", "seed", "flops", "note"])
    text = f"\ufeff{header}\n0;1;2;3;4;skip_connect;71.5;70;1;3.5;a\n\n0;1;2;3;4;1;72.5;;2;3.5;b\n4;4;4;4;4;4;nan;60;1;1;c\n"
    done = imported(nas, tmp_path, text, "--task", "mine")
    assert done.returncode == 0, done.stderr
    assert "note" in done.stderr
    table = tables.read(tmp_path / "own.safetensors")
    assert table.archs.tolist() == [[0, 1, 2, 3, 4, 1], [4] * 6]
    assert table.column("mine/valid_accuracy_per_seed").nan_to_num(-1).tolist() == [[71.5, 72.5], [-1, -1]]
    assert table.column("mine/test_accuracy_per_seed").nan_to_num(-1).tolist() == [[70, -1], [60, -1]]
    assert table.columns["mine/test_accuracy_per_seed"].split == "test"
    assert table.column("mine/flops_per_seed")[0].tolist() == [3.5, 3.5]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no row"),
        ("arch,accuracy\n", "no row"),
        ("name,accuracy\nx,90\n", "an architecture"),
        (f"arch,loss\n{CELLS[0]},0.3\n", "no score"),
        (f"arch,accuracy\n{CELLS[0]},90\n{CELLS[0]},91\n", "Lines 2 and 3"),
        (f"arch,accuracy\n{CELLS[0]},high\n", "Line 2.*'high'"),
        (f"arch,accuracy\n{CELLS[0]},inf\n", "Line 2.*'inf'"),
        ("arch,accuracy\n|skip~0|+|x,90\n", "Line 2"),
        (f"arch,accuracy\n{CELLS[0]},90,7\n", "Line 2.*3 values"),
        (f"arch,accuracy,accuracy\n{CELLS[0]},90,91\n", "two columns"),
        (f'arch,accuracy\n{CELLS[0]},"90\n', "cannot be read as CSV"),
    ],
)
def test_a_file_that_is_no_table_of_results_is_one_line_and_leaves_nothing(text, says, nas, tmp_path):
    done = imported(nas, tmp_path, text)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert re.search(says, done.stderr), done.stderr
    assert sorted(f.name for f in tmp_path.iterdir()) == ["own.csv"]
