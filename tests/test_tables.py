"""A table is what it says, and one that is not is refused with the reason."""

from __future__ import annotations

import json
import os

import pytest
import safetensors.torch
import torch

from nas import tables
from nas.tables import Column, training_seeds
from nas.tables.verify import verify
from search_spaces import UserError, _ops

ACCURACY = Column("t", "accuracy", "valid", 3, "percent", True)
ARCHS = _ops.from_index(torch.arange(40), (5,) * 6)
VALUES = torch.linspace(10, 90, 40)


def write(path, archs=ARCHS, space="nasbench201", **columns):
    named = {f"t/{n}": (ACCURACY._replace(metric=n), v) for n, v in (columns or {"accuracy": VALUES}).items()}
    tables.write(path, space, archs, named, "made up", "MIT")
    return path


def altered(path, change, header_change=lambda header: header):
    """The same file with other tensors or another header, its checksum left as it was."""
    with safetensors.safe_open(path, "pt") as file:
        header = file.metadata()
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    change(tensors)
    path.write_bytes(safetensors.torch.save(tensors, header_change(header)))
    return path


def test_what_is_written_is_read_back(tmp_path):
    per_seed = torch.stack([VALUES, VALUES.flip(0)], 1)
    per_seed[3, 1] = torch.nan
    table = tables.read(write(tmp_path / "a.safetensors", accuracy=VALUES, per_seed=per_seed))
    assert (table.name, table.space, table.rows, table.source, table.licence) == (
        "a",
        "nasbench201",
        40,
        "made up",
        "MIT",
    )
    assert torch.equal(table.archs.long(), ARCHS)
    assert torch.equal(table.column("t/accuracy"), VALUES)
    assert torch.allclose(table.column("t/per_seed"), per_seed, equal_nan=True)
    assert table.columns["t/per_seed"] == ACCURACY._replace(metric="per_seed")
    assert verify(table) == []
    assert [f.name for f in tmp_path.iterdir()] == ["a.safetensors"]


def test_every_table_at_hand_is_whole(table):
    table("nasbench201")
    for name in tables.names():
        assert verify(tables.find(name)) == [], name


def test_one_altered_bit_is_seen_by_the_checksum(tmp_path):
    path = write(tmp_path / "a.safetensors")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert any("checksum" in problem for problem in verify(tables.read(path)))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"archs": torch.cat([ARCHS[:39], ARCHS[:1]])}, "1 of 40 architectures are there twice"),
        ({"archs": ARCHS + 1 + 4 * torch.arange(40)[:, None]}, "is not in space 'nasbench201'"),
        ({"archs": ARCHS[:, 1:] + torch.arange(40)[:, None]}, "have 5 decisions; space 'nasbench201' takes 6"),
        ({"accuracy": VALUES + 20}, "'t/accuracy' holds 110; percent lie between 0 and 100"),
        ({"accuracy": VALUES - 11}, "holds -1"),
        ({"accuracy": VALUES / 0}, "infinities"),
        ({"accuracy": VALUES * torch.nan}, "no value at all"),
        ({"accuracy": VALUES[:39]}, "[39]; it takes torch.float32 [40]"),
        ({"accuracy": VALUES.reshape(40, 1, 1)}, "[40, 1, 1]"),
    ],
)
def test_a_table_with_impossible_content_is_told_what_is_wrong(change, says, tmp_path):
    archs = change.pop("archs", ARCHS)
    problems = verify(tables.read(write(tmp_path / "a.safetensors", archs, **change)))
    assert any(says in problem for problem in problems), problems


def test_a_header_and_figures_that_differ_are_refused_either_way(tmp_path):
    more = altered(write(tmp_path / "a.safetensors"), lambda t: t.update({"t/extra": VALUES}))
    with pytest.raises(UserError, match="column 't/extra' its header does not name"):
        tables.read(more)
    fewer = altered(write(tmp_path / "b.safetensors"), lambda t: t.pop("t/accuracy"))
    with pytest.raises(UserError, match="column 't/accuracy' it does not hold"):
        tables.read(fewer)


@pytest.mark.parametrize(
    ("header", "says"),
    [
        (lambda h: h | {"format": "nas-table/9"}, "has format 'nas-table/9'; a table has 'nas-table/1'"),
        (lambda h: {}, "has format 'None'"),
        (lambda h: {k: v for k, v in h.items() if k != "space"}, "lacks its"),
        (lambda h: h | {"columns": "{"}, "cannot be read"),
        (lambda h: h | {"columns": json.dumps({"t/accuracy": {"task": "t"}})}, "cannot be read"),
        (lambda h: h | {"columns": json.dumps({"t/accuracy": 3})}, "cannot be read"),
    ],
)
def test_a_header_that_is_no_tables_is_refused(header, says, tmp_path):
    with pytest.raises(UserError, match=says):
        tables.read(altered(write(tmp_path / "a.safetensors"), lambda t: None, header))


