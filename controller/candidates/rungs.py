"""Rungs: many architectures trained little, the best of them trained more: the body of `successive_halving` and `hyperband`.

Which epochs there are to choose from is the task's to say; a schedule made for it is part of the state.
Shapes: `S` seeds, `B` architectures a step, `D` decisions, `K` places of those that go on, `R` rungs of the schedule.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import torch
from torch import Tensor

from controller._base import Prior, Proposal, Results
from controller.models.scores import nan_to_worst
from search_spaces import Space, Task, UserError, _sampling


class Rung(NamedTuple):
    """One line of the schedule."""

    entrants: int
    """Architectures that it evaluates."""
    epochs: int
    """0: the task's own, where it knows no others."""
    first: bool
    """Whether its bracket begins here, with random architectures."""


class State(NamedTuple):
    seeds: Tensor
    """int64 `[S]`."""
    schedule: Tensor
    """int64 `[S, R, 3]` the rungs, fields as in `Rung`."""
    step: Tensor
    """int64 `[S]` steps taken."""
    rung: Tensor
    """int64 `[S]` the line of the schedule; after the last comes the first."""
    done: Tensor
    """int64 `[S]` evaluations of this rung so far."""
    entrants: Tensor
    """int64 `[S, K, D]` the best of the rung before, best first."""
    best: Tensor
    """int64 `[S, K, D]` the best of this rung so far, best first."""
    best_score: Tensor
    """float32 `[S, K]` theirs; minus infinity where evaluation failed or nobody stands."""


def ladder(task: Task, epochs: int, eta: int) -> list[Fraction]:
    """The epochs of a bracket's rungs, the fewest first, each at least `eta` times those before.

    Those that the task can be evaluated at; where `epochs` says how long the last trains, that divided by `eta` again and again.
    Raises `UserError` for settings that make no schedule, and for epochs that the task does not know.
    """
    if epochs < 0 or eta < 2:
        raise UserError(
            f"Successive halving has epochs={epochs} and eta={eta}; it takes epochs >= 1, or 0 for the task's, and eta >= 2."
        )
    if not epochs:
        rungs = [Fraction(task.fidelities[-1] if task.fidelities else 0)]
        for fewer in reversed(task.fidelities[:-1]):
            if fewer * eta <= rungs[0]:
                rungs.insert(0, Fraction(fewer))
        return rungs
    # Fractions: the entrants of a rung are a whole part, which a float that is rounded down would make one fewer.
    rungs = [Fraction(epochs)]
    while rungs[0] >= eta:
        rungs.insert(0, rungs[0] / eta)
    strange = [str(round(r)) for r in rungs if task.fidelities and round(r) not in task.fidelities]
    if strange:
        known = ", ".join(map(str, task.fidelities))
        raise UserError(
            f"Rungs of epochs={epochs} and eta={eta} take {strange[0]} epochs; task '{task.name}' can be evaluated after: "
            f"{known}. Leave epochs out to have the task's own."
        )
    return rungs


