"""Faults of trainings, disks and processes: one failed cell ends no run, and nothing is lost or left half-written."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from controller import Proposal
from nas import tasks
from nas.evaluators._training_cache import FILE, TrainingCache
from nas.run import data_report, session, step_log
from nas.run.config import RunConfig
from nas.run.markdown import escape
from nas.tables import plan_file
from search_spaces import UserError, _files
from search_spaces._files import atomic_folder

SMALL = {
    "epochs": "1",
    "channels": "2",
    "examples": "64",
    "final_epochs": "1",
    "final_channels": "2",
    "final_cells": "1",
}
GOOD = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"
EDGES = ("skip_connect", "nor_conv_1x1", "avg_pool_3x3", "nor_conv_3x3")


@pytest.fixture
def raising(monkeypatch):
    """A training that raises whenever one of `bad`, by index, is in the chunk; and what chunks were tried."""
    real, bad, tried = TrainingCache._train_chunk, set(), []

    def train_chunk(self, indices, start, end):
        tried.append(list(indices))
        if bad & set(indices):
            raise RuntimeError("CUDA error: an illegal memory access was encountered\nmore lines")
        real(self, indices, start, end)

    monkeypatch.setattr(TrainingCache, "_train_chunk", train_chunk)
    return bad, tried


def _proposal(evaluator):
    return Proposal(torch.stack([evaluator.space.parse(GOOD.replace("skip_connect", edge)) for edge in EDGES])[None])


def _evaluated(bad=()):
    """The evaluator, and the scores of the four cells `[4]`."""
    evaluator = tasks.find("digits", **SMALL)
    return evaluator, evaluator.load(torch.tensor([0]))(_proposal(evaluator)).score[0]


def test_a_training_that_raises_is_nan_with_its_reason_and_changes_no_other(raising, tmp_path):
    bad, tried = raising
    _, expected = _evaluated()
    evaluator = tasks.find("digits", **SMALL)
    evaluator.cache_to(tmp_path)
    indices = [key.index for key in _evaluated()[0].cache.results]
    bad.add(indices[2])
    score = evaluator.load(torch.tensor([0]))(_proposal(evaluator)).score[0]
    failed = score.isnan()
    assert failed.sum() == 1
    assert torch.equal(score[~failed], expected[~failed])
    assert evaluator.cache.failures() == ["RuntimeError: CUDA error: an illegal memory access was encountered"]
    rows = [json.loads(line) for line in (tmp_path / FILE).read_text().split("\n") if line]
    assert [row["error"] for row in rows if row["error"]] == evaluator.cache.failures()
    # Another session knows it and does not try again.
    tried.clear()
    again = tasks.find("digits", **SMALL)
    again.cache_to(tmp_path)
    assert again.load(torch.tensor([0]))(_proposal(again)).score[0].isnan().equal(failed)
    assert tried == []
    assert again.cache.failures() == evaluator.cache.failures()


def test_the_report_names_why_trainings_failed(tmp_path):
    config = RunConfig(task="own201/digits", controller="random_search", evals=4)
    with session.start(tmp_path / "run", config, session.load(config)) as run:
        past = step_log.History(torch.zeros(1, 4, 6, dtype=torch.long), torch.tensor([[1.0, torch.nan, torch.nan, 2.0]]),
                             torch.zeros(1, 4), 0.0, 1)  # fmt: skip
        words = data_report.section(run, past, ["ValueError: a <b>", "RuntimeError: c", "ValueError: a <b>"])
        assert words[-3:] == [
            "2 of 4 evaluations failed: their training diverged or raised an error.",
            f"- {escape('ValueError: a <b>')} (2)",
            "- RuntimeError: c (1)",
        ]
        assert "failed" not in str(data_report.section(run, past._replace(score=torch.zeros(1, 4)), []))


def test_a_search_ends_when_every_training_raises(raising, monkeypatch):
    bad, _ = raising
    bad.update(key.index for key in _evaluated()[0].cache.results)
    monkeypatch.setattr("nas.evaluators._training_cache._GIVE_UP", 4)
    with pytest.raises(UserError, match="All 4 trainings so far have failed; the last with RuntimeError: CUDA error"):
        _evaluated()
    bad.pop()
    assert _evaluated()[1].isnan().sum() == 3


def test_a_device_that_answers_no_more_ends_the_session(raising, monkeypatch):
    bad, _ = raising
    evaluator = tasks.find("digits", **SMALL)
    bad.update(range(15625))
    # `meta` has no values to give, as a GPU after an illegal access has none.
    evaluator.cache.device = torch.device("meta")
    with pytest.raises(UserError, match="answers no more after: CUDA error"):
        evaluator.load(torch.tensor([0]))(_proposal(evaluator))


_LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
from nas.cli import main
main(sys.argv[2:])
"""
"""A disk that has room for files of so many bytes alone."""


