"""From the raw evaluations of a comparison to what each search came to, by evaluation; `nas.compare.rows` makes rows of it.

Shapes: `K` tasks, `S` seeds, `T` evaluations.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy
import torch
from numpy import ndarray
from torch import Tensor

from nas import tasks
from nas.compare import front_share, statistics, yardstick
from nas.compare.trial import ColumnsRead, Trial, TrialSpec, final_archs
from nas.evaluators.constrained import feasible
from nas.run import incumbent
from nas.tasks import TaskName, constraints, families, top
from nas.tasks.top import Top


class TrialSummary(NamedTuple):
    """One controller on one task, over its budget."""

    spec: TrialSpec
    columns_read: ColumnsRead
    family: str
    tried: ndarray
    """float64 `[S, T]` what each architecture is judged by (`full_columns.judged`), its score where no more is known; NaN where
    it failed, lies beyond the budget, or was evaluated after fewer epochs than the task's own."""
    best: ndarray
    """float64 `[S, T]` the same of the best so far by the scores that the search saw; what lies beyond the budget repeats the
    last within it. It can fall where the search was misled by the luck of one training."""
    report: ndarray
    """float64 `[S, T]` its test score; NaN where there is none."""
    test_regret: ndarray
    """float64 `[S, T]` how far its test score is below the best test score of the space, with the penalties of the constraints in
    both; NaN where one of the two is not known."""
    test_rank: ndarray
    """float64 `[S, T]` 1 + the number of functions of the space whose test score is above its own; NaN likewise."""
    seconds: ndarray
    """float64 `[S, T]` simulated seconds spent."""
    evaluations: ndarray
    """int `[S]` evaluations within the budget."""
    distinct_archs: ndarray
    """int `[S]` distinct architectures among them."""
    feasible_share: float | None
    """Share of final architectures that keep the task's constraints; None where it has none."""
    top: Top | None
    """Which are the best of the space, by the mean of the training seeds; None where the space is not known."""
    top_threshold: ndarray | None
    """float64 `[S]`: what an architecture that is among the best `TOP_SHARE` of the functions is judged by, at least."""
    optimum: ndarray | None
    """float64 `[S]`: the highest that an architecture of the space is judged by."""
    median: ndarray | None
    """float64 `[S]`: of the space, where normalized scores are 0; they are 1 at the optimum."""
    front_shares: dict[int, ndarray] | None = None
    """By number of evaluations, float64 `[S]` the share of the hypervolume of the space's front; None for one objective."""

    @property
    def regret(self) -> ndarray:
        """float64 `[S, T]`: how far `best` is below the optimum; NaN where that is not known."""
        return numpy.full_like(self.best, numpy.nan) if self.optimum is None else self.optimum[:, None] - self.best

    @property
    def normalised(self) -> ndarray:
        """`best` with 0 at the space's median and 1 at its optimum."""
        assert self.optimum is not None
        assert self.median is not None
        return (self.best - self.median[:, None]) / (self.optimum - self.median)[:, None]


