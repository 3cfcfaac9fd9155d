"""A run's folder is all that shows and exports it; what it began with is what it goes on with; searches do not meet."""

from __future__ import annotations

import json
import math
import os
import shutil
import sqlite3
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from click.testing import CliRunner
from safetensors import safe_open
from safetensors.torch import save_file

from nas.commands import _shared, show
from nas.run import database, provenance, session, step_log, store, subject, trained_network, trials
from nas.run.config import RunConfig

TRAINING = (
    "-t",
    "epochs=1",
    "-t",
    "final_epochs=1",
    "-t",
    "final_cells=1",
    "-t",
    "final_channels=4",
    "-t",
    "channels=4",
)
NOBODY = 65534


def _images(path, classes=3, seed=0):
    noise = np.random.default_rng(seed)
    x = noise.integers(0, 256, (12 * classes, 8, 8, 3)).astype(np.uint8)
    np.savez(path, x_train=x, y_train=np.arange(len(x)) % classes)


@pytest.fixture
def trained(nas, tmp_path):
    """A run on data of a user's own, finished."""
    _images(tmp_path / "data.npz")
    options = ("--controller", "random_search", "--evals", 2, "--batch", 2, "--name", "r", "--no-comparison")
    done = nas("search", "--task", "npz:data.npz", *options, *TRAINING)
    assert done.returncode == 0, done.stderr
    return tmp_path / "runs" / "r"


def test_a_run_is_shown_and_exported_from_its_folder_alone(trained, nas, tmp_path, monkeypatch):
    first = json.loads(nas("show", "r", "--json").stdout)
    (tmp_path / "data.npz").unlink()
    (tmp_path / "elsewhere").mkdir()
    moved = Path(shutil.copytree(trained, tmp_path / "elsewhere" / "copy"))
    shutil.rmtree(trained)
    monkeypatch.chdir(tmp_path / "elsewhere")
    again = nas("show", moved, "--json")
    assert json.loads(again.stdout) == first | {"run": str(moved)}, again.stderr
    shown = nas("show", moved)
    assert shown.returncode == 0, shown.stderr
    assert f"score   {first['best'][0]['score']:.3f}" in shown.stdout
    assert nas("export", moved, "--to", "out", "--no-onnx").returncode == 0
    gone = nas("resume", moved, "--evals", 4)
    assert gone.returncode == 2
    assert str(tmp_path / "data.npz") in gone.stderr, "the path is whole"


def test_a_run_goes_on_with_its_own_data_alone_wherever_they_lie(trained, nas, tmp_path):
    scores = json.loads(nas("trials", "r", "--json").stdout)
    shutil.move(tmp_path / "data.npz", tmp_path / "moved.npz")
    _images(tmp_path / "data.npz", seed=1)
    before = (trained / store.FILE).read_bytes()
    for refused in (nas("resume", "r", "--evals", 4), nas("resume", "r", "--task", "digits")):
        assert refused.returncode == 2
        assert refused.stderr.count("\n") == 1
    assert "differ from those that run" in nas("resume", "r", "--evals", 4).stderr
    assert (trained / store.FILE).read_bytes() == before
    resumed = nas("resume", "r", "--task", "npz:moved.npz", "--evals", 4)
    assert resumed.returncode == 0, resumed.stderr
    assert json.loads(nas("trials", "r", "--json").stdout)[:2] == scores
    assert nas("resume", "r", "--evals", 6).returncode == 0, "it remembers where they are"


def test_a_run_says_when_its_networks_are_trained_by_something_else(trained, nas):
    with store.open_run(trained, write=True) as run:
        kept = store.get_meta(run, provenance.KEY)
        store.set_meta(run, provenance.KEY, kept | {"engines": ["compiled code of another machine"]})
    resumed = nas("resume", "r", "--evals", 4)
    assert resumed.returncode == 0
    assert (
        len([line for line in resumed.stderr.splitlines() if "compiled code of another machine; now by" in line]) == 1
    )
    assert "now by" not in nas("resume", "r", "--evals", 6).stderr
    with store.open_run(trained) as run:
        engines = store.get_meta(run, provenance.KEY)["engines"]
    assert engines == ["compiled code of another machine", *kept["engines"]]


