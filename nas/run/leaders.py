"""The last evaluations of a run that trains: its leaders, trained again with other seeds, until one is left to hand out.

The best of many noisy scores is partly luck, and several are often tied. The leaders are told apart by successive halving
(Karnin et al. 2013, "Almost optimal exploration in multi-armed bandits", algorithm 1): each round trains those that are left
with a seed of their own round, and keeps the better half by the mean of all their scores. Validation images alone choose.
Shapes: `S` searches, `E` evaluations, `D` decisions.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from typing import Any, NamedTuple

import torch

from nas.run import budget, incumbent, noise, store
from nas.run.config import RunConfig
from nas.run.incumbent import Best
from nas.run.noise import Noise
from nas.run.store import History, Run
from nas.types import Evaluator, TrainingEvaluator

_DIGITS = 6
"""Of means of scores: ties must not be broken by rounding errors of float64."""
KEY = "leaders"
"""What a run keeps of the choice: `Choice` as JSON."""


class Leader(NamedTuple):
    """One of the architectures that were told apart."""

    arch: str
    at: int
    """The evaluation that scored it first, counted from 1."""
    scores: list[float | None]
    """Of the search, then of each other training seed; None where a training failed."""

    @property
    def mean(self) -> float:
        """Over its trainings; below all others where one of them failed."""
        return _mean(self.scores)


class Choice(NamedTuple):
    """What one search hands out, and why."""

    leaders: list[Leader]
    """The one that is handed out comes first."""
    noise: Noise | None
    """Of its scores; None where none succeeded."""

    def to_json(self) -> dict[str, Any]:
        """Its JSON document, as the run keeps it."""
        return {"leaders": [leader._asdict() for leader in self.leaders], "noise": self.noise and self.noise._asdict()}


def choose(run: Run, evaluator: Evaluator) -> None:
    """Tell the leaders of each search apart and keep the choice with the run; what was done before is not done again.

    A search whose score is looked up has no leaders: the first of its best is handed out.
    """
    training, past = evaluator.training, store.history(run)
    if training is None or not past.steps or choices(run, past) is not None:
        return
    training.cache_to(run.folder)
    started = time.perf_counter()
    found = _halve(run.config, evaluator, training, past)
    seconds = time.perf_counter() - started
    searches = [choice.to_json() for choice in found]
    store.set_meta(run, KEY, {"evaluations": past.score.shape[1], "wall": seconds, "searches": searches})


def wall(run: Run, past: History) -> float:
    """Seconds of wall clock that telling the leaders apart took; 0 before it is done."""
    document = _document(run, past)
    return 0.0 if document is None else document["wall"]


def trainings(run: Run, past: History) -> int:
    """How many trainings of each search told its leaders apart, at most; 0 before it is done."""
    return max((sum(len(leader.scores) - 1 for leader in c.leaders) for c in choices(run, past) or []), default=0)


def row_mean(row: dict[str, Any]) -> float:
    """The mean score of a row of a run's summary over the trainings of its leader; its score where there was one training."""
    return _mean(row["leaders"][0]["scores"]) if row.get("leaders") else row["score"]


def choices(run: Run, past: History) -> list[Choice] | None:
    """The choice of each search, once it is made for the evaluations that there are; else None."""
    document = _document(run, past)
    if document is None:
        return None
    return [
        Choice([Leader(**leader) for leader in search["leaders"]], search["noise"] and Noise(**search["noise"]))
        for search in document["searches"]
    ]


def _document(run: Run, past: History) -> dict[str, Any] | None:
    document = store.get_meta(run, KEY)
    # A run that was given more evaluations chooses anew.
    return None if document is None or document["evaluations"] != past.score.shape[1] else document


def handed_out(run: Run, past: History, found: Best) -> Best:
    """What each search hands out: the leader that was chosen, else the best `found`. `score` is that of the search."""
    chosen = choices(run, past)
    if chosen is None:
        return found
    at = torch.tensor([c.leaders[0].at if c.leaders else int(first) for c, first in zip(chosen, found.at)])
    rows = torch.arange(len(at))
    return found._replace(archs=past.archs[rows, at - 1], score=past.score[rows, at - 1], at=at)


def top(run: Run, past: History, found: Best) -> int:
    """The search whose leader has the best mean of its scores; without leaders, whose best is the best."""
    chosen = choices(run, past)
    if chosen is not None:
        means = [c.leaders[0].mean if c.leaders else math.nan for c in chosen]
        found = found._replace(score=torch.tensor(means, dtype=torch.float64))
    return incumbent.top(found)


def _halve(config: RunConfig, evaluator: Evaluator, training: TrainingEvaluator, past: History) -> list[Choice]:
    count, searches = max(1, budget.leaders_of(config, past)), range(len(past.score))
    orders = [_order(config, evaluator, training, past, s) for s in searches]
    scores = [{at: [past.score[s, at].item()] for at in orders[s][:count]} for s in searches]
    left = [orders[s][:count] for s in searches]
    repeat, started = 0, time.perf_counter()

    def in_time() -> bool:
        """As a step of the search, a round begins while there are minutes left."""
        return config.minutes is None or past.wall + time.perf_counter() - started < 60 * config.minutes

    while any(len(ats) > 1 for ats in left) and in_time():
        repeat += 1
        # All searches at once: trainings that run side by side use all cores.
        places = [(s, at) for s in searches for at in left[s] if len(left[s]) > 1]
        archs = torch.stack([past.archs[s, at] for s, at in places])
        for (s, at), own, other in zip(
            places, training.retrain(archs, 0).tolist(), training.retrain(archs, repeat).tolist()
        ):
            # A score can be an accuracy less a penalty, which is the same for every training seed.
            scores[s][at].append(round(scores[s][at][0] + other - own, _DIGITS))
        left = [sorted(left[s], key=lambda at: -_mean(scores[s][at]))[: math.ceil(len(left[s]) / 2)] for s in searches]
    return [_choice(evaluator, training, past, s, orders[s], scores[s]) for s in searches]


def _order(config: RunConfig, evaluator: Evaluator, training: TrainingEvaluator, past: History, s: int) -> list[int]:
    """The evaluations of search `s` at full length from the best down, the first of each function; of ties the earlier."""
    allowed = incumbent.within(past.cost, config.simulated_seconds)
    full = evaluator.task.fidelities[-1:]
    if past.epochs is not None and full:
        allowed = allowed & (past.epochs == full[0])
    counts, functions = incumbent.comparable(past.score, allowed)[s], training.equivalents(past.archs[s]).tolist()
    places = sorted(counts.nonzero()[:, 0].tolist(), key=lambda at: -past.score[s, at].item())
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
    ranked = sorted(scores, key=lambda at: (-len(scores[at]), -_mean(scores[at])))
    describe = evaluator.space.describe
    leaders = [
        Leader(describe(past.archs[s, at]), at + 1, [None if math.isnan(x) else round(x, 4) for x in scores[at]])
        for at in ranked
    ]
    accuracy = training.retrain(past.archs[s, order[:1]], 0).item()
    found = noise.estimate(
        [past.score[s, at].item() for at in order], accuracy, training.validation_images, list(scores.values())
    )
    return Choice(leaders, found)


def _mean(scores: Iterable[float | None]) -> float:
    """The mean of all scores of a leader; below all others where one of its trainings failed."""
    known = [math.nan if score is None else score for score in scores]
    average = sum(known) / len(known)
    return -math.inf if math.isnan(average) else round(average, _DIGITS)
