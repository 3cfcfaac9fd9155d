"""A search with a prior beside one without, so that a prior that misleads costs no more than the search without it.

Two arms take turns: the warm one, which the prior is for, and the cold one, which knows nothing of it. Neither sees what the
other evaluates. Once the warm arm has not improved on the best of both for `patience` evaluations it is dropped for good. The
warm arm never has more evaluations than the cold one and a batch (side by side, one for each worker), so that whatever the cold
arm reaches after n batches is reached after 2n at most: a law of the construction, on any task. What the warm arm finds in n
batches comes after 2n too, unless it is dropped before.

Shapes: `S` seeds, `B` architectures, `D` decisions, `R` some of the seeds.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from controller._base import Prior, Proposal, Results
from controller._settings_types import Count
from controller.candidates import named, ragged
from controller.candidates.ragged import Ragged
from controller.models import prior_file
from controller.models.scores import nan_to_worst
from search_spaces import Space, Task, UserError

__all__ = ["Guarded"]

_WARM, _COLD = 0, 1
"""The arms of a proposal."""


class State(NamedTuple):
    seeds: Tensor
    """int64 `[S]`."""
    step: Tensor
    """int64 `[S]` steps taken."""
    cold: Ragged
    warm: Ragged | None
    """None without a prior."""
    warm_name: Tensor
    """int64 `[S, N]` the warm controller and its settings, as Unicode; N = 0 without a prior."""
    evaluated: Tensor
    """int64 `[S, 2]` evaluations of the warm arm and of the cold one."""
    best: Tensor
    """float32 `[S]` the best score of both."""
    idle: Tensor
    """int64 `[S]` evaluations of the warm arm since it last improved on the best of both."""
    dropped: Tensor
    """bool `[S]` whether the warm arm is dropped."""


@dataclass(frozen=True)
class Guarded:
    """Takes turns between a controller with a prior and one without, and drops the first when it no longer improves."""

    space: Space
    prior: str = "none"
    """A prior's file for searches that are begun without one. Without a prior there is the cold arm alone."""
    warm: str = "auto"
    """The controller with the prior, perhaps with settings: `reinforce/lr=0.05`. `auto`: the one that the prior names."""
    cold: str = "bayesian"
    """The controller without it, in the same form."""
    patience: Count = 10
    """Evaluations without an improvement after which the warm arm is dropped: a prior that lies costs as many. A start that
    works has found its best in fewer (`runs/policy_starts.sh`: medians of 1 to 6 where copying works)."""

    def begin(self, task: Task, seeds: Tensor, prior: Prior | None = None) -> State:
        """Raises `UserError` for a prior of another controller than `warm`, and for arms that ask for more than scores."""
        if prior is None and self.prior != "none":
            prior = _read(self.prior)
        S, zero_S = len(seeds), torch.zeros_like(seeds)
        name, warm = "", None
        if prior is not None:
            of = prior.about.get("controller", "")
            name = of if self.warm == "auto" else self.warm
            if name.split("/")[0] != of:
                raise UserError(
                    f"Setting warm is '{self.warm}', and the prior is for controller '{of}'; it takes {of} or auto."
                )
            warm = ragged.begin(self._begin(name, task, seeds, prior))
        cold = ragged.begin(self._begin(self.cold, task, seeds, None))
        unicode = torch.tensor([ord(x) for x in name], dtype=torch.long).repeat(S, 1)
        worst_S = torch.full((S,), -torch.inf)
        return State(
            seeds,
            zero_S,
            cold,
            warm,
            unicode,
            zero_S[:, None].repeat(1, 2),
            worst_S,
            zero_S.clone(),
            torch.full((S,), warm is None),
        )

    def propose(self, state: State, batch: int) -> Proposal:
        archs, turn_S = state.seeds.new_zeros(len(state.seeds), batch, len(self.space.choices)), self._warm_turn(state)
        for controller, arm, acts_S in self._arms(state, turn_S):
            for at_R, own in ragged.groups(arm, acts_S):
                archs[at_R] = controller.propose(own, batch).archs
        return Proposal(archs, arm=torch.where(turn_S, _WARM, _COLD)[:, None].repeat(1, batch))

    def learn(self, state: State, proposal: Proposal, results: Results) -> State:
        """The arm that proposed learns, or where none is named the one whose turn it is; the other stays as it is."""
        if proposal.arm is None:
            return self._learn(state, proposal, results, self._warm_turn(state))
        warm_SB = proposal.arm == _WARM
        if bool((warm_SB == warm_SB[:, :1]).all()):
            return self._learn(state, proposal, results, warm_SB[:, 0])
        # What is asked for while much is pending may be of both.
        for b in range(warm_SB.shape[1]):
            at = slice(None), slice(b, b + 1)
            state = self._learn(state, _rows(proposal, at), _rows(results, at), warm_SB[:, b])
        return state

    def _learn(self, state: State, proposal: Proposal, results: Results, warm_S: Tensor) -> State:
        """With evaluations of the warm arm for the seeds of a mask, and of the cold one for the others."""
        # Of these arms; a controller that has arms too would take it for its own.
        proposal = proposal._replace(arm=None)
        batch = results.score.shape[1]
        evaluated = state.evaluated + batch * torch.stack([warm_S, ~warm_S], 1)
        total = int(evaluated.sum(1).amax())
        after = []
        for controller, arm, acts_S in self._arms(state, warm_S):
            parts = [
                (at_R, controller.learn(own, _rows(proposal, at_R), _rows(results, at_R)))
                for at_R, own in ragged.groups(arm, acts_S)
            ]
            after.append(ragged.replaced(arm, parts, total))
        found_S = nan_to_worst(results.score).amax(1)
        improves_S = found_S > state.best
        idle_S = torch.where(warm_S, torch.where(improves_S, 0, state.idle + batch), state.idle)
        return state._replace(
            step=state.step + 1,
            cold=after[0],
            warm=after[1] if len(after) > 1 else None,
            evaluated=evaluated,
            best=torch.maximum(state.best, found_S),
            idle=idle_S,
            dropped=state.dropped | (idle_S >= self.patience),
        )

    def prior_weight(self, state: State) -> Tensor:
        """The share of the evaluations that the warm arm gets, `[S]`: a half, and 0 once it is dropped."""
        return 0.5 * (~state.dropped).double()

    def _warm_turn(self, state: State) -> Tensor:
        """Whether the warm arm proposes next, bool `[S]`: it begins."""
        return ~state.dropped & (state.evaluated[:, 0] <= state.evaluated[:, 1])

    def _arms(self, state: State, warm_S: Tensor) -> list[tuple[Any, Ragged, Tensor]]:
        """Each arm's controller, its states, and which seeds it is for, by a mask of those of the warm one."""
        arms = [(named.controller(self.space, self.cold), state.cold, ~warm_S)]
        if state.warm is not None:
            name = "".join(chr(x) for x in state.warm_name[0].tolist())
            arms.append((named.controller(self.space, name), state.warm, warm_S))
        return arms

    def _begin(self, name: str, task: Task, seeds: Tensor, prior: Prior | None) -> Any:
        controller = named.controller(self.space, name)
        state = controller.begin(task, seeds, prior)
        first = controller.propose(state, 1)
        if first.epochs is not None or first.weights is not None:
            raise UserError(f"'{name}' asks for trainings of other lengths or for mixtures; an arm takes neither.")
        return state


def _rows(parts: Any, at: Any) -> Any:
    """A proposal or results of some of the seeds, or of some of their evaluations."""
    return type(parts)(*(None if x is None else x[at] for x in parts))


@lru_cache(maxsize=4)
def _read(path: str) -> Prior:
    return prior_file.read(path)
