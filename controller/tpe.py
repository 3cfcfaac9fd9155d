"""TPE: Optuna's tree-structured Parzen estimator (Bergstra et al. 2011; Akiba et al. 2019). Needs the extra `tpe`.

Shapes: `S` seeds, `B` architectures, `D` decisions, `E` evaluations so far.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from controller._base import Prior, Proposal, Results
from controller._settings_types import Count
from search_spaces import Space, Task, UserError, _noise, _sampling

__all__ = ["Tpe"]

_STREAM = 2


class State(NamedTuple):
    seeds: Tensor
    """int64 `[S]`."""
    step: Tensor
    """int64 `[S]` steps taken."""
    archs: Tensor
    """int64 `[S, E, D]` all tried."""
    score: Tensor
    """float32 `[S, E]`; NaN where evaluation failed."""


@dataclass(frozen=True)
class Tpe:
    """Asks Optuna, given all that was tried. Seeds take turns, since its studies are Python objects: hundreds are slow."""

    space: Space
    num_initial: Count = 10
    """Random architectures before the estimator is asked."""
    multivariate: bool = True
    """Decisions are modelled together."""

    def begin(self, task: Task, seeds: Tensor, prior: Prior | None = None) -> State:
        _optuna()
        D = len(self.space.choices)
        return State(seeds, torch.zeros_like(seeds), seeds.new_zeros(len(seeds), 0, D), torch.zeros(len(seeds), 0))

    def propose(self, state: State, batch: int) -> Proposal:
        random_SBD = _sampling.sample(self.space, state.seeds, state.step, batch)
        if state.archs.shape[1] < self.num_initial:
            return Proposal(random_SBD)
        noise_S = _noise.bits(state.seeds, state.step, 1, stream=_STREAM)[:, 0].tolist()
        asked = [self._ask(*search, batch) for search in zip(noise_S, state.archs.tolist(), state.score.tolist())]
        asked_SBD = torch.tensor(asked)
        return Proposal(torch.where(self.space.valid(asked_SBD)[..., None], asked_SBD, random_SBD))

    def learn(self, state: State, proposal: Proposal, results: Results) -> State:
        archs_SED = torch.cat([state.archs, proposal.archs], 1)
        return State(state.seeds, state.step + 1, archs_SED, torch.cat([state.score, results.score], 1))

    def _ask(self, seed: int, archs: list[list[int]], score: list[float], batch: int) -> list[list[int]]:
        """`batch` architectures after `archs` `[E][D]` had `score` `[E]`."""
        optuna = _optuna()
        options = {
            str(d): optuna.distributions.CategoricalDistribution(tuple(range(c)))
            for d, c in enumerate(self.space.choices)
        }
        sampler = optuna.samplers.TPESampler(seed=seed, multivariate=self.multivariate, n_startup_trials=1)
        study = optuna.create_study(direction="maximize", sampler=sampler)
        known = [value for value in score if value == value]
        worst = min(known, default=0.0)
        study.add_trials(
            [
                optuna.trial.create_trial(
                    params={str(d): choice for d, choice in enumerate(arch)},
                    distributions=options,
                    value=value if value == value else worst,
                )
                for arch, value in zip(archs, score)
            ]
        )
        asked = [study.ask(options).params for _ in range(batch)]
        return [[params[str(d)] for d in range(len(options))] for params in asked]


def _optuna() -> Any:
    try:
        optuna = importlib.import_module("optuna")
    except ImportError:
        raise UserError("Controller 'tpe' needs Optuna: pip install 'metacell[tpe]'.") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
