"""The official download's figures arrive unchanged, from either form, from wherever an import stopped, and nothing is run."""

from __future__ import annotations

import bz2
import collections
import itertools
import os
import pickle
import shutil

import numpy as np
import pytest
import torch

from nas import tables
from nas.tables import _nats_pickle, nats_files, nats_import
from search_spaces import UserError

SUFFIX = nats_files.SUFFIX


def imported(path, out):
    *_, last = nats_import.run(path, out)
    return tables.read(out), last


def load(path):
    return pickle.loads(bz2.decompress(path.read_bytes()))


def dump(value, path, protocol=4):
    path.write_bytes(bz2.compress(pickle.dumps(value, protocol=protocol)))


@pytest.fixture
def folder(nats_sample, tmp_path):
    """A download of the first eight architectures."""
    small = tmp_path / "NATS-simple"
    small.mkdir()
    for name in [f"{i:06d}{SUFFIX}" for i in range(8)] + [f"meta{SUFFIX}"]:
        shutil.copy(nats_sample / name, small / name)
        (small / name).chmod(0o644)
    return small


@pytest.fixture
def single(folder, tmp_path):
    """The same eight as one file."""
    infos = collections.OrderedDict((i, load(folder / f"{i:06d}{SUFFIX}")) for i in range(8))
    meta = load(folder / f"meta{SUFFIX}")["meta_archs"]
    whole = {"meta_archs": meta, "total_archs": len(meta), "arch2infos": infos, "evaluated_indexes": set(range(8))}
    dump(whole, tmp_path / f"NATS{SUFFIX}")
    return tmp_path / f"NATS{SUFFIX}"


def same(one, other):
    assert one.columns == other.columns
    assert torch.equal(one.archs, other.archs)
    for name in one.columns:
        assert torch.equal(one.column(name).nan_to_num(-1), other.column(name).nan_to_num(-1)), name


def test_the_sample_comes_out_equal_to_the_same_rows_of_the_table(nats_sample, nasbench201, tmp_path):
    ours, last = imported(nats_sample, tmp_path / "nats.safetensors")
    assert last.done == ours.rows == 300
    row = {tuple(arch): number for number, arch in enumerate(nasbench201.archs.tolist())}
    rows = torch.tensor([row[tuple(arch)] for arch in ours.archs.tolist()])
    shared = ours.columns.keys() & nasbench201.columns.keys()
    assert len(shared) == 26
    for name in shared:
        a, b = ours.column(name), nasbench201.column(name)[rows]
        assert ours.columns[name] == nasbench201.columns[name]
        both = ~(a.isnan() | b.isnan())
        assert both.float().mean() > 0.99
        torch.testing.assert_close(a[both], b[both], rtol=2e-7, atol=0), name


def test_the_single_file_gives_the_table_of_the_folder(folder, single, tmp_path):
    same(imported(folder, tmp_path / "a.safetensors")[0], imported(single, tmp_path / "b.safetensors")[0])


@pytest.mark.parametrize("form", ["folder", "single"])
def test_an_import_goes_on_from_where_it_stopped_and_leaves_nothing_else(form, request, tmp_path):
    path = request.getfixturevalue(form)
    whole, _ = imported(path, tmp_path / "whole.safetensors")
    out = tmp_path / "out" / "a.safetensors"
    run = nats_import.run(path, out)
    assert [p.done for p in itertools.islice(run, 6)] == [0, 1, 2, 3, 4, 5]
    run.close()
    assert not out.exists()
    again = nats_import.run(path, out)
    assert [p.done for p in again] == list(range(5, 9))
    same(whole, tables.read(out))
    assert [f.name for f in out.parent.iterdir()] == ["a.safetensors"]


def test_the_single_file_is_forgotten_as_it_is_read(single):
    with bz2.BZ2File(single) as file:
        stream = _nats_pickle.Stream(file)
        held = [dict.__len__(stream.memo) for _ in stream.records()]
        assert held[-1] - held[1] < 8 * 40, "an architecture leaves some names behind, not its thousands of figures"
        assert len(stream.memo) - held[-1] > 10_000


def test_numbers_of_numpy_are_read_as_plain_numbers(folder, tmp_path):
    plain, _ = imported(folder, tmp_path / "a.safetensors")
    for file in folder.glob("0*"):
        infos = load(file)
        for info in infos.values():
            for result in info["all_results"].values():
                result["params"] = np.float64(result["params"])
                result["flop"] = np.float32(result["flop"])
        dump(infos, file)
    same(plain, imported(folder, tmp_path / "b.safetensors")[0])


class Evil:
    def __reduce__(self):
        return os.mkdir, ("broken-into",)


@pytest.mark.parametrize(
    "value", [Evil(), np.array(["x"], dtype=object), torch.zeros(2)], ids=["code", "array", "tensor"]
)
def test_a_pickle_with_anything_but_plain_values_is_refused_and_not_run(value, folder, single, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    infos = load(folder / f"000003{SUFFIX}")
    infos["12"]["extra"] = value
    dump(infos, folder / f"000003{SUFFIX}")
    with pytest.raises(UserError, match=r"000003.*which is no part of the format"):
        imported(folder, tmp_path / "a.safetensors")
    whole = load(single)
    whole["arch2infos"][3]["12"]["extra"] = value
    dump(whole, single)
    with pytest.raises(UserError, match="which is no part of the format"):
        imported(single, tmp_path / "b.safetensors")
    assert not (tmp_path / "broken-into").exists()
    assert not list(tmp_path.glob("*.safetensors"))


@pytest.mark.parametrize(
    "damage", [lambda d: d[: len(d) // 2], lambda d: b"", lambda d: b"hello", lambda d: d[:-40] + b"x" * 40]
)
def test_a_damaged_file_is_named_and_what_was_read_before_is_kept(damage, folder, tmp_path):
    file = folder / f"000005{SUFFIX}"
    good = file.read_bytes()
    file.write_bytes(damage(good))
    out = tmp_path / "a.safetensors"
    with pytest.raises(UserError, match="000005"):
        imported(folder, out)
    assert not out.exists()
    file.write_bytes(good)
    assert next(nats_import.run(folder, out)).done == 5


def test_what_is_no_download_is_refused(folder, tmp_path):
    for path, says in [
        (tmp_path / "nowhere", "There is no NATS-Bench download"),
        (tmp_path, "has no 'meta.pickle.pbz2'"),
        (folder / f"000000{SUFFIX}", "does not begin with 'meta_archs'"),
    ]:
        with pytest.raises(UserError, match=says):
            next(nats_import.run(path, tmp_path / "a.safetensors"))


def test_half_an_import_is_not_finished_with_another_download(folder, tmp_path):
    out = tmp_path / "a.safetensors"
    run = nats_import.run(folder, out)
    next(run), next(run)
    run.close()
    other = folder.rename(tmp_path / "other")
    with pytest.raises(UserError, match=r"is half an import of '.*NATS-simple'"):
        next(nats_import.run(other, out))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("NAS-Bench-201-v1_1-096897.pth", "first download is: one pickle.* unpack it, and name its folder"),
        ("NATS-tss-v1_0-3ffb9-simple.tar", "still packed; `tar xf` it"),
    ],
)
def test_a_download_of_another_form_is_told_what_it_is(name, says, tmp_path):
    (tmp_path / name).write_bytes(b"PK")
    with pytest.raises(UserError, match=says):
        imported(tmp_path / name, tmp_path / "a.safetensors")
