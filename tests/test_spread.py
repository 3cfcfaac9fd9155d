"""Comparisons and tables spread over workers are those of one process, also where a worker dies."""

import os
import signal
from pathlib import Path

import pytest
import torch

from nas.commands import _table_build
from nas.compare import comparison
from nas.guarded import Workers
from nas.spread import spread
from nas.tables import build
from nas.tables.build import Plan
from search_spaces import UserError
from search_spaces.nasbench201 import NasBench201

PLAN = Plan("digits", epochs=1, train_images=64, noise_sample=1, seeds=2, shard=2)


def dying(folder):
    """A worker's function that kills its process at its first call with 1."""

    def call(number):
        if number == 1 and not (Path(folder) / "died").exists():
            (Path(folder) / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if number == 3:
            raise UserError("three is none.")
        return number * 10

    return call


@pytest.mark.parametrize("ray", ["", "auto"])
def test_a_call_whose_process_dies_is_made_once_more_and_a_user_s_error_is_one(ray, tmp_path, monkeypatch):
    # What a cluster's machine says of a process that died there is what this machine says.
    monkeypatch.setattr("nas.spread.RayWorkers", lambda *given, address: Workers(*given))
    found = dict(spread(dying, (str(tmp_path),), [(0,), (1,), (2,)], 2, ray))
    assert found == {0: 0, 1: 10, 2: 20}
    with pytest.raises(UserError, match=r"^three is none\.$"):
        list(spread(dying, (str(tmp_path),), [(3,)], 1))


def test_a_shard_of_a_worker_is_that_of_this_process(tmp_path, monkeypatch):
    real = build.function_index(NasBench201()).unique()
    kept = real[:: len(real) // 4][:4].contiguous()
    nearest = torch.searchsorted(kept, torch.arange(15625), right=True).clamp_min(1) - 1
    monkeypatch.setattr(build, "function_index", lambda space: kept[nearest])
    left = build.missing(PLAN, tmp_path)
    train = build.worker(PLAN)
    for number in left[::-1]:
        build.keep(tmp_path, number, train(number))
    assert build.missing(PLAN, tmp_path) == []
    assert len(list(tmp_path.glob("*.safetensors"))) == len(left) == len(build.shards(PLAN))


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ([], (1, "")),
        (["--jobs", "3"], (3, "")),
        (["--ray", "local"], (None, "local")),
        (["--ray", "10.0.0.1:6379", "--workers", "4"], (4, "10.0.0.1:6379")),
    ],
)
def test_a_table_is_built_by_the_processes_or_the_cluster_that_are_asked_for(words, asked, tmp_path, monkeypatch):
    made, kept = [], []

    def spread_(setup, given, calls, count, ray):
        assert setup is build.worker
        made.append((count, ray))
        yield from ((at, f"shard {number}") for at, (number,) in reversed([*enumerate(calls)]))

    monkeypatch.setattr(_table_build, "spread", spread_)
    monkeypatch.setattr(build, "missing", lambda plan, folder: [4, 7])
    monkeypatch.setattr(build, "keep", lambda folder, number, content: kept.append((number, content)))
    monkeypatch.setattr(_table_build, "add", lambda *_: None)
    options = ["--task", "digits", "--out", str(tmp_path / "t.safetensors"), *words]
    _table_build.build.main(options, standalone_mode=False)
    assert made == [asked]
    assert kept == [(7, "shard 7"), (4, "shard 4")]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_comparison_on_a_cluster_is_that_of_one_process(tmp_path):
    ray = pytest.importorskip("ray", reason="needs Ray: pip install 'metacell[ray]'")
    specs = comparison.specs("own201/digits", ["random_search", "evolution"], (), 3, 6, None, 1)
    here = comparison.make(specs, tmp_path / "here")
    try:
        there = comparison.make(specs, tmp_path / "there", 2, ray="local")
    finally:
        ray.shutdown()
    assert comparison.document(here) == comparison.document(there)
