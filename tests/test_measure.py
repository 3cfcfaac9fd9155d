"""A table of our own: stopped and gone on with, it is the table never stopped; equivalents share results."""

from __future__ import annotations

import itertools
import threading

import pytest
import torch
from filelock import FileLock

from nas import tables
from nas.commands import _table_build
from nas.tables import Column, build
from nas.tables.build import Plan
from nas.tables.verify import verify
from search_spaces import UserError, _ops
from search_spaces.nasbench201 import NasBench201

PLAN = Plan("digits", epochs=2, channels=2, cells=1, train_images=64, noise_sample=3, seeds=2, shard=4)


@pytest.fixture
def few(monkeypatch):
    """Eight functions, spread over the space so that every architecture has a twin among them."""
    real = build.function_index(NasBench201()).unique()
    kept = real[:: len(real) // 8][:8].contiguous()
    nearest = torch.searchsorted(kept, torch.arange(15625), right=True).clamp_min(1) - 1
    monkeypatch.setattr(build, "function_index", lambda space: kept[nearest])
    return kept


def test_a_table_built_in_pieces_is_the_table_built_in_one_go(few, tmp_path):
    for _ in build.build(PLAN, tmp_path / "whole"):
        pass
    list(itertools.islice(build.build(PLAN, tmp_path / "pieces"), 1))
    train = build.worker(PLAN)  # As a process of several does, the last shard first.
    last = build.missing(PLAN, tmp_path / "pieces")[-1]
    build.keep(tmp_path / "pieces", last, train(last))
    assert last not in build.missing(PLAN, tmp_path / "pieces")
    list(build.build(PLAN, tmp_path / "pieces"))
    whole, pieces = (build.columns(PLAN, tmp_path / f, "digits") for f in ("whole", "pieces"))
    for name in whole:
        if "seconds" not in name:
            assert torch.equal(whole[name][1].nan_to_num(-1), pieces[name][1].nan_to_num(-1))


def test_a_built_table_is_whole_keeps_its_other_tasks_and_says_how_it_was_measured(few, tmp_path):
    out = tmp_path / "own.safetensors"
    for name in ("first", "second"):
        list(build.build(PLAN, tmp_path / name))
        _table_build.add(out, name, PLAN, tmp_path / name)
    table = tables.read(out)
    assert verify(table) == []
    assert {column.task for column in table.columns.values()} == {"first", "second"}
    assert "2 epochs" in table.source
    valid = table.column("first/valid_accuracy@2")
    assert torch.equal(valid, table.column("second/valid_accuracy@2"))
    assert len(valid.unique()) <= 8
    seeds = table.column("first/valid_accuracy_per_seed@2")
    assert torch.equal(seeds[:, 0], valid)
    assert 0 < (~seeds[:, 1].isnan()).sum() < 15625


def test_an_unfinished_measurement_makes_no_table(few, tmp_path):
    list(itertools.islice(build.build(PLAN, tmp_path / "part"), 1))
    with pytest.raises(UserError, match="1 of 3 shards"):
        build.columns(PLAN, tmp_path / "part", "digits")


def test_a_measurement_does_not_go_on_under_another_plan(few, tmp_path):
    list(itertools.islice(build.build(PLAN, tmp_path / "part"), 1))
    with pytest.raises(UserError, match="cannot go on as"):
        next(build.build(PLAN._replace(epochs=3), tmp_path / "part"))


OURS = "metacell, measured by `nas table build`; old: 2 epochs"


def one_column(monkeypatch):
    """What a finished measurement hands over, without its trainings."""
    about = Column("new", "accuracy", "valid", 4, "percent", True)
    monkeypatch.setattr(build, "columns", lambda plan, folder, name: {f"{name}/valid@4": (about, torch.zeros(15625))})


def table_of(path, archs, source=OURS, licence="MIT", space="nasbench201"):
    about = Column("old", "accuracy", "valid", 4, "percent", True)
    values = torch.rand(len(archs), generator=torch.Generator().manual_seed(0))
    tables.write(path, space, archs, {"old/valid@4": (about, values)}, source, licence)
    return path


@pytest.mark.parametrize("rows", [15625, 7])
def test_the_other_tasks_of_a_table_stay_with_their_architectures_whatever_the_order_of_its_rows(
    rows, tmp_path, monkeypatch
):
    archs = _ops.enumerate_all(NasBench201.choices)[torch.randperm(15625, generator=torch.Generator().manual_seed(1))]
    out = table_of(tmp_path / "t.safetensors", archs[:rows])
    before = tables.read(out).by_index("old/valid@4", NasBench201.choices)
    one_column(monkeypatch)
    _table_build.add(out, "new", PLAN, tmp_path / "new")
    table = tables.read(out)
    assert verify(table) == []
    assert torch.equal(before.nan_to_num(-1), table.by_index("old/valid@4", NasBench201.choices).nan_to_num(-1))
    assert int((~before.isnan()).sum()) == rows


@pytest.mark.parametrize(
    "change",
    [
        {"source": "NATS-Bench (Dong et al. 2021)"},
        {"source": "NATS-Bench (Dong et al. 2021); imported"},
        {"source": "metacell, measured by `nas table build`; by hand"},
        {"licence": "CC BY 4.0"},
        {"space": "another"},
    ],
)
def test_a_table_of_others_is_refused_before_a_training_and_left_as_it_is(change, tmp_path, nas, monkeypatch):
    monkeypatch.setattr(_table_build, "spread", lambda *_: pytest.fail("It trains."))
    archs = _ops.enumerate_all(NasBench201.choices)[:3]
    out = table_of(tmp_path / "t.safetensors", archs, **change)
    content = out.read_bytes()
    done = nas("table", "build", "--task", "digits", "--out", out, "--epochs", 1)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "adds a task only to tables that it built. Take another --out." in done.stderr
    assert out.read_bytes() == content
    assert not (tmp_path / "t.shards").exists()


def test_a_build_waits_until_another_has_added_its_task(tmp_path, monkeypatch):
    out = table_of(tmp_path / "t.safetensors", _ops.enumerate_all(NasBench201.choices))
    one_column(monkeypatch)
    late = threading.Thread(target=_table_build.add, args=(out, "new", PLAN, tmp_path / "new"))
    (tmp_path / "t.shards").mkdir()
    with FileLock(tmp_path / "t.shards" / "table.lock"):
        late.start()
        late.join(0.5)
        assert {column.task for column in tables.read(out).columns.values()} == {"old"}
    late.join(30)
    assert {column.task for column in tables.read(out).columns.values()} == {"old", "new"}


@pytest.mark.parametrize("option", ["--stem-stride", "--train-images", "--image-size"])
@pytest.mark.parametrize("value", [0, -2])
def test_counts_of_a_build_are_above_zero(option, value, tmp_path, nas, monkeypatch):
    monkeypatch.setattr(_table_build, "spread", lambda *_: pytest.fail("It trains."))
    done = nas("table", "build", "--task", "digits", "--out", tmp_path / "t.safetensors", option, value)
    assert done.returncode == 2
    assert f"{option} is {value}; it takes a number above zero." in done.stderr
    assert not (tmp_path / "t.shards").exists()
