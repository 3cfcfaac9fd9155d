"""What a run may use up: evaluations, simulated seconds, minutes of wall clock; how much is used up, and what remains.

The last evaluations of a run that trains tell its leaders apart (`nas.run.leaders`): the search ends so early that they fit in.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

from nas.run.config import LEADERS_SHARE, RunConfig, leader_trainings
from nas.run.incumbent import Best
from nas.run.step_log import History
from nas.text import evaluations_text
from search_spaces import UserError

_NAMES = ("evals", "simulated_seconds", "minutes")

_MOST_LEADERS = 8
"""Where the run does not say how many. The gain is flat from 4 to 8 (`docs/your_data.md`), and more would not fit under the
share of small budgets."""

_MOST_FOR_THE_END = 0.8
"""The largest share of `minutes` that is kept for what follows the search: a final training that takes longer takes it. A search
of pipelines plans up to three quarters for it (`nas.run.stages`), and measures a little more or less."""
_ROUNDING = 1e-9
"""Sums of seconds: a step that ends with the last minute is in time."""


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
    """Whether the search has used up a budget of the run, less what the leaders will take."""
    used = _used(past)
    evaluations, simulated, minutes = _for_search(config, *used)
    return (
        (evaluations is not None and used[0] >= evaluations)
        or (simulated is not None and used[1] > simulated)
        or (minutes is not None and _next_step_ends(config, *used) > 60 * minutes * (1 + _ROUNDING))
    )


def next_step(config: RunConfig, progress: Progress | None) -> int:
    """`next_batch` of a search that stands there; None: at its beginning."""
    used = (0, 0.0, 0.0) if progress is None else (progress.evaluations, progress.cost, progress.wall)
    evaluations = _for_search(config, *used)[0]
    return config.batch if evaluations is None else min(config.batch, int(evaluations) - used[0])


def search_seconds(config: RunConfig) -> float:
    """Of `minutes`, what the search and its leaders may take, in seconds of wall clock; infinite without such a budget."""
    if config.minutes is None:
        return math.inf
    return 60 * config.minutes - min(config.ending_seconds, _MOST_FOR_THE_END * 60 * config.minutes)


def _next_step_ends(config: RunConfig, evaluations: int, _simulated: float, wall: float) -> float:
    """Seconds of wall clock when the next step will have ended, at the pace so far; the first step always begins."""
    return wall + config.batch * wall / evaluations if evaluations else 0.0


def next_batch(config: RunConfig, past: History) -> int:
    """Evaluations of each seed in the next step of a search whose budget is not spent."""
    evaluations = _for_search(config, *_used(past))[0]
    return config.batch if evaluations is None else min(config.batch, int(evaluations) - past.score.shape[1])


def extended(config: RunConfig, past: History, given: dict[str, float]) -> RunConfig:
    """The configuration with the budgets `given`, counted from the run's start, in place of its own.

    A budget that is not given stays, unless it is used up: it would end the run again at once. Raises `UserError` for a given
    one that is used up.
    """
    kept = {name: getattr(config, name) for name in _NAMES if name not in given}
    kept = {
        name: value for name, value in kept.items() if value is not None and not _used_up(config, name, value, past)
    }
    for name, value in given.items():
        if _used_up(config, name, value, past):
            raise UserError(
                f"--{name.replace('_', '-')} is {value:g}, all sessions together, and the run has used that up "
                f"({past.score.shape[1]} evaluations, {past.wall / 60:.1f} minutes); it takes more."
            )
    return replace(config, **(dict.fromkeys(_NAMES) | kept | given))


def _used_up(config: RunConfig, name: str, value: float, past: History) -> bool:
    return spent(replace(config, **(dict.fromkeys(_NAMES) | {name: value})), past)


def share_spent(config: RunConfig, progress: Progress) -> float:
    """How much of the search's budget is used up, 0 to 1."""
    used = progress.evaluations, progress.cost, progress.wall
    spent = zip(_for_search(config, *used), (used[0], used[1], used[2] / 60))
    return min(1.0, max(part / budget for budget, part in spent if budget is not None))


