"""Where a run stands while it works: what is trained now, how many of how many, the best so far, and the time left in all.

It is told of steps, stages and trainings, and asked for words; it prints nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from nas.export.draw import SHORT_LABELS
from nas.run import budget, stages
from nas.run.budget import Progress
from nas.run.config import RunConfig, leader_trainings
from nas.terminal import printable
from nas.text import duration
from nas.types import TrainingProgress

_CELL = re.compile(r"\|.*\|")
_EDGE = re.compile(r"(\w+)~\d")
_LONGEST = 33
"""Characters of an architecture's short name, as the longest cell has: with epoch and loss it fits a terminal of 80."""
_TRUSTED = 4.0
"""The time of a final training is what was expected of it at its start, and after a quarter of it what its epochs took: of those
side by side, the first epoch is told when others are half done."""


@dataclass
class Outlook:
    """The state of one session of a run."""

    config: RunConfig
    ending: dict[str, float]
    """Seconds that the stages after the leaders are expected to take, as `stages.expected` has them."""
    clock: Callable[[], float]
    wall: float = 0.0
    """Seconds of earlier sessions."""
    scores_are_accuracies: bool = False
    """Whether a training's accuracy is the score, so that the best so far need not wait for the end of a step."""
    stage: str = stages.SEARCH
    last: Progress | None = None
    """After the last step."""
    training: TrainingProgress | None = None
    _pace: float = 0.0
    """Seconds of an evaluation, as the last step left it."""
    _finals: int = 0
    """Final trainings that have ended."""
    _began: float = field(init=False)
    _entered: float = field(init=False)
    """When the step, or the stage, began."""

    def __post_init__(self) -> None:
        self._began = self._entered = self.clock()

    def enter(self, stage: str) -> None:
        """A stage begins."""
        self.stage, self.training, self._entered = stage, None, self.clock()

    def step(self, progress: Progress) -> None:
        """A step of the search has ended."""
        self.last, self.training, self._entered = progress, None, self.clock()
        self._pace = progress.wall / progress.evaluations

    def watch(self, training: TrainingProgress) -> None:
        """An epoch of trainings has ended."""
        self.training = training
        if self.stage == stages.FINAL and training.done == training.total:
            self._finals += 1

    @property
    def elapsed(self) -> float:
        """Seconds of this session."""
        return self.clock() - self._began

    @property
    def left(self) -> float | None:
        """Seconds until all is done, the export included; None: nothing is known yet."""
        order = [stages.SEARCH, stages.LEADERS, stages.FINAL, stages.COMPARISON, stages.EXPORT]
        later = order[order.index(self.stage) + 1 :]
        after = sum(self.ending.get(stage, 0.0) for stage in later)
        if self.stage == stages.SEARCH:
            searching = self._search_left()
            return None if searching is None else searching + after
        return self._stage_left() + after

    @property
    def share(self) -> float:
        """Of this session's whole time, what is over: 0 to 1."""
        return 0.0 if self.left is None else self.elapsed / max(self.elapsed + self.left, 1e-9)

    def done(self) -> str:
        """How far the stage is: `27 of 32 evaluations, best 93.100`; empty if it cannot be counted."""
        training = self.training
        if self.stage == stages.SEARCH:
            return self._searched()
        if training is None:
            return ""
        if training.total > 1:
            return f"{math.floor(training.done)} of {training.total} trainings"
        of = (
            f" ({self._finals + 1} of {self.config.seeds})"
            if self.stage == stages.FINAL and self.config.seeds > 1
            else ""
        )
        return f"epoch {training.epoch} of {training.epochs}{of}"

    def now(self) -> str:
        """What is trained at this moment: `training 3x3 / skip - / 1x1 pool 3x3 +7, epoch 2 of 5, loss 0.731`."""
        training = self.training
        if training is None:
            return ""
        name, more = short_name(training.archs[0]), len(training.archs) - 1
        name = f"training {name}" + (f" +{more}" if more else "")
        # The epoch of one that is trained by itself stands in `done`.
        alone = training.total == 1 and self.stage != stages.SEARCH
        epoch = "" if alone else f", epoch {training.epoch} of {training.epochs}"
        loss = "" if math.isnan(training.loss) else f", loss {training.loss:.3f}"
        return f"{name}{epoch}{loss}"

    def line(self) -> str:
        """All of it in one line."""
        left = "" if self.left is None else f"about {duration(self.left)} left in all"
        what = "; ".join(filter(None, [self.done(), self.now(), left]))
        return f"{self.stage}: {what}" if what else self.stage

    def _part(self) -> float:
        """Of the evaluations of the step under way, how many are done."""
        training = self.training
        if training is None or not training.total:
            return 0.0
        return budget.next_step(self.config, self.last) * _share(training)

    def _position(self) -> Progress | None:
        """Where the search stands, the step under way included as far as it is told of; None before anything is."""
        part, last = self._part(), self.last
        spent = self.clock() - self._entered if part else 0.0
        if last is None:
            return None if not part else Progress(part, None, self.wall + spent, 0.0)  # pyright: ignore[reportArgumentType]
        cost = last.cost * (last.evaluations + part) / last.evaluations
        return last._replace(evaluations=last.evaluations + part, wall=last.wall + spent, cost=cost)  # pyright: ignore

    def _searched(self) -> str:
        position = self._position()
        evaluations = 0 if position is None else math.floor(position.evaluations)
        if position is None or position.evaluations <= 0:
            return "0 evaluations"
        begun = 0 if self.last is None else self.last.evaluations
        # The step under way is made to its end, whatever the time.
        under_way = budget.next_step(self.config, self.last) if self._part() else 0
        end = max(round(budget.remaining(self.config, position).evaluations), begun + under_way)
        of = f" of {end}" if self.config.evals else f" of about {end}"
        return ", ".join(filter(None, [f"{evaluations}{of} evaluations", self._best()]))

    def _best(self) -> str:
        known = [] if self.last is None else [self.last.found.score.nanmean().item()]
        if self.training is not None and self.scores_are_accuracies:
            known.append(self.training.best)
        known = [score for score in known if not math.isnan(score)]
        if known:
            return f"best {max(known):.3f}"
        return "none succeeded yet" if self.last is not None else ""

    def _search_left(self) -> float | None:
        position = self._position()
        if position is None:
            return None
        searching = budget.remaining(self.config, position).seconds
        if not self._part():
            searching -= self.clock() - self._entered
        pace = position.wall / position.evaluations
        # Counted at whole steps: parts of one would make the number of leaders flicker.
        count = budget.leaders(self.config, math.ceil(position.evaluations), position.cost, position.wall)
        return max(0.0, searching) + leader_trainings(count) * pace

    def _stage_left(self) -> float:
        gone = self.clock() - self._entered
        if self.stage == stages.FINAL and self.training is not None:
            part = _share(self.training)
            # A teacher is judged by two trainings more: there can be more of them than seeds.
            share = min(1.0, (self._finals + part if part < 1 else self._finals) / self.config.seeds)
            expected = max(0.0, self.ending.get(self.stage, 0.0) - gone)
            trust = min(1.0, _TRUSTED * share)
            return trust * gone * (1 - share) / share + (1 - trust) * expected if share else expected
        if self.stage == stages.LEADERS:
            evaluations = 0 if self.last is None else self.last.evaluations
            count = 0 if self.last is None else budget.leaders(self.config, evaluations, self.last.cost, self.last.wall)
            return max(0.0, leader_trainings(count) * self._pace - gone)
        return max(0.0, self.ending.get(self.stage, 0.0) - gone)


def _share(training: TrainingProgress) -> float:
    """Of the time of trainings together, what is over."""
    return training.done / training.total if training.share is None else training.share


def short_name(arch: str) -> str:
    """An architecture in a few words: of a cell the operations, node by node, `3x3 / skip - / 1x1 pool 3x3`."""
    short = _CELL.sub(lambda cell: _nodes(cell.group()), printable(arch))
    return short if len(short) <= _LONGEST else f"{short[: _LONGEST - 3].rstrip()}..."


def _nodes(cell: str) -> str:
    nodes = [_EDGE.findall(node) for node in cell.split("+")]
    if not all(nodes):
        return cell
    return " / ".join(
        " ".join(SHORT_LABELS.get(str(operation), str(operation)) for operation in node) for node in nodes
    )
