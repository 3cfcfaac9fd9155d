"""Bayesian optimization over levels of compute: many short trainings, fewer long ones, all of them pooled by one model.

Asynchronous successive halving (Li et al. 2020, arXiv:1810.05934, algorithm 2) says what is trained longer: of a level's
architectures the best in `eta` go on. What begins at the lowest level is proposed by a Gaussian process over all levels, as in
BOHB (Falkner et al. 2018) by a density, for expected improvement at the highest. A search begins with what was good elsewhere.

Shapes: `S` seeds, `B` architectures a step, `E` evaluations so far, `D` decisions, `R` levels, `P` first architectures, `M`
candidates, `F` features.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import torch
from torch import Tensor

from controller._base import Prior, Proposal, Results
from controller._settings_types import Range
from controller.candidates.level_queue import LevelQueue
from controller.candidates.rungs import ladder
from controller.models import configuration_prior, scores
from search_spaces import HasFirstArchs, Space, Task, _ops, _sampling

__all__ = ["MultiFidelityBO"]

_RANDOM = 0
"""Stream of random numbers."""
_QUEUE = 16
"""Candidates that a fit hands out at least."""


class State(NamedTuple):
    seeds: Tensor
    """int64 `[S]`."""
    step: Tensor
    """int64 `[S]` steps taken."""
    levels: Tensor
    """int64 `[S, R]` the levels, the lowest first; 0 where the task knows none."""
    first: Tensor
    """int64 `[S, P, D]` what to begin with."""
    mean_weights: Tensor
    """float64 `[S, F]` of the prior's mean function; F = 0 without."""
    archs: Tensor
    """int64 `[S, E, D]` all evaluated."""
    score: Tensor
    """float32 `[S, E]`; NaN where evaluation failed."""
    level: Tensor
    """int64 `[S, E]` the number of the level of each, from 0."""
    queue: Tensor
    """int64 `[S, Q, D]` what the model would begin next, in this order."""
    left: Tensor
    """int64 `[S]` how many of the queue, the last ones, were not proposed yet."""
    fitted: Tensor
    """int64 `[S]` evaluations that the queue was made from."""


