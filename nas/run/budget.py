"""What a run may use up: evaluations, simulated seconds, minutes of this machine; how much it has, and what is left."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from nas.run.incumbent import Best
from nas.run.store import History


class Progress(NamedTuple):
    """Where a run stands after a step."""

    evaluations: int
    """Of each seed."""
    found: Best
    wall: float
    """Seconds, earlier sittings counted in."""
    cost: float
    """Simulated seconds of the seed that spent least."""


def spent(asked: dict[str, Any], past: History) -> bool:
    """Whether the evaluations, simulated seconds or minutes of wall clock asked for are used up."""
    return (
        (asked["evals"] is not None and past.score.shape[1] >= asked["evals"])
        or (asked["seconds"] is not None and bool((past.cost.double().sum(1) > asked["seconds"]).all()))
        or (asked["minutes"] is not None and past.wall >= 60 * asked["minutes"])
    )


def share_spent(asked: dict[str, Any], progress: Progress) -> float:
    """How much of the budget is used up, 0 to 1."""
    spent = {"evals": progress.evaluations, "seconds": progress.cost, "minutes": progress.wall / 60}
    return min(1.0, max(spent[key] / asked[key] for key in spent if asked[key] is not None))


class Left(NamedTuple):
    """What is left of a search, at the pace it had so far."""

    seconds: float
    """Of wall clock, until its last step has ended."""
    evaluations: int
    """Of each seed, by its end."""


def left(asked: dict[str, Any], progress: Progress) -> Left:
    """Predict the end of a search: the first of its budgets that runs out, with the step in which it does."""
    done, pace = progress.evaluations, max(progress.wall, 1e-9) / progress.evaluations
    each = {"evals": 1.0, "seconds": progress.cost / done, "minutes": pace / 60}
    ends = [asked[key] / cost for key, cost in each.items() if asked[key] is not None and cost > 0]
    steps = math.ceil(max(0.0, min(ends, default=done) - done) / asked["batch"] - 1e-6)
    last = done + steps * asked["batch"]
    last = last if asked["evals"] is None else min(last, asked["evals"])
    return Left((last - done) * pace, last)
