"""What a run may use up: evaluations, simulated seconds, minutes of wall clock; how much is used up, and what remains."""

from __future__ import annotations

import math
from typing import NamedTuple

from nas.run.config import RunConfig
from nas.run.incumbent import Best
from nas.run.store import History


class Progress(NamedTuple):
    """Where a run stands after a step."""

    evaluations: int
    """Of each seed."""
    found: Best
    wall: float
    """Seconds, earlier sessions counted in."""
    cost: float
    """Simulated seconds of the seed that spent least."""


def spent(config: RunConfig, past: History) -> bool:
    """Whether a budget of the run is used up."""
    return (
        (config.evals is not None and past.score.shape[1] >= config.evals)
        or (config.simulated_seconds is not None and bool((past.cost.double().sum(1) > config.simulated_seconds).all()))
        or (config.minutes is not None and past.wall >= 60 * config.minutes)
    )


def share_spent(config: RunConfig, progress: Progress) -> float:
    """How much of the budget is used up, 0 to 1."""
    spent = zip(_budgets(config), (progress.evaluations, progress.cost, progress.wall / 60))
    return min(1.0, max(used / budget for budget, used in spent if budget is not None))


class Remaining(NamedTuple):
    """What remains of a search, at the pace it had so far."""

    seconds: float
    """Of wall clock, until its last step has ended."""
    evaluations: int
    """Of each seed, by its end."""


def remaining(config: RunConfig, progress: Progress) -> Remaining:
    """Predict the end of a search: the first of its budgets that runs out, with the step in which it does."""
    done, pace = progress.evaluations, max(progress.wall, 1e-9) / progress.evaluations
    costs = zip(_budgets(config), (1.0, progress.cost / done, pace / 60))
    ends = [budget / cost for budget, cost in costs if budget is not None and cost > 0]
    steps = math.ceil(max(0.0, min(ends, default=done) - done) / config.batch - 1e-6)
    last = done + steps * config.batch
    last = last if config.evals is None else min(last, config.evals)
    return Remaining((last - done) * pace, last)


def _budgets(config: RunConfig) -> tuple[float | None, float | None, float | None]:
    return config.evals, config.simulated_seconds, config.minutes