def _on_a_full_disk(size, *args, cwd):
    done = subprocess.run(
        [sys.executable, "-c", _LIMITED, str(size), *args], capture_output=True, text=True, cwd=cwd, timeout=600
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("nas: "), last
    assert "stored before is whole" in last, last


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_FSIZE stands for a full disk on Linux")
def test_a_full_disk_is_one_line_and_the_same_again_ends_well(nas, tmp_path):
    # 50,000 bytes hold the search, and not the network's export.
    search = (
        "search",
        "--task",
        "digits",
        "--evals",
        "2",
        "--batch",
        "2",
        "--name",
        "a",
        "--controller",
        "random_search",
        "--no-comparison",
    )
    options = [word for key, value in SMALL.items() for word in ("-t", f"{key}={value}")]
    _on_a_full_disk(50_000, *search, *options, cwd=tmp_path)
    assert not (tmp_path / "runs/a/export").exists()
    compare = ("compare", "--tasks", "own201/digits", "--controllers", "random_search", "--seeds", "9", "--evals", "90")
    _on_a_full_disk(2_000, *compare, "--out", "c", cwd=tmp_path)
    assert [path for path in (tmp_path / "c").rglob("*") if path.is_file()] == []
    done = nas("resume", "runs/a")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "runs/a/export").iterdir()} >= {"network.py", "network.pt2"}


@pytest.mark.skipif(sys.platform != "linux", reason="whether a process lives is read in Linux's /proc")
def test_workers_end_when_their_parent_is_killed(tmp_path):
    code = (
        "import os, signal, time\nfrom nas.guarded import Workers\n"
        "def setup():\n    return lambda seconds: time.sleep(seconds) or os.getpid()\n"
        "if __name__ == '__main__':\n    workers = Workers(setup, (), 2)\n"
        "    for key in range(2):\n        workers.submit(key, (1,))\n"
        "    print(*(workers.wait()[1].value for _ in range(2)), flush=True)\n"
        "    workers.submit(2, (600,))\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    (tmp_path / "parent.py").write_text(code)
    done = subprocess.run([sys.executable, tmp_path / "parent.py"], capture_output=True, text=True, timeout=600)
    workers = [int(word) for word in done.stdout.split()]
    assert len(workers) == 2
    for _ in range(1200):  # A safety net and not a deadline.
        if not any(_lives(worker) for worker in workers):
            break
        time.sleep(0.1)
    assert not any(_lives(worker) for worker in workers)


def test_a_folder_is_replaced_whole_and_leftovers_of_dead_processes_go(tmp_path):
    target = tmp_path / "export"
    with atomic_folder(target) as partial:
        (partial / "file").write_text("old")

    def fail_halfway():
        with atomic_folder(target) as partial:
            (partial / "file").write_text("half")
            raise ValueError("halfway")

    with pytest.raises(ValueError, match="halfway"):
        fail_halfway()
    assert (target / "file").read_text() == "old"
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    mine, theirs = _files._beside(target), target.with_name(f".export.{socket.gethostname()}.{dead.pid}.partial")
    theirs.mkdir()
    elsewhere = target.with_name(f".export.another-host.{dead.pid}.partial")
    elsewhere.mkdir()
    with atomic_folder(target) as partial:
        assert partial == mine
        (partial / "file").write_text("new")
    assert (target / "file").read_text() == "new"
    assert {path.name for path in tmp_path.iterdir()} == {"export", elsewhere.name}


def test_several_builds_may_begin_at_once_and_another_plan_is_refused(tmp_path):
    for _ in range(2):
        plan_file.keep(tmp_path / "t", {"epochs": 1, "shape": (1, 2)})
    with pytest.raises(UserError, match=r"was begun as .*cannot go on as"):
        plan_file.keep(tmp_path / "t", {"epochs": 2, "shape": (1, 2)})
    (tmp_path / "t" / plan_file.FILE).write_text('{"epochs": 1')
    with pytest.raises(UserError, match="is no plan"):
        plan_file.keep(tmp_path / "t", {"epochs": 1, "shape": (1, 2)})


def _lives(process):
    """Whether a process runs; one that ended and that nobody waited for does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_folders_change_places_whether_their_paths_are_relative_or_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("one", "other"):
        Path(name).mkdir()
        (Path(name) / name).write_text("")
    if not _files._exchange(tmp_path / "one", tmp_path / "other"):
        pytest.skip("this system or file system exchanges no folders in one step")
    assert [path.name for path in Path("one").iterdir()] == ["other"]
    assert _files._exchange(Path("one"), Path("other"))
    assert [path.name for path in Path("one").iterdir()] == ["one"]
