"""A prior is not tried on columns that it was trained on, whatever the task that reads them is called."""

from __future__ import annotations

from fnmatch import fnmatchcase

import pytest
import torch

from nas import tables
from nas.meta import splits, task_distribution
from nas.tables import Column
from nas.tasks import exposure, families


def seen(task, trained, auxiliary=()):
    return exposure.seen(task, exposure.trained_on(trained, auxiliary))


ACCURACY = "nasbench201/cifar100@200"
FPGA, PIXEL = (f"nasbench201-hardware/{device}/latency" for device in ("fpga", "pixel3"))


@pytest.mark.parametrize(
    "task",
    [
        ACCURACY, "nasbench201/cifar100@12", "nasbench201/cifar100", f"{ACCURACY}~mean", f"{ACCURACY}~one-seed",
        f"{ACCURACY}~drawn", f"{ACCURACY}+{FPGA}<=q30", f"{ACCURACY}+{FPGA}<=q31", f"{ACCURACY}+{FPGA}<=2.5*40",
        f"{ACCURACY}+{FPGA}<=q30+{FPGA}<=q20", "nats:somewhere/cifar100@200",
    ],
)  # fmt: skip
def test_what_reads_only_columns_that_were_trained_on_was_seen(task):
    trained = [f"nasbench201/cifar100@200+{FPGA}<=q30"]
    assert seen(task, trained) == trained[0]


@pytest.mark.parametrize(
    "task",
    [
        "nasbench201/cifar10@200", f"nasbench201/cifar10@200+{FPGA}<=q30", f"{ACCURACY}+{PIXEL}<=q30",
        f"{ACCURACY}+{FPGA}<=q30+{PIXEL}<=q30", "own201/digits", "digits", "folder:photos", "nats:somewhere/cifar10",
    ],
)  # fmt: skip
def test_a_column_that_was_not_trained_on_makes_a_task_a_test(task):
    assert seen(task, [f"nasbench201/cifar100@200+{FPGA}<=q30"]) is None


def test_a_constraint_is_known_from_an_auxiliary_column_too():
    assert seen(f"{ACCURACY}+{PIXEL}<=q30", [ACCURACY], [PIXEL]) == ACCURACY
    assert seen(f"{ACCURACY}+{PIXEL}<=q30", [ACCURACY], [FPGA]) is None


def test_the_digits_are_known_from_the_table_that_was_measured_on_them():
    assert seen("digits", ["own201/digits@2"]) == "own201/digits@2"
    assert seen("npz:digits.npz", ["own201/digits@2"]) is None


def test_a_table_of_another_name_with_the_same_values_is_the_same(tmp_path, monkeypatch):
    own = tables.find("own201")
    order = torch.randperm(own.rows, generator=torch.Generator().manual_seed(0))
    accuracy = own.column("digits/valid_accuracy@4")[order]
    about = Column("numbers", "score", None, 7, None, True)
    for name, values in (("copied", accuracy), ("noisy", accuracy + torch.arange(own.rows) / 1e3)):
        columns = {"numbers/score@7": (about, values)}
        tables.write(tmp_path / f"{name}.safetensors", "nasbench201", own.archs[order], columns, "someone", "none")
    monkeypatch.setenv("NAS_TABLES", str(tmp_path))
    assert seen("copied/numbers@7", ["own201/digits@4"]) == "own201/digits@4"
    assert seen("own201/digits@1", ["copied/numbers"]) == "copied/numbers"
    assert seen("noisy/numbers@7", ["own201/digits@4"]) is None


def test_a_table_that_is_not_at_hand_is_known_by_name(monkeypatch):
    monkeypatch.setenv("NAS_TABLES", "")
    assert seen("nasbench201/cifar10@200", ["nasbench201/cifar10@12"])
    assert seen(f"nasbench201/cifar10@200+{FPGA}<=q30", ["nasbench201/cifar10@12"], [FPGA])


@pytest.mark.parametrize("name", [name for name, split in splits.splits().items() if split.test])
def test_every_declared_split_is_tested_on_what_its_training_has_not_seen(name, nasbench201):
    split = splits.split(name)
    left = [t for t in task_distribution.names() if not any(fnmatchcase(t, p) for p in split.held_out)]
    columns = [
        f"{table}/{column}"
        for table in tables.names()
        for column in tables.find(table).columns
        if not any(fnmatchcase(f"{table}/{column}", pattern) for pattern in split.held_out)
    ]
    tested = [test for test in split.test if not test.startswith(("transnas", "natsbench")) or test in tables.names()]
    known = exposure.trained_on(left, [c for c in columns if "accuracy" not in c and "score" not in c])
    for task in families.select(",".join(tested)):
        assert exposure.seen(task, known) is None
        assert exposure.seen(task, known | exposure.trained_on([task])) is not None
