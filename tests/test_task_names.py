"""A task's name is taken apart in one place, and a folder may be called anything."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from nas import tasks
from nas.tasks import TaskName
from search_spaces import UserError

HOSTILE = ("a+b", "a+params<=20k", "x@2", "y~z", "a<=b", "with a space", "a+own201/latency<=3", "two+and+three@4~drawn")
CONSTRAINED = ("a+params<=20k", "a+own201/latency<=3")
"""Of these, those that end in what has the form of a constraint: they are paths only where they are there."""
LATENCY = "nasbench201-hardware/fpga/latency"

PARTS = {
    "own201/digits": TaskName("table", "own201", "digits"),
    "nasbench201/cifar10@200": TaskName("table", "nasbench201", "cifar10", 200),
    "own201/digits@4~one-seed": TaskName("table", "own201", "digits", 4, "one-seed"),
    "nats:/some/a+b@3~c/files/cifar10@12": TaskName("nats", "/some/a+b@3~c/files", "cifar10", 12),
    "digits": TaskName("data", "", "digits"),
    "evaluator:a/b.py:Mine/hills": TaskName("evaluator", "a/b.py:Mine", "hills"),
    "evaluator:pack.module:Mine/hills": TaskName("evaluator", "pack.module:Mine", "hills"),
    f"digits+{LATENCY}<=q30": TaskName("data", "", "digits", constraints=(f"{LATENCY}<=q30",)),
    f"own201/digits@4~one-seed+{LATENCY}<=1e+5*40+{LATENCY}<=q2": TaskName(
        "table", "own201", "digits", 4, "one-seed", (f"{LATENCY}<=1e+5*40", f"{LATENCY}<=q2")
    ),
    "own201/digits+nasbench201/cifar10/valid_accuracy@200<=1": TaskName(
        "table", "own201", "digits", constraints=("nasbench201/cifar10/valid_accuracy@200<=1",)
    ),
    "digits+params<=20k+flops<=1.5M": TaskName("data", "", "digits", constraints=("params<=20k", "flops<=1.5M")),
    "folder:a+b+latency<=2ms": TaskName("data", "", "folder:a+b", constraints=("latency<=2ms",)),
    "folder:nowhere/a+params<=20k": TaskName("data", "", "folder:nowhere/a", constraints=("params<=20k",)),
    **{
        f"folder:nowhere/{name}": TaskName("data", "", f"folder:nowhere/{name}")
        for name in HOSTILE
        if name not in CONSTRAINED
    },
}


@pytest.mark.parametrize("name", PARTS)
def test_a_name_has_these_parts_and_they_make_it_again(name):
    assert TaskName.parse(name) == PARTS[name]
    assert str(PARTS[name]) == name


def test_what_version_0_1_called_drawn_is_one_seed():
    assert str(TaskName.parse("own201/digits~drawn")) == "own201/digits~one-seed"
    assert tasks.find("own201/digits~drawn").task.name == "own201/digits~one-seed"


def test_a_name_loses_its_fidelity_and_its_constraints():
    name = TaskName.parse(f"own201/digits@4~one-seed+{LATENCY}<=q30")
    assert str(name.strip_fidelity()) == f"own201/digits+{LATENCY}<=q30"
    assert str(name.unconstrained()) == "own201/digits@4~one-seed"
    assert TaskName.parse("nasbench201-robustness/cifar10-fgsm-1.0@200").base_dataset() == "cifar10"


@pytest.mark.parametrize("name", HOSTILE)
def test_a_path_that_is_there_is_the_path_whatever_it_is_called(name, tmp_path):
    folder = tmp_path / name
    folder.mkdir(parents=True)
    assert TaskName.parse(f"folder:{folder}") == TaskName("data", "", f"folder:{folder}")
    constrained = TaskName.parse(f"folder:{folder}").constrained((f"{LATENCY}<=q30",))
    assert TaskName.parse(str(constrained)) == constrained


def test_what_looks_like_a_constraint_is_one_where_no_such_path_is(tmp_path):
    (tmp_path / "a").mkdir()
    assert TaskName.parse(f"folder:{tmp_path}/a+own201/latency<=3").constraints == ("own201/latency<=3",)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("own201/digits@many", "takes a whole number"),
        ("own201/digits~up", "after '~' there is: one-seed, mean"),
        ("own201/digits+energy<=3", "Constraint 'energy<=3' takes TABLE/COLUMN<=VALUE"),
        ("own201/digits+own201/x<", "takes TABLE/COLUMN<=VALUE"),
    ],
)
def test_a_part_of_no_such_form_is_refused(name, says):
    with pytest.raises(UserError, match=says):
        TaskName.parse(name)
    with pytest.raises(UserError, match="Constraint 'latency' takes TABLE/COLUMN<=VALUE"):
        TaskName.parse("digits").constrained(("latency",))


def _images(folder):
    """Two classes of eight images that differ in brightness."""
    noise = np.random.default_rng(0)
    for label, bright in (("dark", 0), ("light", 128)):
        (folder / label).mkdir(parents=True)
        for number in range(8):
            pixels = noise.integers(bright, bright + 100, (8, 8), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{number}.png")


@pytest.mark.parametrize("name", [pytest.param("a+b x@2 y~z", marks=pytest.mark.slow), "a+own201/latency<=3"])
def test_a_folder_of_any_name_is_searched_shown_resumed_forecast_and_exported(name, nas, tmp_path, table):
    table("nasbench201-hardware")
    _images(tmp_path / name)
    quick = [f"-t{k}" for k in ("epochs=1", "channels=4", "final_epochs=1", "final_channels=4", "final_cells=1")]
    task = ("--task", f"folder:{name}", "--constraint", f"{LATENCY}<=q30", *quick)
    search = (*task, "--controller", "random_search", "--evals", "2", "--batch", "2", "--name", "one", "--json")
    document = json.loads(nas("search", *search).stdout)
    assert document["task"] == f"folder:{tmp_path / name}+{LATENCY}<=q30"
    assert len(document["best"][0]["constraint_ratio"]) == 1
    assert f"constraint {LATENCY}<=q30: the best is at" in nas("show", "one").stdout
    assert nas("resume", "one").returncode == 0
    assert nas("export", "one", "--to", "out", "--no-onnx").returncode == 0
    forecast = nas("forecast", *task, "--evals", "2", "--batch", "2", "--json")
    assert forecast.returncode == 0, forecast.stderr
    assert json.loads(forecast.stdout)["evaluations"] == 2
