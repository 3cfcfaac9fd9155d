"""A table of our own: stopped and gone on with, it is the table never stopped; equivalents share results."""

from __future__ import annotations

import itertools

import pytest
import torch

from nas import tables
from nas.commands import _table_build
from nas.tables import build
from nas.tables.build import Plan
from nas.tables.verify import verify
from search_spaces import UserError
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
