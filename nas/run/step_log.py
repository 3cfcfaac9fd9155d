"""The steps of a run on disk, and the controller's state after the last: stored all or nothing, read back, the last one undone.

Shapes: `S` seeds, `B` architectures a step, `E` evaluations of a seed so far, `D` decisions, `L` constraints.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from controller import Proposal, Results, State, Step
from controller.models import legacy
from nas.run import database, state_tree, store, stored, trials
from nas.run.store import Run
from nas.types import Memory
from search_spaces import UserError


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
    provisional: Tensor | None = None
    """bool `[S, E]` of `Results`; None: none is."""
    objectives: Tensor | None = None
    """float32 `[S, E, A]` as `Results.objectives`; None where the score is the only one."""

    @property
    def candidates(self) -> Tensor:
        """The scores `[S, E]` that an architecture may be chosen by; NaN for the others.

        A search that has no such score yet has those that it has.
        """
        if self.provisional is None:
            return self.score
        final = self.score.masked_fill(self.provisional, torch.nan)
        return torch.where(final.isnan().all(1, keepdim=True), self.score, final)


def append(
    run: Run,
    number: int,
    step: Step,
    before: State,
    wall: float,
    describe: Callable[[Tensor], str],
    *,
    memory_before: Memory = None,
    cut: bool = False,
    meta: dict[str, Any] | None = None,
) -> None:
    """Store a step, its evaluations as rows and the state after it, all or nothing.

    Args:
        number: how many steps came before.
        before: the state before the step; what did not change since is not written again.
        wall: seconds that the step took.
        describe: names an architecture `[D]`.
        memory_before: the evaluator's, before the step.
        cut: whether the budget's end cut the step short; `undo_cut` takes it back when the run gets more.
        meta: what `store.get_meta` gives from now on, in place of earlier values.
    """
    first = run.config.first_seed
    rows = trials.rows(step.proposal, step.results, wall, first, trials.count(run.connection, first), describe)
    with database.transaction(run.connection):
        blob = stored.packed(step.proposal, step.results)
        run.connection.execute("insert into step values (?, ?, ?)", (number, wall, blob))
        trials.insert(run.connection, number, rows)
        if cut:
            run.connection.execute(
                "create table if not exists state_before_cut (path text primary key, data blob not null)"
            )
            stored.write_state(run.connection, {}, state_tree.leaves(before, memory_before), "state_before_cut")
        stored.write_state(
            run.connection, state_tree.leaves(before, memory_before), state_tree.leaves(step.state, step.memory)
        )
        for key, value in (meta or {}).items():
            store.write_meta(run.connection, key, value)


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


def steps(run: Run) -> Iterator[tuple[Proposal, Results, float]]:
    """Every step stored, in order, with the seconds it took. Raises `UserError` for one that is not what `append` writes."""
    try:
        rows = run.connection.execute("select number, wall, data from step order by number").fetchall()
    except sqlite3.DatabaseError as error:
        raise UserError(f"The steps of run '{run.folder}' cannot be read: {error}.") from None
    found = [stored.step(str(run.folder), number, wall, blob, run.config.seeds) for number, wall, blob in rows]
    stored.check_together(str(run.folder), found, [number for number, _, _ in rows])
    yield from found


def history(run: Run) -> History:
    """All evaluations so far. A run without a step has `E` = 0."""
    found = list(steps(run))
    S = run.config.seeds
    if not found:
        return History(torch.zeros(S, 0, 1, dtype=torch.long), torch.zeros(S, 0), torch.zeros(S, 0), 0.0, 0)
    return History(
        torch.cat([p.archs for p, _, _ in found], 1),
        torch.cat([r.score for _, r, _ in found], 1),
        torch.cat([r.cost for _, r, _ in found], 1),
        sum(wall for _, _, wall in found),
        len(found),
        None if any(p.epochs is None for p, _, _ in found) else torch.cat([p.epochs for p, _, _ in found], 1),  # pyright: ignore
        together([r.provisional for _, r, _ in found], [r.score for _, r, _ in found]),
        _joined([r.objectives for _, r, _ in found]),
    )


def together(provisional: list[Tensor | None], score: list[Tensor]) -> Tensor | None:
    """Which evaluations of several steps are provisional, `[S, E]`; None where none is."""
    if all(each is None for each in provisional):
        return None
    known = [torch.zeros_like(s, dtype=torch.bool) if p is None else p for p, s in zip(provisional, score)]
    return torch.cat(known, 1)


def constraint_ratio(run: Run) -> Tensor | None:
    """Each constrained value over its bound, for all evaluations so far, float32 `[S, E, L]`; None for tasks without."""
    return _joined([results.constraint_ratio for _, results, _ in steps(run)])


def _joined(parts: list[Tensor | None]) -> Tensor | None:
    """Of all steps; None where one of them has none."""
    known = [x for x in parts if x is not None]
    return torch.cat(known, 1) if known and len(known) == len(parts) else None


def state(run: Run, like: State) -> State:
    """The state after the last step, in the structure of `like`: what the controller's `begin` gives.

    Raises `UserError` where a version whose controller kept less started the run.
    """
    found = {path: leaf for path, leaf in _stored(run).items() if not path.startswith(state_tree.MEMORY)}
    expected = state_tree.flatten(like)
    leaves = found
    if store.get_meta(run, "asked") is not None:  # Version 0.1 wrote it.
        leaves = {path: expected[path] for path in legacy.RENEWED if path in expected}
        leaves |= legacy.state_leaves(run.config.controller, found)
    for path in legacy.ADDED_LEAVES.get(run.config.controller, ()):
        if path in expected:  # Not of a search with several objectives, whose controller is inside another.
            leaves.setdefault(path, expected[path])
    for path in state_tree.optional(like) - leaves.keys():  # `unflatten` leaves None there.
        del expected[path]
    missing = sorted(expected.keys() - leaves.keys())
    if missing:
        raise UserError(
            f"Run '{run.folder}' is of a version whose controller kept no '{missing[0].strip('/')}'; "
            "`nas show` shows it, but it cannot go on. Start a new one."
        )
    for path, begun in expected.items():
        stored.check_leaf(str(run.folder), path, leaves[path], begun)
    return state_tree.unflatten(like, leaves)


def memory(run: Run, like: Memory) -> Memory:
    """The evaluator's memory after the last step, in the structure of `like`: what its `begin` gives; None for None.

    Raises `UserError` where the run holds another one.
    """
    if like is None:
        return None
    leaves = {path: leaf for path, leaf in _stored(run).items() if path.startswith(state_tree.MEMORY)}
    expected = state_tree.flatten(like, state_tree.MEMORY)
    if leaves.keys() != expected.keys():
        raise UserError(
            f"Run '{run.folder}' holds no memory of its evaluator, or another's; `nas show` shows it, but it cannot go on. "
            "Start a new one."
        )
    for path, begun in expected.items():
        stored.check_leaf(str(run.folder), path, leaves[path], begun)
    return state_tree.unflatten(like, leaves, state_tree.MEMORY)


def _stored(run: Run) -> dict[str, Tensor]:
    rows = run.connection.execute("select path, data from state").fetchall()
    return {path: stored.leaf(str(run.folder), path, blob) for path, blob in rows}