def test_the_export_of_a_run_that_got_more_budget_is_of_its_best(trained, nas):
    weights = trained / "export" / "network.safetensors"
    save_file({"a": torch.ones(1)}, weights, {"arch": "the best of fewer evaluations"})
    assert nas("resume", "r", "--evals", 4).returncode == 0
    best = json.loads(nas("show", "r", "--json").stdout)
    assert best["evaluations"] == 4
    with safe_open(weights, "pt") as file:
        assert file.metadata()["arch"] == trained_network.load(trained).arch
    assert "in 4 evaluations" in (trained / "report.md").read_text()


@pytest.mark.parametrize("controller", ["evolution", "transfer_bo"])
def test_a_run_that_gets_more_budget_is_one_that_had_it_from_the_start(controller, table, tmp_path):
    table("own201")
    config = RunConfig(task="own201/digits", controller=controller, seeds=2, batch=3, evals=7, first_seed=4)
    setup = session.load(config)
    with session.start(tmp_path / "more", config, setup) as run:
        list(session.resume(run, setup))
        assert step_log.history(run).score.shape[1] == 7, "the last step was cut"
        run, lines = session.extend(run, setup, evals=14)
        assert lines == []
        list(session.resume(run, setup))
        got, rows = step_log.history(run), subject.trials_of(run)
        state = dict(run.connection.execute("select * from state"))
    config = RunConfig(task="own201/digits", controller=controller, seeds=2, batch=3, evals=14, first_seed=4)
    with session.start(tmp_path / "whole", config, setup) as run:
        list(session.resume(run, setup))
        expected, whole = step_log.history(run), subject.trials_of(run)
        assert dict(run.connection.execute("select * from state")) == state
    assert torch.equal(got.archs, expected.archs)
    assert torch.equal(got.score, expected.score)
    assert [t._replace(seconds=0) for t in rows] == [t._replace(seconds=0) for t in whole]


def test_a_budget_that_is_given_counts_from_the_start_and_one_that_is_used_up_no_longer_limits(table, nas):
    table("own201")
    assert (
        nas("search", "--task", "own201/digits", "--controller", "evolution", "--evals", 5, "--name", "r").returncode
        == 0
    )
    used_up = nas("resume", "r", "--evals", 5)
    assert used_up.returncode == 2
    assert "--evals is 5, all sessions together, and the run has used that up (5 evaluations" in used_up.stderr
    assert nas("resume", "r", "--simulated-seconds", 20).returncode == 0
    with store.open_run(Path("runs/r")) as run:
        assert (run.config.evals, run.config.simulated_seconds) == (None, 20.0)
        assert step_log.history(run).cost.sum() > 20
    assert nas("resume", "r", "--evals", 400, "--simulated-seconds", 40).returncode == 0
    with store.open_run(Path("runs/r")) as run:
        assert (run.config.evals, run.config.simulated_seconds) == (400, 40.0)


def test_evaluations_are_rows_of_the_database_and_of_a_file(table, nas):
    table("own201")
    searched = nas(
        "search", "--task", "own201/digits", "--controller", "hyperband", "--evals", 6, "--seeds", 2, "--name", "r"
    )
    assert searched.returncode == 0, searched.stderr
    lines = nas("trials", "r", "--csv").stdout.splitlines()
    assert lines[0] == "seed,evaluation,architecture,score,cost,seconds,epochs,proposed_as"
    found = json.loads(nas("trials", "r", "--json").stdout)
    assert len(lines) == 1 + len(found) == 13
    assert [row["evaluation"] for row in found] == [1, 2, 3, 4, 5, 6] * 2
    with store.open_run(Path("runs/r")) as run:
        past = step_log.history(run)
        assert torch.tensor([row["score"] for row in found]).equal(past.score.flatten())
        assert torch.tensor([row["cost"] for row in found]).equal(past.cost.flatten())
        assert [row["epochs"] for row in found] == past.epochs.flatten().tolist()
        assert sum(row["seconds"] for row in found) == pytest.approx(2 * past.wall)
        of_steps = trials.of_steps(step_log.steps(run), 0, subject.shown_space(run, subject.read(run).space).describe)
        assert sorted(t for step in of_steps for t in step) == [trials.Trial(**row) for row in found]
    assert "architecture" in nas("trials", "r").stdout.splitlines()[0]
    assert nas("trials", "r", "--csv", "--json").returncode == 2


