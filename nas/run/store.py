"""A run on disk: made, opened, its configuration, and the JSON values kept with it.

`run.sqlite` takes each step in one transaction, so that a run killed at any instant goes on exactly where it was. One process
writes (`nas.run.lock`), others may read meanwhile (`nas.run.database`). `nas.run.step_log` stores and reads the steps and the
state after the last; `nas.run.trials` has the evaluations as columns.
"""

from __future__ import annotations

import json
import sqlite3
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from filelock import BaseFileLock

from controller import State
from nas.run import database, kept_shapes, learner_defaults, lock, state_tree, stored, trials
from nas.run.config import RunConfig
from nas.types import Memory
from search_spaces import UserError, unknown

FORMAT = "nas-run/1"
FILE = "run.sqlite"
_FEW_SHOT = "few_shot.safetensors"
"""What a folder of `nas few-shot` has in its place (`nas.few_shot.run.FILE`, whose module would load every learner)."""

_SCHEMA = """
create table about (key text primary key, value text not null);
create table step (number integer primary key, wall real not null, data blob not null);
create table state (path text primary key, data blob not null);
create table state_before_cut (path text primary key, data blob not null);
"""
_PARTIAL = f".{FILE}.partial"
"""A run that is being made; under its own name it is whole."""
_LEFT_OVER = {lock.FILE, *(f"{name}{end}" for name in (FILE, _PARTIAL) for end in ("", "-wal", "-shm", "-journal"))}
"""What a run that was killed while it was made may leave behind."""


@dataclass(frozen=True)
class Run:
    """An open run; `close` it, or use it in a `with`."""

    folder: Path
    config: RunConfig
    connection: sqlite3.Connection
    lock: BaseFileLock | None = None
    """Of a run that may be written to; None for one that is only read."""

    @property
    def name(self) -> str:
        return self.folder.name

    def close(self) -> None:
        self.connection.close()
        if self.lock is not None:
            self.lock.release()

    def __enter__(self) -> Run:
        return self

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        self.close()
        if isinstance(error, sqlite3.DatabaseError):  # Which page of a file is damaged shows when it is read.
            raise UserError(f"'{self.folder / FILE}' is not a whole run: {error}.") from None


def create(
    folder: Path, config: RunConfig, state: State, meta: dict[str, Any] | None = None, memory: Memory = None
) -> Run:
    """A new run that holds `config`, the state before its first step, and what `get_meta` gives of it from the start.

    Args:
        memory: the evaluator's before its first step; None for an evaluator without one.

    Raises `UserError` if the folder is taken.
    """
    _refuse_taken(folder)
    folder.mkdir(parents=True, exist_ok=True)
    taken = lock.lock(folder)
    try:
        _refuse_taken(folder)  # Now that no other process makes a run of it.
        # Beside its place, then renamed: a run whose making was killed is none, and its name is free.
        for name in _LEFT_OVER - {lock.FILE}:
            (folder / name).unlink(missing_ok=True)
        connection = sqlite3.connect(folder / _PARTIAL, isolation_level=None)
        with database.closed_if_it_fails(connection), database.transaction(connection, "No run was made."):
            for statement in filter(str.strip, (_SCHEMA + trials.SCHEMA).split(";")):
                connection.execute(statement)
            about = {"format": FORMAT, "config": config.to_json(), "created": repr(time.time())}
            about |= {key: json.dumps(value) for key, value in (meta or {}).items()}
            connection.executemany("insert into about values (?, ?)", about.items())
            stored.write_state(connection, {}, state_tree.leaves(state, memory))
        connection.close()
        (folder / _PARTIAL).replace(folder / FILE)
        return Run(folder, config, database.writable(folder / FILE), taken)
    except BaseException:
        taken.release()
        raise


