"""A run on disk: its configuration, every step, and the controller's state after it.

`run.sqlite` takes each step in one transaction, so that a run killed at any instant goes on exactly where it was. One process
writes (`nas.run.lock`), others may read meanwhile (`nas.run.database`). `nas.run.trials` has the evaluations as columns.
Shapes: `S` seeds, `B` architectures a step, `E` evaluations of a seed so far, `D` decisions.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
import torch
from filelock import BaseFileLock
from torch import Tensor

from controller import Proposal, Results, State, Step
from controller.models import legacy
from nas.run import database, lock, state_tree, trials
from nas.run import stored as stored_steps
from nas.run.config import RunConfig
from search_spaces import UserError, unknown

FORMAT = "nas-run/1"
FILE = "run.sqlite"

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


class History(NamedTuple):
    """All evaluations of a run, in order."""

    archs: Tensor
    """int64 `[S, E, D]`."""
    score: Tensor
    """float32 `[S, E]` NaN where evaluation failed."""
    cost: Tensor
    """float32 `[S, E]` seconds."""
    wall: float
    """Seconds of wall clock, with what storing and showing took."""
    steps: int
    epochs: Tensor | None = None
    """int64 `[S, E]` of each evaluation; None: the task's own."""


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


def create(folder: Path, config: RunConfig, state: State, meta: dict[str, Any] | None = None) -> Run:
    """A new run that holds `config`, the state before its first step, and what `get_meta` gives of it from the start.

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
        with database.closed_if_it_fails(connection), database.transaction(connection):
            for statement in filter(str.strip, (_SCHEMA + trials.SCHEMA).split(";")):
                connection.execute(statement)
            about = {"format": FORMAT, "config": config.to_json(), "created": repr(time.time())}
            about |= {key: json.dumps(value) for key, value in (meta or {}).items()}
            connection.executemany("insert into about values (?, ?)", about.items())
            _write_state(connection, {}, state_tree.flatten(state))
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
        return RunConfig.from_json(about["config"] if "config" in about else about["asked"])  # 0.1 wrote `asked`.
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"Run '{folder}' has a configuration that cannot be read ({error!r}).") from None


def runs_in(root: Path) -> list[Path]:
    """The folders under `root` that hold a run, by name."""
    return sorted(f.parent for f in root.glob(f"*/{FILE}"))


def append(
    run: Run,
    number: int,
    step: Step,
    before: State,
    wall: float,
    describe: Callable[[Tensor], str],
    *,
    cut: bool = False,
    meta: dict[str, Any] | None = None,
) -> None:
    """Store a step, its evaluations as rows and the state after it, all or nothing.

    Args:
        number: how many steps came before.
        before: the state before the step; what did not change since is not written again.
        wall: seconds that the step took.
        describe: names an architecture `[D]`.
        cut: whether the budget's end cut the step short; `undo_cut` takes it back when the run gets more.
        meta: what `get_meta` gives from now on, in place of earlier values.
    """
    archs = step.proposal.archs
    archs = archs.to(
        torch.uint8 if int(archs.max()) < 256 else torch.int32
    )  # A width, say, may have a thousand options.
    data = {"archs": archs, "score": step.results.score, "cost": step.results.cost}
    if step.results.constraint_ratio is not None:
        data["constraint_ratio"] = step.results.constraint_ratio
    if step.proposal.epochs is not None:
        data["epochs"] = step.proposal.epochs
    first = run.config.first_seed
    rows = trials.rows(step.proposal, step.results, wall, first, trials.count(run.connection, first), describe)
    with database.transaction(run.connection):
        blob = safetensors.torch.save({k: v.contiguous() for k, v in data.items()})
        run.connection.execute("insert into step values (?, ?, ?)", (number, wall, blob))
        trials.insert(run.connection, number, rows)
        if cut:
            run.connection.execute(
                "create table if not exists state_before_cut (path text primary key, data blob not null)"
            )
            _write_state(run.connection, {}, state_tree.flatten(before), "state_before_cut")
        _write_state(run.connection, state_tree.flatten(before), state_tree.flatten(step.state))
        for key, value in (meta or {}).items():
            _write_meta(run.connection, key, value)


def undo_cut(run: Run) -> bool:
    """Take back a last step that the budget's end cut short; whether the state before it was there to go back to.

    A run that had a larger budget from the start made a whole step of it, and another one.
    """
    ((last,),) = run.connection.execute("select max(number) from step")
    with database.transaction(run.connection):
        known = run.connection.execute("select 1 from sqlite_master where name = 'state_before_cut'").fetchone()
        if not known or not run.connection.execute("select 1 from state_before_cut").fetchone():
            return False
        for table in ("step where number", "trial where step"):
            run.connection.execute(f"delete from {table} = ?", (last,))
        run.connection.execute("delete from state")
        run.connection.execute("insert into state select path, data from state_before_cut")
        run.connection.execute("delete from state_before_cut")
    return True


def set_config(run: Run, config: RunConfig) -> Run:
    """The same run, asked for something else from now on."""
    with database.transaction(run.connection):
        run.connection.execute("insert or replace into about values ('config', ?)", (config.to_json(),))
    return replace(run, config=config)


def steps(run: Run) -> Iterator[tuple[Proposal, Results, float]]:
    """Every step stored, in order, with the seconds it took. Raises `UserError` for one that is not what `append` writes."""
    try:
        stored = run.connection.execute("select number, wall, data from step order by number").fetchall()
    except sqlite3.DatabaseError as error:
        raise UserError(f"The steps of run '{run.folder}' cannot be read: {error}.") from None
    found = [stored_steps.step(str(run.folder), number, wall, blob, run.config.seeds) for number, wall, blob in stored]
    stored_steps.check_together(str(run.folder), found, [number for number, _, _ in stored])
    yield from found


def history(run: Run) -> History:
    """All evaluations so far. A run without a step has `E` = 0."""
    stored = list(steps(run))
    S = run.config.seeds
    if not stored:
        return History(torch.zeros(S, 0, 1, dtype=torch.long), torch.zeros(S, 0), torch.zeros(S, 0), 0.0, 0)
    return History(
        torch.cat([p.archs for p, _, _ in stored], 1),
        torch.cat([r.score for _, r, _ in stored], 1),
        torch.cat([r.cost for _, r, _ in stored], 1),
        sum(wall for _, _, wall in stored),
        len(stored),
        None if any(p.epochs is None for p, _, _ in stored) else torch.cat([p.epochs for p, _, _ in stored], 1),  # pyright: ignore
    )


def constraint_ratio(run: Run) -> Tensor | None:
    """Each constrained value over its bound, for all evaluations so far, float32 `[S, E, L]`; None for tasks without."""
    stored = [results.constraint_ratio for _, results, _ in steps(run)]
    known = [x for x in stored if x is not None]
    return torch.cat(known, 1) if known and len(known) == len(stored) else None


def state(run: Run, like: State) -> State:
    """The state after the last step, in the structure of `like`: what the controller's `begin` gives.

    Raises `UserError` where a version whose controller kept less started the run.
    """
    rows = run.connection.execute("select path, data from state").fetchall()
    stored = {path: stored_steps.leaf(str(run.folder), path, blob) for path, blob in rows}
    expected = state_tree.flatten(like)
    leaves = stored
    if get_meta(run, "asked") is not None:  # Version 0.1 wrote it.
        leaves = {path: expected[path] for path in legacy.RENEWED if path in expected}
        leaves |= legacy.state_leaves(run.config.controller, stored)
    missing = sorted(expected.keys() - leaves.keys())
    if missing:
        raise UserError(
            f"Run '{run.folder}' is of a version whose controller kept no '{missing[0].strip('/')}'; "
            "`nas show` shows it, but it cannot go on. Start a new one."
        )
    for path, begun in expected.items():
        stored_steps.check_leaf(str(run.folder), path, leaves[path], begun)
    return state_tree.unflatten(like, leaves)


def set_meta(run: Run, key: str, value: Any) -> None:
    """Keep a JSON value with the run, in place of an earlier one."""
    with database.transaction(run.connection):
        _write_meta(run.connection, key, value)


def _write_meta(connection: sqlite3.Connection, key: str, value: Any) -> None:
    connection.execute("insert or replace into about values (?, ?)", (key, json.dumps(value)))


_KINDS: dict[str, type] = {
    "report": list, "data": list, "components": dict, "columns_read": dict, "leaders": dict, "hparams": dict, "provenance": dict,
    "subject": dict, "test_place": dict,
}  # fmt: skip
"""What JSON each value of `set_meta` is: a damaged file may hold another."""


def get_meta(run: Run, key: str) -> Any:
    """A value that `set_meta` kept, or None."""
    row = run.connection.execute("select value from about where key = ?", (key,)).fetchone()
    try:
        value = json.loads(row[0]) if row else None
    except (ValueError, TypeError, RecursionError):
        raise UserError(f"Run '{run.folder}' keeps a '{key}' that cannot be read.") from None
    if value is not None and not isinstance(value, _KINDS.get(key, object)):
        raise UserError(f"Run '{run.folder}' keeps a '{key}' of another kind than a run does.")
    return value


def _write_state(
    connection: sqlite3.Connection, before: dict[str, Tensor], after: dict[str, Tensor], table: str = "state"
) -> None:
    for path in before.keys() - after.keys():
        connection.execute(f"delete from {table} where path = ?", (path,))
    for path, leaf in after.items():
        if before.get(path) is not leaf:
            blob = safetensors.torch.save({"_": leaf.detach().contiguous()})
            connection.execute(f"insert or replace into {table} values (?, ?)", (path, blob))
