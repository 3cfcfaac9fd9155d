"""The last evaluations of a run that trains: its leaders, trained again with other seeds, until one is left to hand out.

The best of many noisy scores is partly luck, and several are often tied. The leaders are told apart by successive halving
(Karnin et al. 2013, "Almost optimal exploration in multi-armed bandits", algorithm 1): each round trains those that are left
with a seed of their own round, and keeps the better half by the mean of all their scores. Validation images alone choose.
Shapes: `S` searches, `E` evaluations, `D` decisions.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import torch

from nas.run import budget, choice, incumbent, noise, step_log, verified
from nas.run.choice import Choice, Leader
from nas.run.config import RunConfig
from nas.run.step_log import History
from nas.run.store import Run
from nas.types import Evaluator, HasMemory, TrainingEvaluator


def choose(run: Run, evaluator: Evaluator, begins: Callable[[], None] = lambda: None) -> None:
    """Tell the leaders of each search apart and keep the choice with the run; what was done before is not done again.

    A search whose score is looked up has no leaders: the first of its best is handed out. `begins` is called before the first
    of them is trained again, where one is.
    """
    training, past = evaluator.training, step_log.history(run)
    if training is None or not past.steps or choice.choices(run, past) is not None:
        return
    training.cache_to(run.folder)
    started = time.perf_counter()
    if isinstance(evaluator, HasMemory):
        # Scores by shared weights are on another scale than those of trainings: these cannot tell such leaders apart.
        found = _without_leaders(run, evaluator, training, past)
    else:
        found = _halve(run, evaluator, training, past, begins)
    choice.save(run, past, found, time.perf_counter() - started)


def _halve(
    run: Run, evaluator: Evaluator, training: TrainingEvaluator, past: History, begins: Callable[[], None]
) -> list[Choice]:
    config = run.config
    count, searches = max(1, budget.leaders_of(config, past)), range(len(past.score))
    orders = [_order(config, evaluator, training, past, s) for s in searches]
    if verified.bounds_of(evaluator) and not any(orders):
        return _without_leaders(run, evaluator, training, past)
    # Measured before they are trained again: the next best stands in for one that breaks a bound.
    keeping = [verified.first(run, evaluator, [past.archs[s, at] for at in orders[s]], count) for s in searches]
    left = [[orders[s][place] for place in keeping[s]] for s in searches]
    scores = [{at: [past.score[s, at].item()] for at in left[s]} for s in searches]
    repeat, started = 0, time.perf_counter()

    def in_time() -> bool:
        """As a step of the search, a round begins while there are minutes left."""
        return past.wall + time.perf_counter() - started < budget.search_seconds(config)

    while any(len(ats) > 1 for ats in left) and in_time():
        if not repeat:
            begins()
        repeat += 1
        # All searches at once: trainings that run side by side use all cores.
        places = [(s, at) for s in searches for at in left[s] if len(left[s]) > 1]
        archs = torch.stack([past.archs[s, at] for s, at in places])
        for (s, at), own, other in zip(
            places, training.retrain(archs, 0).tolist(), training.retrain(archs, repeat).tolist()
        ):
            # A score can be an accuracy less a penalty, which is the same for every training seed.
            scores[s][at].append(round(scores[s][at][0] + other - own, choice.DIGITS))
        left = [
            sorted(left[s], key=lambda at: -choice.mean(scores[s][at]))[: math.ceil(len(left[s]) / 2)] for s in searches
        ]
    return [_choice(evaluator, training, past, s, orders[s], scores[s]) for s in searches]


def _without_leaders(run: Run, evaluator: Evaluator, training: TrainingEvaluator, past: History) -> list[Choice]:
    """Where nothing was trained at full length: of each search the best of the longest that keeps the bounds."""
    found, describe = [], evaluator.space.describe
    for s in range(len(past.score)):
        order = _order(run.config, evaluator, training, past, s, full=False)
        places = verified.first(run, evaluator, [past.archs[s, at] for at in order], 1)
        leaders = [
            Leader(describe(training.equivalents(past.archs[s, at])), at + 1, [round(past.score[s, at].item(), 4)])
            for at in (order[place] for place in places)
        ]
        found.append(Choice(leaders, None))
    return found


def _order(
    config: RunConfig, evaluator: Evaluator, training: TrainingEvaluator, past: History, s: int, *, full: bool = True
) -> list[int]:
    """The evaluations of search `s` from the best down, the first of each function; of ties the earlier.

    Args:
        full: those at full length alone; else those of the longest length that there is, then the shorter ones.
    """
    allowed = incumbent.within(past.cost, config.simulated_seconds)
    longest = evaluator.task.fidelities[-1:]
    if full and past.epochs is not None and longest:
        allowed = allowed & (past.epochs == longest[0])
    counts = incumbent.comparable(past.candidates, allowed)[s] if full else (allowed & ~past.candidates.isnan())[s]
    epochs = torch.zeros_like(past.score) if past.epochs is None else past.epochs
    places = sorted(
        counts.nonzero()[:, 0].tolist(), key=lambda at: (-int(epochs[s, at]) * (not full), -past.score[s, at].item())
    )
    functions = training.equivalents(past.archs[s]).tolist()
    first: dict[tuple[int, ...], int] = {}
    for at in places:
        first.setdefault(tuple(functions[at]), at)
    return list(first.values())


def _choice(
    evaluator: Evaluator,
    training: TrainingEvaluator,
    past: History,
    s: int,
    order: list[int],
    scores: dict[int, list[float]],
) -> Choice:
    """The leaders of search `s` from the one chosen down: those that stayed longer first."""
    if not order:
        return Choice([], None)
    ranked = sorted(scores, key=lambda at: (-len(scores[at]), -choice.mean(scores[at])))
    describe = evaluator.space.describe
    leaders = [
        Leader(
            describe(training.equivalents(past.archs[s, at])),
            at + 1,
            [None if math.isnan(x) else round(x, 4) for x in scores[at]],
        )
        for at in ranked
    ]
    accuracy = training.retrain(past.archs[s, order[:1]], 0).item()
    found = noise.estimate(
        [past.score[s, at].item() for at in order], accuracy, training.validation_images, list(scores.values())
    )
    return Choice(leaders, found)
