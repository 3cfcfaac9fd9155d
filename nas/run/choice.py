"""What a run that trains hands out, and why: the choice among the leaders of each search, kept with the run.

`nas.run.leaders` makes it; this file reads it, shows it, and needs no evaluator.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import torch

from nas.run import incumbent, store
from nas.run.incumbent import Best
from nas.run.markdown import code
from nas.run.noise import Noise
from nas.run.step_log import History
from nas.run.store import Run

DIGITS = 6
"""Of means of scores: ties must not be broken by rounding errors of float64."""
_KEY = "leaders"
DIVERGED = "diverged"
"""Kept with a run: the searches whose final training diverged, counted from 0, where another is handed out."""


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
        return mean(self.scores)


class Choice(NamedTuple):
    """What one search hands out, and why."""

    leaders: list[Leader]
    """The one that is handed out comes first."""
    noise: Noise | None
    """Of its scores; None where none succeeded."""

    def to_json(self) -> dict[str, Any]:
        """Its JSON document, as the run keeps it."""
        return {"leaders": [leader._asdict() for leader in self.leaders], "noise": self.noise and self.noise._asdict()}


def save(run: Run, past: History, found: list[Choice], seconds: float) -> None:
    """Keep the choice of each search with the run, and the seconds of wall clock that it took."""
    searches = [choice.to_json() for choice in found]
    store.set_meta(run, _KEY, {"evaluations": past.score.shape[1], "wall": seconds, "searches": searches})


def wall(run: Run, past: History) -> float:
    """Seconds of wall clock that telling the leaders apart took; 0 before it is done."""
    document = _document(run, past)
    return 0.0 if document is None else document["wall"]


def trainings(run: Run, past: History) -> int:
    """How many trainings of each search told its leaders apart, at most; 0 before it is done."""
    return max((sum(len(leader.scores) - 1 for leader in c.leaders) for c in choices(run, past) or []), default=0)


def of_each(run: Run, past: History) -> list[dict[str, Any]]:
    """`leaders` and `noise` of each search, for its row of the summary; nothing before the choice is made."""
    chosen = choices(run, past)
    return [{}] * len(past.score) if chosen is None else [each.to_json() for each in chosen]


def row_mean(row: dict[str, Any]) -> float:
    """The mean score of a row of a run's summary over the trainings of its leader; its score where there was one training."""
    return mean(row["leaders"][0]["scores"]) if row.get("leaders") else row["score"]


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
    document = store.get_meta(run, _KEY)
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
    """The search whose leader has the best mean of its scores; without leaders, whose best is the best.

    None whose final training diverged, where others are known to have converged.
    """
    chosen = choices(run, past)
    if chosen is not None:
        means = [c.leaders[0].mean if c.leaders else math.nan for c in chosen]
        found = found._replace(score=torch.tensor(means, dtype=torch.float64))
    if left_out := diverged(run):
        found = found._replace(score=found.score.index_fill(0, torch.tensor(left_out), math.nan))
    return incumbent.top(found)


def diverged(run: Run) -> list[int]:
    """The searches, counted from 0, that are left out because their final training diverged."""
    return [s for s in store.get_meta(run, DIVERGED) or [] if 0 <= s < run.config.seeds]


def diverged_lines(run: Run) -> list[str]:
    """A line for each search that is left out because its final training diverged."""
    first = run.config.first_seed
    return [f"Seed {first + s} is left out: the final training of its best diverged." for s in diverged(run)]


def section(run: Run, past: History, found: Best) -> list[str]:
    """Paragraphs in Markdown on how sure the choice of the search that is handed out is, and on its leaders."""
    chosen = choices(run, past)
    if chosen is None:
        return []
    first = chosen[top(run, past, handed_out(run, past, found))]
    if first.noise is None:
        return []
    lines = ["## How sure the choice is", f"{first.noise.sentence()}."]
    if len(first.leaders) < 2:
        return lines
    escaped = "\\|"
    rows = ["| leader | score of the search | other training seeds | mean |", "|---|---|---|---|"]
    for leader in first.leaders:
        own, *others = ["failed" if score is None else f"{score:.2f}" for score in leader.scores]
        rows.append(f"| {code(leader.arch).replace('|', escaped)} | {own} | {', '.join(others)} | {leader.mean:.2f} |")
    how = "The leaders were trained again with other seeds; each round kept the better half. The first is handed out."
    return [*lines, how, "\n".join(rows)]


def mean(scores: Iterable[float | None]) -> float:
    """The mean of all scores of a leader; below all others where one of its trainings failed."""
    known = [math.nan if score is None else score for score in scores]
    average = sum(known) / len(known)
    return -math.inf if math.isnan(average) else round(average, DIGITS)