def bracket(entrants: int, rungs: list[Fraction]) -> list[Rung]:
    """Successive halving (Jamieson & Talwalkar 2016): all rungs train for as many epochs in all, so that ever fewer go on.

    Args:
        entrants: random architectures of the first rung; 0: as many as leave one for the last.
        rungs: epochs of each, from `ladder`.
    """
    # A task without epochs has rungs of 0, which nothing can be divided by.
    first = max(rungs[0], Fraction(1))
    entrants = entrants or -int(-rungs[-1] // first) or 1
    return [Rung(max(1, int(entrants * first / max(r, first))), round(r), first=i == 0) for i, r in enumerate(rungs)]


@dataclass(frozen=True)
class RungSearch:
    """Follows a schedule of rungs, over and over."""

    space: Space
    epochs: int = 0
    """Those of the last rung; 0: the task's own, and at the rungs below the epochs that it can be evaluated at."""
    eta: int = 4
    """One in `eta` goes on, to `eta` times the epochs; or fewer to more, where the task knows none between."""

    @abstractmethod
    def rungs(self, task: Task) -> list[Rung]:
        """The schedule on this task."""

    def begin(self, task: Task, seeds: Tensor, prior: Prior | None = None) -> State:
        rungs = self.rungs(task)
        S, zero_S = len(seeds), torch.zeros_like(seeds)
        # State has one shape for the whole schedule, or seeds on different rungs could not lie in one tensor.
        K = max([1, *(rung.entrants for rung in rungs if not rung.first)])
        nobody_SKD = seeds.new_zeros(S, K, len(self.space.choices))
        schedule_SR3 = torch.tensor(rungs).long().repeat(S, 1, 1)
        return State(
            seeds, schedule_SR3, zero_S, zero_S, zero_S, nobody_SKD, nobody_SKD, torch.full((S, K), -torch.inf)
        )

    def propose(self, state: State, batch: int) -> Proposal:
        """The next of this rung. What a batch has left beyond its end goes to random newcomers.

        They compete in this rung, but where it ends a bracket in the next one's first, after the epochs of that.
        """
        fresh_SBD = _sampling.sample(self.space, state.seeds, state.step, batch)
        place_SB = state.done[:, None] + torch.arange(batch)
        K, D = state.entrants.shape[1:]
        chosen_SBD = state.entrants.gather(1, place_SB.clamp(max=K - 1)[..., None].expand(-1, -1, D))
        _, epochs_S, first_S = _rung(state).unbind(-1)
        beyond_SB, early_SB = _beyond_end(state, batch)
        archs_SBD = torch.where((first_S[:, None].bool() | beyond_SB)[..., None], fresh_SBD, chosen_SBD)
        epochs_SB = torch.where(early_SB, _rung(state, 1)[:, 1:2], epochs_S[:, None])
        return Proposal(archs_SBD, epochs_SB if bool(epochs_SB.any()) else None)

    def learn(self, state: State, proposal: Proposal, results: Results) -> State:
        """The best so far; at the end of a rung they are the next one's entrants."""
        B = proposal.archs.shape[1]
        _, early_SB = _beyond_end(state, B)
        score_SB, other_SB = nan_to_worst(results.score), torch.zeros_like(early_SB)
        if proposal.epochs is not None:
            # Evaluations side by side end in any order: what belongs to another rung is not counted into this one.
            epochs_SB = torch.where(early_SB, _rung(state, 1)[:, 1:2], _rung(state)[:, 1:2])
            other_SB = proposal.epochs != epochs_SB
            score_SB = score_SB.masked_fill(other_SB, -torch.inf)
        here_SB, next_SB = ~early_SB & ~other_SB, early_SB & ~other_SB
        # Twice: a batch may end one rung and begin the next, and each rung must count its own evaluations only.
        state = _add(state, proposal.archs, torch.where(here_SB, score_SB, -torch.inf), here_SB.sum(1))
        state = _add(_advance(state), proposal.archs, torch.where(next_SB, score_SB, -torch.inf), next_SB.sum(1))
        return _advance(state)._replace(step=state.step + 1)


def _rung(state: State, ahead: int = 0) -> Tensor:
    """The rung of each seed, or one further on, `[S, 3]`."""
    return state.schedule[torch.arange(len(state.rung)), (state.rung + ahead) % state.schedule.shape[1]]


def _beyond_end(state: State, batch: int) -> tuple[Tensor, Tensor]:
    """Which of a batch lie beyond the end of the rung, and which of them begin the next bracket, bool `[S, B]` each."""
    entrants_S, _, first_S = _rung(state).unbind(-1)
    beyond_SB = state.done[:, None] + torch.arange(batch) >= entrants_S[:, None]
    ends_S = ~first_S.bool() & _rung(state, 1)[:, 2].bool()
    return beyond_SB, beyond_SB & ends_S[:, None]


def _add(state: State, archs_SBD: Tensor, score_SB: Tensor, count_S: Tensor) -> State:
    """Count evaluations into the rung at hand and keep its best; a score of minus infinity is never kept before another."""
    archs = torch.cat([archs_SBD, state.best], 1)
    score = torch.cat([score_SB, state.best_score], 1)
    order_SK = score.argsort(dim=1, descending=True, stable=True)[:, : state.best.shape[1]]
    best_SKD = archs.gather(1, order_SK[..., None].expand_as(state.best))
    return state._replace(done=state.done + count_S, best=best_SKD, best_score=score.gather(1, order_SK))


def _advance(state: State) -> State:
    """The state on the next rung where this one is full."""
    over_S = state.done >= _rung(state)[:, 0]
    return state._replace(
        rung=(state.rung + over_S) % state.schedule.shape[1],
        done=torch.where(over_S, 0, state.done),
        entrants=torch.where(over_S[:, None, None], state.best, state.entrants),
        best_score=torch.where(over_S[:, None], -torch.inf, state.best_score),
    )
