"""Scores from a benchmark table: an evaluation is one look-up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from controller import Proposal, Results
from nas.evaluators._mixture import expectation
from nas.tables import Table, training_seeds
from nas.types import Defaults, Evaluate, Objective
from search_spaces import Space, Task, UserError, _noise, _ops

__all__ = ["Tabular"]


class Fidelity(NamedTuple):
    """The columns that an evaluation of so many epochs reads."""

    search: str
    cost: str | None
    cost_scale: float


@dataclass(frozen=True)
class Tabular:
    """Scores by the objective column during the search; the test column is read after it.

    A proposal with epochs is scored by the column after just so many, at their cost; raises `UserError` where there is none.
    """

    space: Space
    task: Task
    table: Table
    search_column: str
    report_column: str | None = None
    cost_column: str | None = None
    cost_scale: float = 1.0
    """Times the cost column: the share of a full training that an evaluation takes."""
    drawn: bool = False
    """A per-seed column gives one of its measured seeds, the same whenever the same search asks for the same architecture; else
    the mean of its seeds."""
    lower: dict[int, Fidelity] = field(default_factory=dict)
    """What the table holds after fewer epochs, by `task.fidelities`."""

    defaults = Defaults(budget=100, batch=1)
    training = None

    @property
    def description(self) -> str:
        test = f"test: {self.report_column}" if self.report_column else "no test estimate besides it"
        return f"score: {self.search_column} of table {self.table.name}, {self.objective.text}; {test}"

    @property
    def objective(self) -> Objective:
        """What the score is measured on, and over how many training seeds."""
        split = self.table.columns[self.search_column].split
        return Objective(split, training_seeds.count(self.table, self.search_column), self._is_drawn)

    @property
    def _is_drawn(self) -> bool:
        return self.drawn and self.table.width(self.search_column) > 1

    @property
    def data_digest(self) -> str:
        """Of what a search reads; other columns of the table may come and go."""
        return self.table.digest(self._columns_of_search)

    @property
    def columns(self) -> list[str]:
        """All that may be read: by a search of full length, by one of fewer epochs, and after it."""
        return [*self._columns_of_search, *self._later_columns]

    @property
    def _columns_of_search(self) -> list[str]:
        return [column for column in (self.search_column, self.cost_column) if column is not None]

    @property
    def _later_columns(self) -> list[str]:
        columns = (self.report_column, *(c for lower in self.lower.values() for c in (lower.search, lower.cost)))
        return [column for column in dict.fromkeys(columns) if column is not None]

    def load(self, seeds: Tensor) -> Evaluate:
        own = self._look_up(Fidelity(self.search_column, self.cost_column, self.cost_scale), seeds)
        # What is read later is checked now: a damaged test column would be found out after the search that it cannot report.
        self.table.check(self._later_columns)
        # Columns of lower fidelities are read when a proposal first asks for them: most searches ask for none.
        look_ups = dict.fromkeys(self.task.fidelities[-1:], own)
        of_mixtures: Callable[[Tensor], Results] | None = None

        def evaluate(proposal: Proposal) -> Results:
            nonlocal of_mixtures
            if proposal.weights is not None:
                of_mixtures = of_mixtures or self._of_mixtures()
                return of_mixtures(proposal.weights)
            if proposal.epochs is None:
                return own(proposal)
            score, cost = (torch.zeros(proposal.archs.shape[:2]) for _ in range(2))
            for epochs in proposal.epochs.unique().tolist():
                if epochs not in look_ups:
                    look_ups[epochs] = self._look_up(self._columns_after(epochs), seeds)
                at_epochs, results = proposal.epochs == epochs, look_ups[epochs](proposal)
                score, cost = torch.where(at_epochs, results.score, score), torch.where(at_epochs, results.cost, cost)
            return Results(score, cost)

        return evaluate

    def _of_mixtures(self) -> Callable[[Tensor], Results]:
        """From weights `[S, B, D, C]` to the expected score and its slope, exact; what was not measured has the lowest score.

        It reads the whole column and costs what measuring all of it costs. So it is a test bench for gradient search, and no
        rival to searches that look up what they ask for.
        """
        score_N = self.table.by_index(self.search_column, self.space.choices)
        score_N = score_N if score_N.dim() == 1 else score_N.nanmean(-1)
        score_N = score_N.where(~score_N.isnan(), score_N.nan_to_num(torch.inf).min())
        whole = self._cost(Fidelity(self.search_column, self.cost_column, self.cost_scale)).double().sum().float()

        def evaluate(weights_SBDC: Tensor) -> Results:
            score_M, slope_MDC = expectation(score_N, weights_SBDC.flatten(0, 1), self.space.choices)
            shape = weights_SBDC.shape[:2]
            score_SB, slope_SBDC = score_M.float().view(shape), slope_MDC.float().view(weights_SBDC.shape)
            cost_SB, all_SB = whole.expand(shape).clone(), torch.ones(shape, dtype=torch.bool)
            return Results(score_SB, cost_SB, slope=slope_SBDC, provisional=all_SB)

        return evaluate

    def _columns_after(self, epochs: int) -> Fidelity:
        if epochs not in self.lower:
            there_are = ", ".join(map(str, self.task.fidelities)) or "of one length, which its table does not name"
            raise UserError(
                f"The controller asks for {epochs} epochs; task '{self.task.name}' has metrics after: {there_are}. "
                "Leave out --controller-option epochs, or name one of these."
            )
        return self.lower[epochs]

    def _look_up(self, columns: Fidelity, seeds: Tensor) -> Evaluate:
        score = self.table.by_index(columns.search, self.space.choices)
        score = score if self.drawn or score.dim() == 1 else score.nanmean(-1)
        cost = self._cost(columns)
        score, count = _measured_first(score) if score.dim() == 2 else (score, None)

        def evaluate(proposal: Proposal) -> Results:
            rank_SB = _ops.index(proposal.archs, self.space.choices)
            if count is None:
                return Results(_at(score, rank_SB), _at(cost, rank_SB))
            return Results(score[rank_SB, _which(seeds, rank_SB, count)], _at(cost, rank_SB))

        return evaluate

    def mean_of_others(self, seeds: Tensor) -> Tensor:
        """The mean of the training seeds that searches with `seeds` `[S]` do not draw, float32 `[S, N]` by index.

        It judges what they find. An architecture that was trained once has nothing else to judge it by than its one score. Where
        nothing is drawn, the score, `[1, N]`.
        """
        score = self.table.by_index(self.search_column, self.space.choices)
        if not self._is_drawn:
            return (score if score.dim() == 1 else score.nanmean(-1))[None]
        score, count_N = _measured_first(score)
        every_SN = torch.arange(len(score)).expand(len(seeds), -1)
        drawn_SN = score[every_SN, _which(seeds, every_SN, count_N)].double()
        others_SN = (score.double().nansum(1) - drawn_SN) / (count_N - 1)
        return torch.where(count_N > 1, others_SN, drawn_SN).float()

    def report(self, archs: Tensor) -> Tensor | None:
        if self.report_column is None:
            return None
        values = self.table.by_index(self.report_column, self.space.choices)
        # The mean of the seeds even where a score is of one: the less noisy estimate of the test metric.
        values = values if values.dim() == 1 else values.nanmean(-1)
        return values[_ops.index(archs, self.space.choices)]

    def _cost(self, columns: Fidelity) -> Tensor:
        """Seconds by rank; what was not measured costs nothing, so that budgets stay numbers."""
        if columns.cost is None:
            return torch.zeros(_ops.size(self.space.choices))
        return (self.table.by_index(columns.cost, self.space.choices) * columns.cost_scale).nan_to_num(0.0)


def _which(seeds: Tensor, rank_SB: Tensor, count_N: Tensor) -> Tensor:
    """Which of its `count_N` measured seeds each architecture `[S, B]` has in each search, int64 `[S, B]`."""
    # By the search's seed and the architecture, not by the step: asking again gives the same training.
    return _noise.draw(seeds, rank_SB, high=_at(count_N, rank_SB))


def _measured_first(score: Tensor) -> tuple[Tensor, Tensor]:
    """The seeds `[N, K]` of each row with those that were measured in front, and how many these are, at least 1, `[N]`."""
    missing = score.isnan()
    order = missing.int().argsort(dim=1, stable=True)
    return score.gather(1, order), (~missing).sum(1).clamp_min(1)


def _at(column_N: Tensor, rank: Tensor) -> Tensor:
    """The column at each rank; four times as fast as indexing with square brackets."""
    return column_N.index_select(0, rank.flatten()).reshape(rank.shape)