def summarize(spec: TrialSpec, trial: Trial, columns_read: ColumnsRead) -> TrialSummary:
    """A trial against its whole space: its best so far, and the best that the space has."""
    allowed = incumbent.within(trial.cost, spec.seconds)
    seen = torch.where(allowed & _whole(spec, trial), trial.score, torch.nan)
    known = yardstick.of(spec.task, spec.seeds)
    judged = trial.score if known is None else torch.where(trial.score.isnan(), torch.nan, known.judge(trial.index))
    tried = torch.where(seen.isnan(), torch.nan, judged)
    best_seen, at = incumbent.so_far(seen)
    # While nothing has succeeded, the worst of the trial: NaN would spoil every mean.
    best = torch.where(best_seen.isnan(), _worst(judged), tried.gather(1, at))
    # Architectures by index, sorted: a change along the row is one not seen before. -1 marks those beyond the budget.
    indices = trial.index.masked_fill(~allowed, -1).sort(1).values
    distinct = (indices.diff(dim=1, prepend=torch.full_like(indices[:, :1], -1)) > 0).sum(1)
    test_regret, test_rank = _test(spec, trial, allowed)
    return TrialSummary(
        spec=spec,
        columns_read=columns_read,
        family=families.family_of(spec.task),
        tried=tried.double().numpy(),
        best=best.double().numpy(),
        report=trial.report.double().numpy(),
        test_regret=test_regret,
        test_rank=test_rank,
        seconds=trial.cost.double().cumsum(1).numpy(),
        evaluations=allowed.sum(1).numpy(),
        distinct_archs=distinct.numpy(),
        feasible_share=_feasible_share(spec, trial),
        top=None if known is None else known.top,
        top_threshold=None if known is None else known.top_threshold_S.double().numpy(),
        optimum=None if known is None else known.optimum_S.double().numpy(),
        median=None if known is None else known.median_S.double().numpy(),
        front_shares=_front_shares(spec, trial),
    )


def _front_shares(spec: TrialSpec, trial: Trial) -> dict[int, ndarray] | None:
    if not spec.aim:
        return None
    counts = statistics.ends(trial.score.shape[1])
    return dict(zip(counts, front_share.shares(spec, trial, counts).numpy()))


def _test(spec: TrialSpec, trial: Trial, allowed: Tensor) -> tuple[ndarray, ndarray]:
    """The regret and the rank by test score of the best so far, `[S, T]` each."""
    unknown = numpy.full(trial.score.shape, numpy.nan)
    test = yardstick.test_of(spec.task)
    if test is None:
        return unknown, unknown
    best_seen, at = incumbent.so_far(torch.where(allowed, trial.score, torch.nan), trial.epochs)
    score = torch.where(best_seen.isnan(), torch.nan, test.score_N[trial.index.gather(1, at).long()])
    rank = top.rank(score, test.best_F).double().masked_fill(score.isnan(), torch.nan)
    return (test.best_F[0].double() - score.double()).numpy(), rank.numpy()


def first_reached(summary: TrialSummary, score: ndarray | float | None) -> ndarray:
    """The evaluation, counted from 1, at which each seed first tried an architecture of `score` (of each seed `[S]`, or of all).

    Infinity where it never did, float `[S]`.
    """
    if score is None:
        return numpy.full(len(summary.best), numpy.inf)
    least_S = numpy.broadcast_to(numpy.asarray(score, numpy.float32), len(summary.best))
    hit_ST = summary.tried >= least_S[:, None]
    return numpy.where(hit_ST.any(1), hit_ST.argmax(1) + 1.0, numpy.inf)


def handed_out_top(summary: TrialSummary) -> float | None:
    """The share of searches whose best, by the scores that they saw, is in the top; None where that is not known."""
    return None if summary.top_threshold is None else float((summary.best[:, -1] >= summary.top_threshold).mean())


def _whole(spec: TrialSpec, trial: Trial) -> Tensor:
    """Which evaluations were of the task's own length, bool `[S, T]`: a score after fewer epochs is on another scale."""
    if trial.epochs is None:
        return torch.ones_like(trial.score, dtype=torch.bool)
    return trial.epochs == tasks.find(spec.task).task.fidelities[-1]


def _feasible_share(spec: TrialSpec, trial: Trial) -> float | None:
    evaluator = tasks.find(spec.task)
    bounds = constraints.of(TaskName.parse(spec.task), evaluator.space)
    if not bounds:
        return None
    return feasible(final_archs(evaluator, trial, spec.seconds), evaluator.space, bounds).double().mean().item()


def _worst(judged: Tensor) -> Tensor:
    """The lowest of a trial; NaN where every evaluation failed."""
    known = judged[~judged.isnan()]
    return known.min() if len(known) else torch.tensor(torch.nan)
