"""Tables of one row a function (`nas-table/2`): every architecture has the values of its function; what is wrong is named."""

from __future__ import annotations

import json

import pytest
import safetensors.torch
import torch
from safetensors import safe_open

from nas import paths, tables, tasks
from nas.meta import task_distribution
from nas.tables import functions
from nas.tables.verify import verify
from nas.tasks import families
from search_spaces import UserError, _ops
from search_spaces.nasbench201 import NasBench201

SPACE = NasBench201()
ROWS = functions.function_index(SPACE).unique()[5::7]
"""Some of the functions: the others are not measured."""
ABOUT = {
    "task": "birds-fog",
    "metric": "accuracy",
    "split": "valid",
    "epochs": 8,
    "unit": "percent",
    "maximize": True,
    "seeds": 1,
}
COLUMN = "birds-fog/valid_accuracy@8"


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes a table `some` that `tasks.find` sees."""
    monkeypatch.setenv("NAS_TABLES", str(tmp_path))

    def written(values=None, archs=None, space="nasbench201", about=None, **header):
        stored = (torch.arange(len(ROWS)) % 900).short() if values is None else values
        archs = _ops.from_index(ROWS, SPACE.choices).to(torch.int8) if archs is None else archs
        columns = {COLUMN: ABOUT | {"scale": 0.1, "noise": None} | (about or {})}
        images = {"birds": {"input_shape": [1, 12, 14], "classes": 6, "examples": 300}}
        head = {"format": "nas-table/2", "space": space, "rows": "functions", "columns": json.dumps(columns)}
        head |= {"families": json.dumps({"birds-fog": "weather"}), "images": json.dumps(images)} | header
        path = tmp_path / "some.safetensors"
        path.write_bytes(safetensors.torch.save({COLUMN: stored, "archs": archs}, head))
        return path

    return written


def test_every_architecture_has_the_value_of_its_function_and_what_was_not_measured_has_none(write):
    stored = (torch.arange(len(ROWS)) % 900).short()
    stored[3] = -1
    table = tables.read(write(stored))
    assert table.rows == len(table.archs) == 15625
    values, cheapest = table.by_index(COLUMN, SPACE.choices), functions.function_index(SPACE)
    assert torch.equal(_ops.index(table.archs, SPACE.choices), torch.arange(15625))
    for row in (0, 3, 50, len(ROWS) - 1):
        alike = values[cheapest == ROWS[row]]
        if row == 3:
            assert alike.isnan().all()
        else:
            assert (alike == (stored[row].double() * 0.1).float()).all()
    assert values[~torch.isin(cheapest, ROWS)].isnan().all()
    assert verify(table) == []


def test_a_float_column_is_not_scaled_and_seeds_stay_apart(write):
    stored = torch.rand(len(ROWS), 2)
    stored[0, 1] = torch.nan
    table = tables.read(write(stored))
    values = table.by_index(COLUMN, SPACE.choices)
    assert torch.equal(values[ROWS].nan_to_num(7), stored.nan_to_num(7))
    assert table.width(COLUMN) == 2


def test_a_task_of_it_is_of_the_family_and_of_the_images_that_the_table_states(write):
    write()
    assert families.family_of("some/birds-fog@8") == "weather"
    assert families.select("weather") == ["some/birds-fog@8"]
    evaluator = tasks.find("some/birds-fog")
    assert (evaluator.task.input_shape, evaluator.task.num_classes) == ((1, 12, 14), 6)
    assert evaluator.task.data_known
    assert evaluator.task.features == ()


def test_a_prior_counts_all_tasks_of_a_table_with_families_as_one_family(write):
    write()
    known = {x.name: x.family for x in task_distribution.task_set("everything").tasks}
    assert known["some/birds-fog@8"] == "some"
    assert known["own201/digits@4"] == "own201"


def test_the_list_of_tasks_counts_those_of_a_table_with_families_and_lists_them_when_asked(write, nas):
    write()
    listed = nas("tasks").stdout
    assert "Table some has 1 more, which --family FAMILY or --json lists: weather (1)." in listed
    assert "some/birds-fog" not in listed
    assert "own201/digits@4" in listed
    assert "some/birds-fog@8" in nas("tasks", "--family", "weather").stdout
    assert "some/birds-fog@8" in nas("tasks", "--json").stdout


def test_the_noise_that_a_table_states_is_shown_and_in_the_document(write, nas):
    noise = {"archs": 37, "deviation": 1.23456, "ceiling": 0.678}
    path = write(about={"noise": noise})
    shown = nas("table", "info", path).stdout
    assert shown.splitlines()[-2].split()[-2:] == ["1.23", "0.68"]
    assert "one architecture (37 architectures); ceiling: rank correlation of two seeds" in shown
    assert json.loads(nas("table", "info", path, "--json").stdout)["columns"][0]["noise"] == noise
    write()
    assert "ceiling" not in nas("table", "info", path).stdout


def test_features_of_known_images_keep_their_description_and_take_the_table_s_number_of_examples(write):
    described = tasks.describe_task("t", "gtsrb").features
    stated = tasks.describe_task("t", "gtsrb:quarter-fog", tables.Images((3, 16, 16), 43, 600))
    assert stated.features == (600, *described[1:])
    assert stated.input_shape == (3, 16, 16)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"space": "nowhere"}, "its rows are functions of space 'nowhere', which is not here"),
        ({"space": "darts"}, "its rows are functions of space 'darts', whose architectures cannot all be listed"),
        ({"about": {"scale": 0}}, f"column '{COLUMN}' has scale '0'; it takes a number above 0"),
        ({"about": {"scale": True}}, f"column '{COLUMN}' has scale 'True'"),
        ({"about": {"noise": 3}}, f"column '{COLUMN}' has noise '3'; it takes archs, deviation and ceiling"),
        ({"about": {"noise": {"archs": "x", "deviation": None, "ceiling": 2}}}, "and ceiling, all numbers"),
        ({"about": {"colour": "red"}}, f"'colour' of column '{COLUMN}', which no column has"),
        ({"families": json.dumps({"birds-fog": 4})}, "task 'birds-fog' is of family '4'"),
        ({"families": "[1"}, "whose 'columns', 'families' or 'images' cannot be read"),
        ({"images": json.dumps({"birds": {"input_shape": [1, 2], "classes": 3, "examples": 4}})}, "images of task 'birds'"),
        ({"format": "nas-table/3"}, "has format 'nas-table/3'; a table has 'nas-table/1' or 'nas-table/2'"),
    ],
)  # fmt: skip
def test_a_header_that_is_wrong_is_named(write, given, words):
    path = write(**given)
    with pytest.raises(UserError) as raised:
        tables.read(path)
    assert words in str(raised.value)


def test_a_table_of_architectures_has_no_scale(write):
    path = write(format="nas-table/1")
    with pytest.raises(UserError, match="says 'noise' of column"):
        tables.read(path)


def test_values_that_are_wrong_are_named(write):
    short = tables.read(write(torch.zeros(5).short()))
    with pytest.raises(UserError, match=r"is torch.int16 \[5\]"):
        short.column(COLUMN)
    above = tables.read(write(torch.full((len(ROWS),), 2000).short()))
    assert verify(above) == [f"column '{COLUMN}' holds 200; percent lie between 0 and 100"]
    twice = _ops.from_index(ROWS, SPACE.choices).to(torch.int8)
    twice[1] = twice[0]
    assert verify(tables.read(write(archs=twice))) == [f"1 of {len(ROWS)} architectures are there twice"]
    with pytest.raises(UserError, match="are there twice"):
        tables.read(write(archs=twice)).column(COLUMN)


def test_two_rows_of_one_function_are_refused(write):
    archs = _ops.from_index(ROWS, SPACE.choices).to(torch.int8)
    alike = (functions.function_index(SPACE) == ROWS[0]).nonzero().flatten()
    assert len(alike) > 1
    archs[1] = _ops.from_index(alike[-1], SPACE.choices).to(torch.int8)
    with pytest.raises(UserError, match=f"1 of {len(ROWS)} rows are of a function that another row is of"):
        tables.read(write(archs=archs)).column(COLUMN)


def test_what_a_header_leaves_out_of_a_column_is_not_known(write):
    named = {"task": "birds-fog", "metric": "accuracy", "maximize": True, "scale": 0.1}
    column = tables.read(write(columns=json.dumps({COLUMN: named}))).columns[COLUMN]
    assert (column.split, column.epochs, column.unit, column.seeds) == (None, None, None, None)


def test_an_unknown_length_of_values_does_not_pass_for_another(write):
    """A column of as many values as the space has architectures is none of this table's."""
    table = tables.read(write(torch.zeros(15625).short()))
    with pytest.raises(UserError, match="is not whole"):
        table.column(COLUMN)


def test_the_table_of_many_tasks_ships_with_its_families_images_and_noise():
    table = tables.read(paths.TABLES / "own201-many.safetensors")
    scored = {c.task for c in table.columns.values() if c.split is not None}
    assert len(scored) >= 150
    assert len({table.families[task] for task in scored}) >= 8
    assert all(name in table.noise for name, c in table.columns.items() if c.task in scored)
    assert {task.partition("-")[0] for task in scored} == table.images.keys()
    assert table.path.stat().st_size < 12e6
    with safe_open(table.path, framework="pt") as file:
        archs = file.get_tensor("archs")
    assert torch.equal(_ops.index(archs, SPACE.choices), functions.function_index(SPACE).unique())
