"""The catalogue says what there is, and its optima are those published."""

from __future__ import annotations

import json

import pytest

from nas import tasks
from nas.tasks import catalog, families


@pytest.fixture(scope="module")
def document():
    return {entry.task: entry._asdict() for entry in catalog.entries()}


def test_every_task_listed_leads_somewhere_and_has_its_size(document):
    for name, entry in document.items():
        assert entry["architectures"] > 0
        if entry["family"] != "data":
            evaluator = tasks.find(name)
            assert entry["space"] == evaluator.space.name
            known = evaluator.task.data_known
            assert entry["num_classes"] == (evaluator.task.num_classes if known else None)
            arch = evaluator.space.parse(entry["optimum_arch"])
            assert evaluator.space.valid(arch)


def test_the_digits_are_always_there(document):
    assert document["digits"]["input_shape"] == (1, 8, 8)
    assert document["digits"]["num_classes"] == 10
    assert document["digits"]["optimum"] is None


@pytest.mark.parametrize(
    ("task", "optimum"),
    [("cifar10@200", 91.61), ("cifar100@200", 73.49), ("ImageNet16-120@200", 46.77)],
)
def test_the_optima_are_those_that_nas_bench_201_published(task, optimum, document, nasbench201):
    """Dong & Yang 2020, table 5, 'optimal' row, validation."""
    entry = document[f"nasbench201/{task}"]
    assert entry["optimum"] == pytest.approx(optimum, abs=0.005)
    assert entry["family"] == "accuracy"


def test_the_list_and_the_json_document_name_every_task_whole(document, nas):
    listed = nas("tasks").stdout.splitlines()
    rows = [line.split()[-1] for line in listed[1:-1] if not line.startswith("Table ")]
    assert rows == [task for task in document if not task.startswith("own201-many/")]
    printed = nas("tasks", "--json")
    assert printed.stderr == ""
    assert [entry["task"] for entry in json.loads(printed.stdout)] == list(document)


def test_without_published_tables_a_comparison_takes_what_the_package_has(nas, tmp_path, monkeypatch):
    monkeypatch.setenv("NAS_TABLES", "")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    tasks_there = families.families()["own201"]
    words = [
        "compare",
        "--controllers",
        "random_search",
        "--seeds",
        "1",
        "--evals",
        "2",
        "--jobs",
        "1",
        "--no-figures",
        "--json",
    ]
    done = nas(*words, "--out", str(tmp_path / "out"))
    assert {row["task"] for row in json.loads(done.stdout)["rows"]} == set(tasks_there)
    done = nas(*words, "--tasks", "accuracy~mean")
    assert done.returncode == 2
    assert (
        "Family 'accuracy' is of a published table that no folder of NAS_TABLES has. There are: own201," in done.stderr
    )
    done = nas("search", "--task", "nasbench201/cifar10")
    assert done.stderr.rstrip().endswith("Others are looked for in the folders of NAS_TABLES.")


def test_a_family_lists_its_own_and_one_that_is_not_there_is_told_which_are(nasbench201, nas):
    assert nas("tasks", "--family", "data").stdout.splitlines()[1].endswith("digits")
    done = nas("tasks", "--family", "acuracy")
    assert (done.returncode, done.stdout) == (2, "")
    assert "Did you mean 'accuracy'?" in done.stderr
