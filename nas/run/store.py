"""A run on disk: its configuration, every step, and the controller's state after it.

`run.sqlite` takes each step in one transaction, so that a run killed at any instant goes on exactly where it was.
Shapes: `S` seeds, `B` architectures a step, `E` evaluations of a seed so far, `D` decisions.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
import torch
from torch import Tensor

from controller import Proposal, Results, State, Step
from controller.models import legacy
from nas.run import state_tree
from nas.run.config import RunConfig
from search_spaces import UserError, unknown

FORMAT = "nas-run/1"
FILE = "run.sqlite"

_SCHEMA = """
create table about (key text primary key, value text not null);
create table step (number integer primary key, wall real not null, data blob not null);
create table state (path text primary key, data blob not null);
"""


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

    @property
    def name(self) -> str:
        return self.folder.name

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()


def create(folder: Path, config: RunConfig, state: State) -> Run:
    """A new run that holds `config` and the state before its first step. Raises `UserError` if the folder is taken."""
    if folder.exists() and any(folder.iterdir() if folder.is_dir() else [folder]):
        raise UserError(f"Run '{folder}' exists already; `nas resume {folder}` goes on with it, --name takes another.")
    folder.mkdir(parents=True, exist_ok=True)
    connection = _connect(folder / FILE)
    with _closed_if_it_fails(connection), _transaction(connection):
        for statement in filter(str.strip, _SCHEMA.split(";")):
            connection.execute(statement)
        about = {"format": FORMAT, "config": config.to_json(), "created": repr(time.time())}
        connection.executemany("insert into about values (?, ?)", about.items())
        _write_state(connection, {}, state_tree.flatten(state))
    return Run(folder, config, connection)


def open_run(folder: Path) -> Run:
    """The run in a folder. Raises `UserError` where there is none, or one of another version."""
    if not (folder / FILE).is_file():
        there_are = [f.name for f in runs_in(folder.parent)]
        raise (
            unknown("run", str(folder), there_are)
            if there_are
            else UserError(f"There is no run in '{folder}'; `nas search` makes one.")
        )
    connection = _connect(folder / FILE)
    with _closed_if_it_fails(connection):
        return Run(folder, _config(folder, connection), connection)


def _config(folder: Path, connection: sqlite3.Connection) -> RunConfig:
    try:
        about = dict(connection.execute("select key, value from about"))
    except sqlite3.DatabaseError:
        raise UserError(
            f"'{folder / FILE}' is not a run, or not a whole one; start a new one under another name."
        ) from None
    if about.get("format") != FORMAT:
        raise UserError(f"Run '{folder}' has format '{about.get('format')}'; this version reads '{FORMAT}'.")
    return RunConfig.from_json(about["config"] if "config" in about else about["asked"])  # 0.1 wrote `asked`.


def runs_in(root: Path) -> list[Path]:
    """The folders under `root` that hold a run, by name."""
    return sorted(f.parent for f in root.glob(f"*/{FILE}"))


def append(run: Run, number: int, step: Step, before: State, wall: float) -> None:
    """Store a step and the state after it, all or nothing.

    Args:
        number: how many steps came before; a second process that goes on with the same run is refused by it.
        before: the state before the step; what did not change since is not written again.
        wall: seconds that the step took.
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
    with _transaction(run.connection):
        blob = safetensors.torch.save({k: v.contiguous() for k, v in data.items()})
        run.connection.execute("insert into step values (?, ?, ?)", (number, wall, blob))
        _write_state(run.connection, state_tree.flatten(before), state_tree.flatten(step.state))


def steps(run: Run) -> Iterator[tuple[Proposal, Results, float]]:
    """Every step stored, in order, with the seconds it took."""
    for wall, blob in run.connection.execute("select wall, data from step order by number"):
        data = safetensors.torch.load(blob)
        yield (
            Proposal(data["archs"].long(), data.get("epochs")),
            Results(data["score"], data["cost"], data.get("constraint_ratio", data.get("over"))),  # 0.1 wrote `over`.
            wall,
        )


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
    stored = {path: safetensors.torch.load(blob)["_"] for path, blob in run.connection.execute("select * from state")}
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
    return state_tree.unflatten(like, leaves)


def set_meta(run: Run, key: str, value: Any) -> None:
    """Keep a JSON value with the run, in place of an earlier one."""
    with _transaction(run.connection):
        run.connection.execute("insert or replace into about values (?, ?)", (key, json.dumps(value)))


def get_meta(run: Run, key: str) -> Any:
    """A value that `set_meta` kept, or None."""
    row = run.connection.execute("select value from about where key = ?", (key,)).fetchone()
    return json.loads(row[0]) if row else None


def _write_state(connection: sqlite3.Connection, before: dict[str, Tensor], after: dict[str, Tensor]) -> None:
    for path in before.keys() - after.keys():
        connection.execute("delete from state where path = ?", (path,))
    for path, leaf in after.items():
        if before.get(path) is not leaf:
            blob = safetensors.torch.save({"_": leaf.detach().contiguous()})
            connection.execute("insert or replace into state values (?, ?)", (path, blob))


def _connect(path: Path) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(path, isolation_level=None, timeout=10)
        with _closed_if_it_fails(connection):
            connection.execute("pragma journal_mode = wal")
            connection.execute("pragma synchronous = normal")
    except sqlite3.Error as error:
        raise UserError(
            f"Cannot open '{path}': {error}; it takes a run's file in a folder that can be written."
        ) from None
    return connection


@contextmanager
def _closed_if_it_fails(connection: sqlite3.Connection) -> Iterator[None]:
    try:
        yield
    except BaseException:
        connection.close()
        raise


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    try:
        connection.execute("begin immediate")
        yield
        connection.execute("commit")
    except sqlite3.Error as error:
        if connection.in_transaction:
            connection.execute("rollback")
        raise UserError(
            f"Cannot write the run: {error}. What was stored before is whole; `nas resume` goes on."
        ) from None
    except BaseException:
        if connection.in_transaction:
            connection.execute("rollback")
        raise