class Remaining(NamedTuple):
    """What remains of a search, at the pace it had so far."""

    seconds: float
    """Of wall clock, until its last step has ended."""
    evaluations: int
    """Of each seed, by its end."""


def remaining(config: RunConfig, progress: Progress) -> Remaining:
    """Predict the end of a search: the first of its budgets that runs out, with the step in which it does."""
    done, pace = progress.evaluations, max(progress.wall, 1e-9) / progress.evaluations
    evaluations, simulated, minutes = _for_search(config, done, progress.cost, progress.wall)
    ends = [math.inf if evaluations is None else evaluations - done]
    if simulated is not None and progress.cost > 0:
        ends += [simulated * done / progress.cost - done]
    steps = math.ceil(max(0.0, min(ends)) / config.batch - 1e-6) if min(ends) < math.inf else math.inf
    if minutes is not None:  # A step begins only if it is expected to end in time.
        steps = min(steps, math.floor(max(0.0, 60 * minutes / pace - done) / config.batch + 1e-6))
    last = done + int(steps if steps < math.inf else 0) * config.batch
    last = last if evaluations is None else min(last, int(evaluations))
    return Remaining((last - done) * pace, last)


def leaders(config: RunConfig, evaluations: int, simulated: float, wall: float) -> int:
    """How many leaders the last evaluations tell apart; 0: none, the first of the best is handed out.

    Their trainings are at most a share of the evaluations that the whole budget pays for, at the pace so far.

    Args:
        evaluations: of each seed so far; simulated, wall: seconds that they took.
    """
    paces = (simulated / evaluations, wall / evaluations / 60) if evaluations else (0.0, 0.0)
    budgets = (config.evals, 1.0), (config.simulated_seconds, paces[0]), (_search_minutes(config), paces[1])
    pays_for = min((budget / pace for budget, pace in budgets if budget is not None and pace > 0), default=0.0)
    return leaders_within(config, pays_for)


def leaders_within(config: RunConfig, evaluations: float) -> int:
    """How many leaders a budget of so many evaluations in all tells apart; 0: none."""
    count = _MOST_LEADERS if config.leaders is None else config.leaders
    while leader_trainings(count) > LEADERS_SHARE * evaluations:
        count = (count + 1) // 2
    return count if count > 1 else 0


def leaders_of(config: RunConfig, past: History) -> int:
    """`leaders` after the steps so far."""
    return leaders(config, *_used(past))


def _used(past: History) -> tuple[int, float, float]:
    """Evaluations of each seed, simulated seconds of the one that spent least, seconds of wall clock."""
    return past.score.shape[1], past.cost.double().sum(1).min().item(), past.wall


def _for_search(
    config: RunConfig, evaluations: int, simulated: float, wall: float
) -> tuple[float | None, float | None, float | None]:
    """Evaluations, simulated seconds and minutes that are the search's own: the leaders' trainings take what others took."""
    trainings = leader_trainings(leaders(config, evaluations, simulated, wall))
    share = 1.0 if evaluations == 0 else evaluations / (evaluations + trainings)
    minutes = _search_minutes(config)
    return (
        None if config.evals is None else config.evals - trainings,
        None if config.simulated_seconds is None else config.simulated_seconds * share,
        None if minutes is None else minutes * share,
    )


def _search_minutes(config: RunConfig) -> float | None:
    return None if config.minutes is None else search_seconds(config) / 60


def search_evaluations(config: RunConfig) -> int | None:
    """Evaluations of each seed that the search has, without those that tell its leaders apart; None: they are not bounded."""
    return None if config.evals is None else config.evals - leader_trainings(leaders_within(config, config.evals))


def text(config: RunConfig) -> str:
    """The budget in words."""
    trainings = leader_trainings(leaders_within(config, config.evals)) if config.evals else 0
    parts = [evaluations_text(config.evals - trainings, trainings) if config.evals else ""]
    parts += [f"{config.simulated_seconds:g} simulated seconds" if config.simulated_seconds else ""]
    parts += [f"{config.minutes:g} minute{'s' * (config.minutes != 1)}" if config.minutes else ""]
    return " or ".join(filter(None, parts)) + (f", {config.seeds} seeds" if config.seeds > 1 else "")