def _refuse_taken(folder: Path) -> None:
    there = {f.name for f in folder.iterdir()} if folder.is_dir() else {folder.name} if folder.exists() else set()
    if there - _LEFT_OVER or (FILE in there and not _was_cut_short(folder / FILE)):
        raise UserError(f"Run '{folder}' exists already; `nas resume {folder}` goes on with it, --name takes another.")


def _was_cut_short(path: Path) -> bool:
    """Whether a file is what an earlier version left of a run that was killed in its first instants: without any content."""
    try:
        connection = database.readable(path)
        try:
            return not connection.execute("select 1 from sqlite_master where name = 'about'").fetchone()
        finally:
            connection.close()
    except (UserError, sqlite3.Error):
        return not path.stat().st_size


def open_run(folder: Path, *, write: bool = False) -> Run:
    """The run in a folder, to be read; with `write`, to go on with it, which one process does at a time.

    Raises `UserError` where there is none, for one of another version, and for one that another process writes to.
    """
    if not (folder / FILE).is_file() and (folder / _FEW_SHOT).is_file():
        raise UserError(
            f"'{folder}' is a training of a few-shot learner and no search; `nas few-shot --resume`, `nas few-shot test` and "
            "`nas few-shot classify` take it."
        )
    if not (folder / FILE).is_file():
        there_are = [f.name for f in runs_in(folder.parent)]
        raise (
            unknown("run", str(folder), there_are)
            if there_are
            else UserError(f"There is no run in '{folder}'; `nas search` makes one.")
        )
    taken = lock.lock(folder) if write else None
    try:
        connection = database.writable(folder / FILE) if write else database.readable(folder / FILE)
        with database.closed_if_it_fails(connection):
            return Run(folder, _config(folder, connection), connection, taken)
    except BaseException:
        if taken is not None:
            taken.release()
        raise


def _config(folder: Path, connection: sqlite3.Connection) -> RunConfig:
    try:
        about = dict(connection.execute("select key, value from about"))
    except sqlite3.DatabaseError:
        about = {}
    if not about:
        raise UserError(f"'{folder / FILE}' is not a run, or not a whole one; start a new one under another name.")
    if about.get("format") != FORMAT:
        raise UserError(f"Run '{folder}' has format '{about.get('format')}'; this version reads '{FORMAT}'.")
    try:
        # 0.1 wrote `asked`.
        config = RunConfig.from_json(about["config"] if "config" in about else about["asked"])
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"Run '{folder}' has a configuration that cannot be read ({error!r}).") from None
    return learner_defaults.as_read(config)


def runs_in(root: Path) -> list[Path]:
    """The folders under `root` that hold a run, by name."""
    return sorted(f.parent for f in root.glob(f"*/{FILE}"))


def set_config(run: Run, config: RunConfig) -> Run:
    """The same run, asked for something else from now on."""
    with database.transaction(run.connection):
        run.connection.execute("insert or replace into about values ('config', ?)", (config.to_json(),))
    return replace(run, config=config)


def set_meta(run: Run, key: str, value: Any) -> None:
    """Keep a JSON value with the run, in place of an earlier one."""
    with database.transaction(run.connection):
        write_meta(run.connection, key, value)


def write_meta(connection: sqlite3.Connection, key: str, value: Any) -> None:
    """As `set_meta`, inside a transaction."""
    connection.execute("insert or replace into about values (?, ?)", (key, json.dumps(value)))


def get_meta(run: Run, key: str) -> Any:
    """A value that `set_meta` kept, or None."""
    row = run.connection.execute("select value from about where key = ?", (key,)).fetchone()
    try:
        value = json.loads(row[0]) if row else None
    except (ValueError, TypeError, RecursionError):
        raise UserError(f"Run '{run.folder}' keeps a '{key}' that cannot be read.") from None
    if value is not None and not kept_shapes.is_of(value, kept_shapes.KEPT.get(key, object)):
        raise UserError(f"Run '{run.folder}' keeps a '{key}' of another kind than a run does.")
    return value