@pytest.mark.parametrize("share", [0, 0.001, 0.5, 0.999])
def test_a_truncated_table_is_refused(share, tmp_path):
    path = write(tmp_path / "a.safetensors")
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(UserError, match="not a whole"):
        tables.read(path)


def test_a_write_that_fails_leaves_the_table_that_was_there(tmp_path, monkeypatch):
    path = write(tmp_path / "a.safetensors")
    before = path.read_bytes()
    monkeypatch.setattr(
        "pathlib.Path.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device"))
    )
    with pytest.raises(OSError, match="No space"):
        write(path, accuracy=VALUES / 2)
    assert path.read_bytes() == before
    assert [f.name for f in tmp_path.iterdir()] == ["a.safetensors"]


@pytest.mark.parametrize("name", ["prior_tests", "encoder2", "priority"])
def test_a_table_of_any_name_is_found(name, tmp_path, monkeypatch):
    write(tmp_path / f"{name}.safetensors")
    monkeypatch.setenv("NAS_TABLES", str(tmp_path))
    assert name in tables.names()
    assert torch.equal(tables.find(name).column("t/accuracy"), VALUES)


def test_a_file_beside_tables_that_is_none_is_passed_over(tmp_path, monkeypatch):
    before, after = tmp_path / "before", tmp_path / "after"
    for folder in (before, after):
        folder.mkdir()
    safetensors.torch.save_file({"weight": torch.ones(2)}, before / "weights.safetensors", {"format": "pt"})
    safetensors.torch.save_file({"weight": torch.ones(2)}, before / "mine.safetensors")
    (before / "folder.safetensors").mkdir()
    write(after / "mine.safetensors")
    monkeypatch.setenv("NAS_TABLES", f"{before}{os.pathsep}{after}")
    assert {"weights", "folder"}.isdisjoint(tables.names())
    assert tables.find("mine").path == after / "mine.safetensors"
    with pytest.raises(UserError, match="has format 'pt'"):
        tables.find("weights")


def test_a_damaged_table_is_named_and_stops_no_listing(tmp_path, monkeypatch):
    path = write(tmp_path / "mine.safetensors")
    path.write_bytes(path.read_bytes()[:100])
    monkeypatch.setenv("NAS_TABLES", str(tmp_path))
    assert "mine" not in tables.names()
    assert [str(path) in why for why in tables.unreadable()] == [True]
    with pytest.raises(UserError, match="is not a whole"):
        tables.find("mine")


SEEDS = {"valid": 3, "test": None}


def test_a_column_says_how_many_seeds_it_is_the_mean_of_and_old_headers_say_nothing(tmp_path):
    archs, values = _ops.enumerate_all((2, 2)), torch.arange(4.0)
    about = {name: tables.Column("data", "accuracy", name, 3, "percent", True, seeds) for name, seeds in SEEDS.items()}
    columns = {f"data/{name}@3": (column, values.clone()) for name, column in about.items()}
    columns["data/apart@3"] = (about["valid"]._replace(seeds=None), torch.zeros(4, 5))
    tables.write(tmp_path / "t.safetensors", "made", archs, columns, "someone", "none")
    table = tables.read(tmp_path / "t.safetensors")
    assert {name: table.columns[f"data/{name}@3"] for name in SEEDS} == about
    counts = {name: training_seeds.count(table, f"data/{name}@3") for name in (*SEEDS, "apart")}
    assert counts == SEEDS | {"apart": 5}
    with safetensors.safe_open(table.path, "pt") as file:
        stated = json.loads(file.metadata()["columns"])
    assert "seeds" in stated["data/valid@3"]
    assert "seeds" not in stated["data/test@3"], "what version 0.1 reads"


@pytest.mark.parametrize("columns", [None, "40"])
def test_what_a_table_holds_is_printed_whole_where_there_is_no_terminal(columns, nas, monkeypatch):
    if columns is not None:
        monkeypatch.setenv("COLUMNS", columns)
    table = tables.find("own201")
    printed = [line.split() for line in nas("table", "info", "own201").stdout.splitlines()]
    rows = {words[0]: words for words in printed if words and words[0] in table.columns}
    assert rows.keys() == table.columns.keys()
    assert {len(words) for words in rows.values()} == {9}
    known = table.column("digits/params")
    assert rows["digits/params"][1:3] == ["million", "1"]
    assert float(rows["digits/params"][4]) == pytest.approx(known.min().item(), rel=1e-3)
    listed = [line.split() for line in nas("table", "info").stdout.splitlines()]
    assert ["own201", "nasbench201", "15,625", str(len(table.columns))] in listed
