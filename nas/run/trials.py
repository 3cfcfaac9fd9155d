"""The evaluations of a run as rows that any SQLite reader understands: the table `trial` beside the state.

Shapes: `S` seeds, `B` architectures a step, `D` decisions.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
from torch import Tensor

from controller import Proposal, Results

SCHEMA = """
create table if not exists trial (
    seed integer not null, evaluation integer not null, step integer not null, architecture text not null,
    score real, cost real, seconds real not null, epochs integer, primary key (seed, evaluation)
);
"""


class Trial(NamedTuple):
    """One evaluation."""

    seed: int
    evaluation: int
    """Of its seed, counted from 1."""
    architecture: str
    """As the run's space describes it. In the table `trial` the proposed one, elsewhere the one that is trained for it."""
    score: float | None
    """None where the evaluation failed."""
    cost: float | None
    """Simulated seconds; of a training what it took."""
    seconds: float
    """Of wall clock: its share of its step. The shares of a seed add up to what the run took."""
    epochs: int | None
    """Epochs that it was evaluated after; None: the task's own."""
    proposed_as: str | None = None
    """What the search proposed, where another architecture that computes the same is trained for it. Not in the table."""


def rows(
    proposal: Proposal, results: Results, wall: float, first_seed: int, before: int, describe: Callable[[Tensor], str]
) -> list[Trial]:
    """The trials of one step that took `wall` seconds, after `before` evaluations of each seed."""
    S, B = proposal.archs.shape[:2]
    score, cost = results.score.tolist(), results.cost.tolist()
    epochs = None if proposal.epochs is None else proposal.epochs.tolist()
    return [
        Trial(
            first_seed + s, before + b + 1, describe(proposal.archs[s, b]), _number(score[s][b]), _number(cost[s][b]),
            wall / B, None if epochs is None else epochs[s][b],
        )
        for s in range(S)
        for b in range(B)
    ]  # fmt: skip


def _number(value: float | None) -> float | None:
    """A float32 in its fewest digits: 70.3 and not 70.30000305. A finer number stays as it is."""
    if value is None or not math.isfinite(value):
        return None
    # Beyond its range, rounding would give no number.
    narrow = np.float32(value) if abs(value) < np.finfo(np.float32).max else None
    return value if narrow is None or float(narrow) != value else float(str(narrow))


def of_steps(
    steps: Iterable[tuple[Proposal, Results, float]], first_seed: int, describe: Callable[[Tensor], str]
) -> Iterator[list[Trial]]:
    """The trials of all steps of a run, a list for each."""
    before = 0
    for proposal, results, wall in steps:
        yield rows(proposal, results, wall, first_seed, before, describe)
        before += proposal.archs.shape[1]


def count(connection: sqlite3.Connection, seed: int) -> int:
    """How many evaluations of a seed there are as rows."""
    # The primary key's index finds it at once.
    return connection.execute("select coalesce(max(evaluation), 0) from trial where seed = ?", (seed,)).fetchone()[0]


def insert(connection: sqlite3.Connection, step: int, trials: list[Trial]) -> None:
    """Add the trials of a step; inside a transaction."""
    connection.executemany(
        "insert into trial values (?, ?, ?, ?, ?, ?, ?, ?)",
        [(t.seed, t.evaluation, step, t.architecture, t.score, t.cost, t.seconds, t.epochs) for t in trials],
    )


def replace(connection: sqlite3.Connection, steps: Iterable[list[Trial]]) -> None:
    """Write the trials of all steps in place of those that are there; inside a transaction."""
    for statement in (SCHEMA, "delete from trial"):
        connection.execute(statement)
    for step, found in enumerate(steps):
        insert(connection, step, found)


def stored(connection: sqlite3.Connection) -> list[Trial]:
    """All rows, the first seed's first. Empty for a run of a version that kept none."""
    try:
        found = connection.execute(
            "select seed, evaluation, architecture, score, cost, seconds, epochs from trial order by seed, evaluation"
        )
        rows = [Trial(*row) for row in found]
        return [row._replace(score=_number(row.score), cost=_number(row.cost)) for row in rows]
    except (sqlite3.DatabaseError, TypeError):  # SQLite keeps text where it is told of numbers.
        return []
