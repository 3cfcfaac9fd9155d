"""Where files are, and may be: what cannot be opened or written is one line that says what would do."""

from __future__ import annotations

import errno
import shutil
import sqlite3
from pathlib import Path

import pytest

import nas as package
from nas import cli, tables
from nas.run import database, lock
from search_spaces import UserError, _files


@pytest.mark.parametrize(
    ("args", "option"),
    [
        (["report", "x"], "--to"),
        (["export", "x"], "--to"),
        (["compare"], "--out"),
        (["tune", "few-shot"], "--out"),
        (["few-shot", "test", "x"], "NAS_RUNS"),
        (["search", "--task", "digits"], "NAS_RUNS"),
        ([], "NAS_RUNS"),
    ],
)
def test_a_folder_that_cannot_be_written_names_the_option_of_the_command(args, option):
    error = OSError(errno.EROFS, "Read-only file system", "a/.x.html.host-1.234.partial")
    words = "Read-only file system: 'a/x.html'. Start in a folder that can be written, or name one by"
    assert cli._words(error, args) == f"{words} {option}."


def test_a_file_that_cannot_be_opened_is_not_called_damaged(tmp_path, monkeypatch):
    path = tmp_path / "t.safetensors"
    path.write_bytes(b"x")

    def refuse(self, *_given, **_more):
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(UserError, match=r"t.safetensors' cannot be read: Permission denied"):
        _files.refuse_unreadable(path)
    with pytest.raises(UserError, match="cannot be read: Permission denied"):
        tables.read(path)


def test_a_lock_is_refused_where_nothing_can_be_made(tmp_path, monkeypatch):
    def refuse(*_given, **_more):
        raise OSError(errno.EROFS, "Read-only file system")

    with lock.lock(tmp_path):  # The file of the lock stays, and could be locked again.
        pass
    monkeypatch.setattr(lock.tempfile, "TemporaryFile", refuse)
    with pytest.raises(UserError, match=r"Cannot write to training '.*': Read-only file system"):
        lock.lock(tmp_path, "training")
    monkeypatch.undo()
    with lock.lock(tmp_path):
        pass


def test_a_run_that_cannot_be_written_leaves_no_files_beside_it(tmp_path, monkeypatch):
    path = tmp_path / "run.sqlite"
    database.writable(_made(path)).close()
    monkeypatch.setattr(database.os, "access", lambda *_: False)
    with pytest.raises(UserError, match="it cannot be written"):
        database.writable(path)
    assert [f.name for f in tmp_path.iterdir()] == ["run.sqlite"]


def _made(path: Path) -> Path:
    connection = sqlite3.connect(path)
    connection.execute("create table t (a)")
    connection.close()
    return path


def test_a_disk_that_is_full_at_the_beginning_makes_no_run(nas, monkeypatch, tmp_path):
    def full(*_given):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr("nas.run.stored.write_state", full)
    done = nas("search", "--task", "own201/digits", "--controller", "random_search", "--evals", 2, "--name", "one")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "nas: Cannot write the run: database or disk is full. No run was made."
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert (
        nas(
            "search", "--task", "own201/digits", "--controller", "random_search", "--evals", 2, "--name", "one"
        ).returncode
        == 0
    )


def test_a_table_that_another_hides_is_said(nas, monkeypatch, tmp_path):
    ours, theirs = tmp_path / "a", tmp_path / "b"
    for folder in (ours, theirs):
        folder.mkdir()
        shutil.copy(tables.find("own201").path, folder / "mine.safetensors")
    monkeypatch.setenv("NAS_TABLES", f"{ours}:{theirs}")
    assert tables.shadowed() == [], "the same table twice hides nothing"
    with (theirs / "mine.safetensors").open("r+b") as file:
        file.seek(-8, 2)
        file.write(b"\1")
    said = f"'{theirs}/mine.safetensors' is passed over, as '{ours}/mine.safetensors' has the same name and comes first"
    assert tables.shadowed() == [said]
    assert said in nas("table", "info").stderr


@pytest.mark.parametrize(
    ("args", "options", "says"),
    [
        ([], {"task": ["digits", "own201/digits"]}, r"task is \['digits', 'own201/digits'\]; it takes one value"),
        (["own201/digits"], {"evals": 3}, r"nas.search\(task='own201/digits', ...\)"),
        ([], {"task": "own201/nosuch", "controller": None}, "nosuch"),
    ],
)
def test_the_facade_says_what_it_takes(args, options, says):
    with pytest.raises(UserError, match=says):
        package.search(*args, **options)


def test_a_component_that_exits_is_an_error_of_the_facade_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "leaves.py").write_text(
        "from controller.random_search import RandomSearch\n"
        "class Leaves(RandomSearch):\n"
        "    def propose(self, state, batch):\n"
        "        raise SystemExit(0)\n"
    )
    with pytest.raises(UserError, match=r"Line 4 of '.*leaves.py' raised SystemExit: 0"):
        package.search(task="own201/digits", controller=f"{tmp_path}/leaves.py:Leaves", evals=2)