def test_scores_are_written_in_the_fewest_digits_that_float32_holds(tmp_path):
    numbers = [70.3, 100 / 3, 0.1, 1e-7, 16777216.0, 3e38]
    narrow = torch.tensor(numbers).tolist()
    assert narrow[0] == 70.30000305175781
    assert [trials._number(value) for value in narrow[:1]] == [70.3]
    assert torch.tensor([trials._number(value) for value in narrow]).equal(torch.tensor(numbers))
    assert trials._number(0.1234567890123) == 0.1234567890123, "a finer number is not rounded"
    assert [trials._number(value) for value in (math.nan, math.inf, None)] == [None] * 3
    with sqlite3.connect(tmp_path / "old.sqlite") as connection:  # As an earlier version wrote it.
        connection.execute(trials.SCHEMA)
        connection.execute("insert into trial values (0, 1, 0, 'a', ?, ?, 0.25, null)", narrow[:2])
        assert trials.stored(connection) == [trials.Trial(0, 1, "a", 70.3, 33.333332, 0.25, None)]


def test_searches_that_start_together_have_a_folder_each(monkeypatch, tmp_path):
    monkeypatch.setenv("NAS_RUNS", str(tmp_path))

    def start(_):
        with _shared.new_folder("own201/digits", "evolution") as folder:
            return folder.name

    with ThreadPoolExecutor(8) as pool:
        names = list(pool.map(start, range(32)))
    assert sorted(names) == sorted(f"own201-digits-evolution-{n}" for n in range(1, 33))


def test_a_folder_that_no_run_was_made_in_is_taken_back(monkeypatch, tmp_path):
    monkeypatch.setenv("NAS_RUNS", str(tmp_path))
    with pytest.raises(KeyError), _shared.new_folder("t", "c"):
        raise KeyError
    assert not list(tmp_path.iterdir())


def test_a_long_task_makes_a_name_that_file_systems_take(monkeypatch, tmp_path):
    monkeypatch.setenv("NAS_RUNS", str(tmp_path))
    with _shared.new_folder("folder:" + "/".join(["d" * 100] * 5), "evolution") as folder:
        assert len(folder.name) <= 90


@pytest.mark.parametrize("name", ["../x", "a/../../x", ".."])
def test_a_name_that_leads_out_is_refused(name, table, nas):
    table("own201")
    refused = nas("search", "--task", "own201/digits", "--evals", 1, "--name", name)
    assert (refused.returncode, "without '..'" in refused.stderr) == (2, True)


