"""All that a run trained as accuracy against size: the points, and which of them no other one dominates.

Shapes: `N` points, `A` aims, `E` evaluations, `D` decisions.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from controller import penalty
from nas.export import latency_model
from nas.run import choice, names, step_log, store, subject, verified
from nas.run.choice import Leader
from nas.run.step_log import History
from nas.run.store import Run
from nas.run.stored_space import StoredSpace
from search_spaces import Space, Task, UserError, representatives
from search_spaces._network_costs import answer_cost

SIZES = "sizes"
"""Kept with a run of a space that is not ours: parameters and FLOPs of each architecture, as its description names it."""


class Point(NamedTuple):
    """A function that was evaluated, and what its final network costs."""

    arch: str
    """The one that is trained for all that compute it; of a table the first that was proposed."""
    score: float
    """The run's score without penalties; where it was trained with several seeds, their mean."""
    trainings: int
    """How many seeds `score` is the mean of."""
    epochs: int | None
    """After which `score` was measured; None: the task's own."""
    parameters: int
    """Of the final network; where nothing is trained, of the table's own."""
    flops: int
    """Multiply-accumulates of an answer to one image: twice the network's where its mirror image is looked at too."""
    latency_ms: float | None
    """Milliseconds of one image; None where nothing is known."""
    measured: bool
    """Whether the latency was measured, not predicted."""
    on_front: bool
    """Whether no other point is at least as good in score, parameters and latency, and better in one."""


def points(run: Run) -> list[Point]:
    """The points of a run, the fewest parameters first. Raises `UserError` where a space that is not ours would have to run.

    An architecture that was trained for several lengths counts by the longest. A shorter training understates what it can do.
    """
    past, about = step_log.history(run), subject.read(run)
    if not past.steps:
        return []
    kept = about.final_space or about.space
    space = subject.shown_space(run, kept)
    functions_SED = representatives(space, past.archs)
    found = _longest(past, functions_SED)
    if not found:
        return []
    archs = torch.stack([past.archs[at] for at in found])
    parameters, flops = _sizes(run, kept, space, archs, about.task)
    measured = verified.latencies(run)
    predicted = _predicted(run, kept, space, archs, about.task)
    leaders = _leaders(run, past, functions_SED)
    scores_SE = _scores(run, past, about.task)
    rows = []
    for at, arch, size, work in zip(found, archs, parameters, flops):
        leader, own = leaders.get(tuple(functions_SED[at].tolist())), scores_SE[at].item()
        if leader is not None:  # Its scores have the penalty of the search's.
            own += leader.mean - past.score[at].item()
        trainings = 1 if leader is None else len(leader.scores)
        epochs = None if past.epochs is None else int(past.epochs[at])
        name = space.describe(arch)  # As it was proposed.
        took = measured.get(name, predicted.get(name))
        rows.append(
            Point(names.of(about, space, arch).arch, own, trainings, epochs, size, work, took, name in measured, False)
        )
    # A latency that is not known may be any: it is worse than those that are, and no better than others that are not.
    costs = [[row.parameters, math.inf if row.latency_ms is None else row.latency_ms] for row in rows]
    best = non_dominated([row.score for row in rows], costs)
    rows = [row._replace(on_front=on) for row, on in zip(rows, best)]
    return sorted(rows, key=lambda row: (row.parameters, -row.score))


def find(points: list[Point], space: Space, arch: Tensor) -> Point | None:
    """The point of the function that `arch` `[D]` computes; None where it was not evaluated."""
    wanted = representatives(space, arch)
    return next((p for p in points if torch.equal(representatives(space, space.parse(p.arch)), wanted)), None)


def non_dominated(scores: list[float], costs: list[list[float]]) -> list[bool]:
    """Which points no other one dominates: at least as high a score, no cost higher, and one of them strictly better.

    Args:
        scores: of `N` points, higher is better.
        costs: of each point, lower is better.
    """
    score_N, cost_NA = torch.tensor(scores, dtype=torch.float64), torch.tensor(costs, dtype=torch.float64)
    front = []
    for score, cost in zip(score_N, cost_NA):
        no_worse = (score_N >= score) & (cost_NA <= cost).all(-1)
        better = (score_N > score) | (cost_NA < cost).any(-1)
        front.append(not bool((no_worse & better).any()))
    return front


def keep_sizes(run: Run, space: Space, task: Task) -> None:
    """Keep what networks of a space that is not ours cost, for those who read the run without its code; once at its end."""
    about, past = subject.read(run), step_log.history(run)
    if (about.final_space or about.space).ours or not past.steps:
        return
    archs = past.archs.flatten(0, 1).unique(dim=0)
    try:
        parameters, flops = answer_cost(space, representatives(space, archs), task)
    except Exception:  # A space's own code may raise anything, and the run is over: it then has no front.
        return
    rows = zip(map(space.describe, archs), parameters.tolist(), flops.tolist())
    store.set_meta(run, SIZES, {name: [size, work] for name, size, work in rows})


def _longest(past: History, functions_SED: Tensor) -> list[tuple[int, int]]:
    """Seed and evaluation of each function's first among its longest successful trainings."""
    best: dict[tuple[int, ...], tuple[int, int, int]] = {}
    for s, e in (~past.candidates.isnan()).nonzero().tolist():
        key, epochs = tuple(functions_SED[s, e].tolist()), 0 if past.epochs is None else int(past.epochs[s, e])
        if key not in best or epochs > best[key][0]:
            best[key] = epochs, s, e
    return [(s, e) for _, s, e in best.values()]


def _leaders(run: Run, past: History, functions_SED: Tensor) -> dict[tuple[int, ...], Leader]:
    """By function, what was trained with several seeds, each time with success."""
    chosen = choice.choices(run, past) or []
    return {
        tuple(functions_SED[s, leader.at - 1].tolist()): leader
        for s, one in enumerate(chosen)
        for leader in one.leaders
        if len(leader.scores) > 1 and not math.isinf(leader.mean)
    }


def _scores(run: Run, past: History, task: Task) -> Tensor:
    """Scores `[S, E]` without the penalties of constraints."""
    ratio = step_log.constraint_ratio(run)
    return past.score if ratio is None else past.score + penalty(ratio, torch.tensor(task.constraints))


def _predicted(run: Run, kept: StoredSpace, space: Space, archs: Tensor, task: Task) -> dict[str, float]:
    """Milliseconds by architecture, where the run measured for a model of latencies; of a space that is not ours, none."""
    if not kept.ours or not run.config.latencies:
        return {}
    model = latency_model.fit(space, task, list(run.config.latencies.items()))
    return dict(zip(map(space.describe, archs), model.predict(space, archs, task).tolist()))


def _sizes(run: Run, kept: StoredSpace, space: Space, archs: Tensor, task: Task) -> tuple[list[int], list[int]]:
    """Parameters and FLOPs of `archs` `[N, D]`: of the network that is trained for each."""
    if kept.ours:
        parameters, flops = answer_cost(space, representatives(space, archs), task)
        return parameters.tolist(), flops.tolist()
    known: dict[str, Any] = store.get_meta(run, SIZES) or {}
    try:
        found = [[int(value) for value in known[space.describe(arch)]] for arch in archs]
        return [size for size, _ in found], [work for _, work in found]
    except (KeyError, TypeError, ValueError):
        raise UserError(
            f"Run '{run.folder}' is of space '{kept.name}', which is not ours, and keeps no sizes of its networks: "
            "they are counted when the run has ended."
        ) from None