@dataclass(frozen=True)
class MultiFidelityBO:
    """Successive halving over levels of compute, what begins proposed by a Gaussian process over all levels."""

    space: Space
    eta: Annotated[int, Range(2)] = 3
    """One in `eta` goes on to the next level (Li et al. 2020 take 3 or 4)."""
    num_initial: Annotated[int, Range(1)] = 6
    """Architectures that begin before the model proposes; random where neither space nor prior names so many."""
    num_candidates: Annotated[int, Range(8)] = 128
    """Half mutants of the best, half random."""
    refit_rate: Annotated[int, Range(1)] = 10
    """The model is fitted again after every `E / refit_rate` evaluations, and where its queue has run empty."""
    max_observations: Annotated[int, Range(2)] = 96
    """Evaluations that the model is conditioned on at most: the best and the latest, half each."""

    @property
    def _queue(self) -> LevelQueue:
        return LevelQueue(self.space, self.num_candidates, self.max_observations)

    def begin(self, task: Task, seeds: Tensor, prior: Prior | None = None) -> State:
        S, D = len(seeds), len(self.space.choices)
        levels = torch.tensor([int(level) for level in ladder(task, 0, self.eta)])
        own = self.space.first_archs if isinstance(self.space, HasFirstArchs) else torch.zeros(0, D).long()
        learned, weights = configuration_prior.applied(prior, self.space, task)
        # A prior knows where among them the plain one belongs; without one it is the first.
        first = learned if len(learned) else own
        return State(
            seeds,
            step=torch.zeros_like(seeds),
            levels=levels.repeat(S, 1),
            first=first.repeat(S, 1, 1),
            mean_weights=weights.repeat(S, 1),
            archs=seeds.new_zeros(S, 0, D),
            score=torch.zeros(S, 0),
            level=seeds.new_zeros(S, 0),
            queue=seeds.new_zeros(S, 0, D),
            left=torch.zeros_like(seeds),
            fitted=torch.zeros_like(seeds),
        )

    def propose(self, state: State, batch: int) -> Proposal:
        """Those of a level that go on, where a whole batch of them does; else architectures that begin at the lowest."""
        # Whole numbers as lists: what is sorted here is short, and comparing them does not depend on what stands beside.
        keys_SE = _ops.keys(self.space.choices, state.archs)[0].tolist()
        known_SE, level_SE = scores.nan_to_worst(state.score).tolist(), state.level.tolist()
        random_SBD = _sampling.sample(self.space, state.seeds, state.step, batch, stream=_RANDOM)
        archs, numbers = [], []
        for s, of_one in enumerate(zip(keys_SE, known_SE, level_SE, strict=True)):
            number, at = self._next(*of_one, state.levels.shape[1], batch)
            archs.append(state.archs[s, at] if number else self._beginners(state, s, random_SBD[s]))
            numbers.append(number)
        levels_SB = state.levels.gather(1, torch.tensor(numbers)[:, None].expand(-1, batch))
        return Proposal(torch.stack(archs), levels_SB if bool(levels_SB.any()) else None)

    def learn(self, state: State, proposal: Proposal, results: Results) -> State:
        asked = proposal.epochs
        # A proposal of somebody else's may name no level, or one between: it counts as the highest, or the next below.
        last = state.levels.shape[1] - 1
        number_SB = (
            torch.full(results.score.shape, last)
            if asked is None
            else (asked[..., None] >= state.levels[:, None]).sum(-1).clamp(1, last + 1) - 1
        )
        # Of what began, the first ones, the initial ones and those of the queue came in this order.
        begun_S = _begun(state)
        before_S = begun_S.clamp_max(max(self.num_initial, state.first.shape[1]))
        state = state._replace(
            step=state.step + 1,
            archs=torch.cat([state.archs, proposal.archs], 1),
            score=torch.cat([state.score, results.score], 1),
            level=torch.cat([state.level, number_SB], 1),
        )
        now_S = _begun(state)
        taken_S = now_S - now_S.clamp_max(max(self.num_initial, state.first.shape[1])) - (begun_S - before_S)
        return self._with_queue(state._replace(left=(state.left - taken_S).clamp_min(0)), proposal.archs.shape[1])

    def _next(
        self, keys: list[int], known: list[float], levels: list[int], count: int, batch: int
    ) -> tuple[int, list[int]]:
        """The number of the next level of one search, of `count`, and the evaluations that go on to it; none for level 0."""
        for number in reversed(range(count - 1)):
            at = self._promotable(keys, known, levels, number)
            if len(at) >= batch:
                return number + 1, at[:batch]
        return 0, []

    def _promotable(self, keys: list[int], known: list[float], levels: list[int], number: int) -> list[int]:
        """Evaluations of a level among its best in `eta` that were not evaluated at a higher one, the best first."""
        first: dict[int, int] = {}  # One evaluation of each architecture: a batch may hold one twice.
        for at in sorted((at for at, level in enumerate(levels) if level == number), key=lambda at: -known[at]):
            first.setdefault(keys[at], at)
        higher = {key for key, level in zip(keys, levels) if level > number}
        good = list(first.items())[: len(first) // self.eta]
        return [at for key, at in good if known[at] > -math.inf and key not in higher]

    def _beginners(self, state: State, s: int, random: Tensor) -> Tensor:
        """Architectures `[B, D]` that begin in search `s`: the first ones, random ones, those of the model, random ones."""
        begun, first = int((state.level[s] == 0).sum()), state.first[s]
        initial = torch.cat([first[begun:], random[: max(0, self.num_initial - max(begun, len(first)))]])
        queue = state.queue[s, state.queue.shape[1] - int(state.left[s]) :]
        return torch.cat([initial, queue, random])[: len(random)]

    def _with_queue(self, state: State, batch: int) -> State:
        """The state with the queue of each search made anew, where it is old or short."""
        E = state.archs.shape[1]
        outdated_S = (E - state.fitted >= max(1, E // self.refit_rate)) | (state.left < batch)
        due_S = outdated_S & (_begun(state) >= self.num_initial)
        if not bool(due_S.any()):
            return state
        Q = max(_QUEUE, batch, state.queue.shape[1])
        queues = list(torch.nn.functional.pad(state.queue, (0, 0, Q - state.queue.shape[1], 0)))
        for s in due_S.nonzero()[:, 0].tolist():
            # A copy of one search: in memory too it does not depend on what stands beside.
            queues[s] = self._queue.best(State(*(leaf[s : s + 1].clone() for leaf in state)), Q)
        return state._replace(
            queue=torch.stack(queues),
            left=torch.where(due_S, Q, state.left),
            fitted=torch.where(due_S, E, state.fitted),
        )


def _begun(state: State) -> Tensor:
    """How many architectures were evaluated at the lowest level, int64 `[S]`."""
    return (state.level == 0).sum(1)