def test_a_run_whose_making_was_killed_leaves_its_name_free(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    for left in (store._PARTIAL, f"{store._PARTIAL}-journal", store.FILE):
        (folder / left).touch()
    with store.create(folder, RunConfig(), {}) as run:
        assert run.config == RunConfig()
    with pytest.raises(store.UserError, match="exists already"):
        store.create(folder, RunConfig(), {})


def test_a_run_is_whole_in_its_one_file_from_its_first_instant(tmp_path):
    with store.create(tmp_path / "run", RunConfig(), {"a": torch.ones(2)}):
        shutil.copy(tmp_path / "run" / store.FILE, tmp_path / store.FILE)
    with store.open_run(tmp_path) as run:
        assert run.config == RunConfig()
    said = CliRunner().invoke(show.command, [str(tmp_path)]).output
    assert said.endswith(f"No evaluation is done yet.\nGo on:  nas resume {tmp_path}\n")


@contextmanager
def _who_may_only_read(folder):
    """As a user who owns nothing there; root may write anywhere else."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    if os.geteuid():
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def open_folder():
    """A folder that others may enter, which pytest's are not."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_a_run_in_a_folder_that_may_only_be_read_is_listed_shown_and_exported(
    table, nas, open_folder, monkeypatch, tmp_path
):
    table("own201")
    monkeypatch.setenv("NAS_RUNS", str(open_folder))
    assert (
        nas("search", "--task", "own201/digits", "--evals", 2, "--name", "r", "--controller", "evolution").returncode
        == 0
    )
    monkeypatch.chdir(open_folder)
    before = {p: p.stat().st_mtime_ns for p in open_folder.rglob("*")}
    with _who_may_only_read(open_folder):
        found = [nas("runs"), nas("show", "r", "--json"), nas("trials", "r"), nas("show", "r")]
    assert [done.returncode for done in found] == [0] * 4, [done.stderr for done in found]
    assert "drawing not written" in found[-1].stdout
    assert {p: p.stat().st_mtime_ns for p in open_folder.rglob("*")} == before
    open_folder.chmod(0o755)
    assert nas("export", "r", "--to", tmp_path / "out", "--no-onnx").returncode == 0


def test_a_killed_run_in_a_folder_that_may_only_be_read_has_all_its_steps(table, tmp_path, open_folder):
    table("own201")
    config = RunConfig(task="own201/digits", controller="random_search", evals=9, prior="none")
    setup = session.load(config)
    with session.start(tmp_path / "run", config, setup) as run:
        list(session.resume(run, setup))
        expected = step_log.history(run)
        # As a kill leaves it: the last steps are in SQLite's log.
        for name in (store.FILE, f"{store.FILE}-wal"):
            shutil.copy(run.folder / name, open_folder)
    with _who_may_only_read(open_folder), store.open_run(open_folder) as shown:
        assert torch.equal(step_log.history(shown).archs, expected.archs)
    open_folder.chmod(0o755)
    assert {f.name for f in open_folder.iterdir()} == {store.FILE, f"{store.FILE}-wal"}


def test_a_run_that_began_with_another_prior_says_which_and_is_shown(table, nas, tmp_path):
    table("own201")
    assert nas("search", "--task", "own201/digits", "--evals", 3, "--name", "r").returncode == 0
    with store.open_run(Path("runs/r"), write=True) as run:
        kept = store.get_meta(run, provenance.KEY)
        store.set_meta(run, provenance.KEY, kept | {"prior": "0123456789abcdef", "version": "0.0.9"})
    refused = nas("resume", "r", "--evals", 5)
    assert refused.returncode == 2
    assert "began with the prior that metacell 0.0.9 shipped, fingerprint 0123456789abcdef" in refused.stderr
    assert nas("show", "r").returncode == 0


def test_a_run_of_a_version_that_kept_no_digest_is_refused_another_prior_too(table, tmp_path):
    table("own201")
    config = RunConfig(task="own201/digits", evals=3)
    setup = session.load(config)
    with session.start(tmp_path / "run", config, setup) as run:
        next(session.resume(run, setup))
        with database.transaction(run.connection):
            run.connection.execute("delete from about where key = ?", (provenance.KEY,))
            kept = safetensors.torch.load(
                run.connection.execute("select data from state where path = '/prior'").fetchone()[0]
            )
            other = safetensors.torch.save({"_": kept["_"] + 1})
            run.connection.execute("update state set data = ? where path = '/prior'", (other,))
        with pytest.raises(store.UserError, match="began with another prior than 'shipped' is now"):
            next(session.resume(run, setup))


def test_a_stopped_run_is_in_tensorboards_table_of_settings(table, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    table("own201")
    config = RunConfig(task="own201/digits", controller="evolution", evals=9)
    setup = session.load(config)
    with session.start(tmp_path / "run", config, setup) as run:
        next(session.resume(run, setup))
    metadata = EventAccumulator(str(tmp_path / "run")).Reload().summary_metadata
    assert "_hparams_/session_start_info" in metadata
    assert "_hparams_/session_end_info" not in metadata
