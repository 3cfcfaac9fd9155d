"""Tasks with limits: accuracy, less what a cell goes over its latency, energy or size.

`TABLE/COLUMN<=VALUE` is a limit, `<=q30` the value that 30% of the space keep, `<=VALUE*40` a limit that weighs 40 points instead
of 20. Score = accuracy - weight x max(0, value / limit - 1).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from controller._base import Proposal, Results
from nas import tables
from nas._base import Evaluate, Evaluator
from nas.tables import Table
from nas.trained import Trained
from search_spaces import _ops
from search_spaces._base import Space, Task, UserError

_FORM = "TABLE/COLUMN<=VALUE, as 'nasbench201-hardware/fpga/latency<=q30'"
WEIGHT = 20.0
"""Points of accuracy that a cell at twice the limit loses."""


@dataclass(frozen=True)
class Limit:
    """At most `bound` of a table's column."""

    table: Table
    column: str
    bound: float
    """In the column's unit."""
    weight: float = WEIGHT

    def values(self, archs: Tensor, space: Space) -> Tensor:
        """The column of `archs` `[..., D]`, float32 `[...]`."""
        return self.table.by_rank(self.column, space.choices)[_ops.index(archs, space.choices)]


def points(over: Tensor, weights: tuple[float, ...]) -> Tensor:
    """Points off, `[...]`, for each quantity over its limit, `[..., L]`."""
    return (torch.tensor(weights) * (over - 1).clamp(min=0)).sum(-1)


@dataclass(frozen=True)
class Limited:
    """Another evaluator's scores, less the penalties. Reports are the other's; `within` says which cells keep the limits."""

    inner: Evaluator
    task: Task
    limits: tuple[Limit, ...]

    @property
    def space(self) -> Space:
        return self.inner.space

    @property
    def budget(self) -> int:
        return self.inner.budget

    @property
    def batch(self) -> int:
        return self.inner.batch

    @property
    def about(self) -> str:
        limits = ", ".join(f"{lim.column} <= {lim.bound:g} ({lim.weight:g} points)" for lim in self.limits)
        return f"{self.inner.about}; limits: {limits}"

    @property
    def final(self) -> Space:
        return self.inner.final

    def load(self, seeds: Tensor) -> Evaluate:
        everything = _ops.enumerate_all(self.space.choices)
        over = torch.stack([lim.values(everything, self.space) / lim.bound for lim in self.limits], -1)
        penalty = points(over, self.task.limits)
        evaluate = self.inner.load(seeds)

        def limited(proposal: Proposal) -> Results:
            results = evaluate(proposal)
            rank = _ops.index(proposal.archs, self.space.choices)
            return results._replace(score=results.score - penalty[rank], over=over[rank])

        return limited

    def report(self, archs: Tensor) -> Tensor | None:
        return self.inner.report(archs)

    def remember(self, folder: Path) -> None:
        self.inner.remember(folder)

    def curve(self, arch: Tensor) -> list[float]:
        return self.inner.curve(arch)

    def trained(self, arch: Tensor) -> Trained | None:
        return self.inner.trained(arch)

    def within(self, archs: Tensor) -> Tensor:
        """Which of `archs` `[..., D]` keep every limit, bool `[...]`."""
        kept = [lim.values(archs, self.space) <= lim.bound for lim in self.limits]
        return torch.stack(kept).all(0)


def name(task: str, texts: tuple[str, ...]) -> str:
    """The name of a task with limits, as `nas.tasks.find` takes it."""
    for text in texts:
        if "<=" not in text:
            raise UserError(f"Limit '{text}' takes {_FORM}.")
    return "+".join([task, *texts])


def parse(text: str, space: Space) -> Limit:
    """The limit that `text` names. Raises `UserError` for what it is not, and for a table of another space."""
    match = re.fullmatch(r"([^/]+)/(.+)<=(q?)([0-9.eE+-]+?)(?:\*([0-9.]+))?", text.strip())
    if not match:
        raise UserError(f"Limit '{text}' takes {_FORM}.")
    table_name, column, quantile, value, weight = match.groups()
    table = tables.find(table_name)
    if table.space.replace("-", "_") != space.name.replace("-", "_"):
        raise UserError(f"Limit '{text}' is on space '{table.space}'; the task's is '{space.name}'.")
    figures = table.column(column)
    if figures.dim() != 1:
        raise UserError(f"Limit '{text}' is on a column with a figure for each seed; it takes one a row.")
    bound = _number(text, value)
    if quantile:
        if not 0 <= bound <= 100:
            raise UserError(f"Limit '{text}' names the quantile {value}; it takes q0 to q100.")
        bound = figures.double().nanquantile(bound / 100).item()
    if bound <= 0:
        raise UserError(f"Limit '{text}' is {bound:g}; it takes a number above zero.")
    return Limit(table, column, bound, _number(text, weight) if weight else WEIGHT)


def _number(text: str, number: str) -> float:
    try:
        return float(number)
    except ValueError:
        raise UserError(f"Limit '{text}' has '{number}' for a number.") from None
