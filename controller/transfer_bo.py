"""Bayesian optimization with a prior learned on other tasks.

The surrogate is an ensemble of Gaussian processes over what architectures compute (`models/gp_ensemble.py`): some around mean
functions that other tasks taught, some that know no other task, each weighted by its marginal likelihood on the task at hand.
The acquisition function is expected improvement; penalties of constraints are modelled apart (`models/constraints.py`).

Shapes: `S` seeds, `B` architectures, `E` evaluations so far, `M` candidates, `D` decisions, `U` mean functions, `L` constraints.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Literal, NamedTuple

import torch
from torch import Tensor

from controller._base import Prior, Proposal, Results
from controller._settings_types import Count, Range
from controller.candidates import batch as batches
from controller.candidates import exploration, pool
from controller.models import constraints, prior_file, scores, transfer_model
from controller.models.gp_ensemble import Posterior
from controller.models.kernels import KernelInputs
from controller.models.transfer_model import History, TransferModel
from search_spaces import Space, Task, _noise, _ops

__all__ = ["TransferBO"]

_FIRST = 0
"""Stream of random numbers for the first proposal of a search without a prior."""


class State(NamedTuple):
    seeds: Tensor
    """int64 `[S]`."""
    step: Tensor
    """int64 `[S]` steps taken."""
    prior: Tensor
    """int64 `[S]` the fingerprint of the prior and the task's features; 0 without a prior."""
    archs: Tensor
    """int64 `[S, E, D]` all evaluated."""
    score: Tensor
    """float32 `[S, E]`; NaN where evaluation failed."""
    cost: Tensor
    """float32 `[S, E]` seconds."""
    constraint_ratio: Tensor
    """float32 `[S, E, L]` each constrained quantity over its bound; L = 0 without constraints."""
    penalty_weights: Tensor
    """float64 `[S, L]` penalty at twice each bound."""
    given_up: Tensor
    """int64 `[S]` evaluations after which the search gave its prior up; 0 while it has not."""


@dataclass(frozen=True)
class TransferBO:
    """Bayesian optimization with a prior learned on other tasks, which gives way where it predicts badly."""

    space: Space
    prior: str = "none"
    """A prior's file for searches that are begun without one; `none` starts cold."""
    max_observations: Annotated[int, Range(2)] = 96
    """Evaluations the surrogate is conditioned on at most: the latest and the best, half each."""
    patience: Count = 8
    """After so many evaluations without a better one, some explore until there is one. As in version 0.1."""
    explore_share: Annotated[float, Range(0, below=1)] = 0.5
    """The share that does, then: by turns Bayesian optimization without the prior, and what lies farthest from all before.
    On the development tasks the rules of version 0.1 with their two gates need 1.12 as many evaluations, and as many without
    digits, which alone makes the difference."""
    num_prior_first: Count = 3
    """Evaluations that are the prior's whatever they score: from there on a search may give it up."""
    least_prior_weight: Annotated[float, Range(0, below=1)] = 0.6
    """Posterior weight of the prior below which a search gives it up for good; 0 never does. `runs/tune.sh` chose both."""
    num_policy_samples: Annotated[int, Range(0)] = 128
    """In a space too large to enumerate, samples of the prior's policy among the candidates (24.3 without, 15.0)."""
    model_constraints: bool = True
    """Model penalties apart from the rest; False sees the score alone, for ablation (17.5 evaluations, not 11.4)."""
    num_copied: Annotated[int, Range(0)] = 2
    """The first evaluations copy what was best on the prior's tasks (`models/portfolio.py`). On the six tasks of the split
    `development-devices`, 12 searches each, 4.6 evaluations without, and 1.4, 1.3, 1.4, 1.3 for 1, 2, 4, 8."""
    prior_test: Literal["cold", "random", "none"] = "cold"
    """What the evaluation after those copied is: where a model without the prior expects most (`cold`), a random one, or one as
    any other (`none`). What is copied is alike and good, and cannot tell whether the prior misleads. With limits none."""
    random_restart: bool = True
    """Let a search that gives its prior up begin with a random evaluation."""
    use_cold_hypotheses: bool = True
    """Let the prior give way to hypotheses that know no other task; False keeps to the prior, for ablation."""

    def begin(self, task: Task, seeds: Tensor, prior: Prior | None = None) -> State:
        if prior is None and self.prior != "none":
            prior = _read(self.prior)
        model = transfer_model.make(self.space, prior, task)
        model.warm_up()
        _ = model.first_archs if self.num_copied else None
        exploration.farthest_first(model)  # Once for a prior and a space; no proposal should wait for it.
        weights = torch.tensor(task.constraints if self.model_constraints else (), dtype=torch.float64)
        S, D, L = len(seeds), len(self.space.choices), len(weights)
        return State(
            seeds,
            step=torch.zeros_like(seeds),
            prior=torch.full_like(seeds, model.fingerprint),
            archs=seeds.new_zeros(S, 0, D),
            score=torch.zeros(S, 0),
            cost=torch.zeros(S, 0),
            constraint_ratio=torch.zeros(S, 0, L),
            penalty_weights=weights.repeat(S, 1),
            given_up=torch.zeros_like(seeds),
        )

    def propose(self, state: State, batch: int) -> Proposal:
        """The candidates of the highest expected improvement one after another, each away from those before it.

        A search that gave its prior up proposes what one without a prior would after the same evaluations; but first it
        begins as such a search does, with a random one.
        """
        cold_S = (state.given_up > 0) & (state.prior != transfer_model.NO_PRIOR)
        archs_SBD = state.archs.new_zeros(len(cold_S), batch, state.archs.shape[-1])
        for cold in (False, True):
            at_R = (cold_S == cold).nonzero().squeeze(-1)
            if len(at_R):
                some = State(*(leaf[at_R] for leaf in state))
                prior = torch.full_like(some.prior, transfer_model.NO_PRIOR) if cold else some.prior
                archs_RBD = self._propose(transfer_model.find(self.space, prior), some, batch)
                if cold and self.random_restart:
                    archs_RBD = exploration.with_contrast(self.space, some, archs_RBD)
                archs_SBD[at_R] = archs_RBD
        return Proposal(archs_SBD)

    def _propose(self, model: TransferModel, state: State, batch: int) -> Tensor:
        """At first what is copied, and a test of the prior; then the candidates of the highest expected improvement one after
        another, each away from those before it."""
        first_SCD = self._copied(model, state, batch)
        tested_at = max(self.num_copied, 1)
        # Under limits the prior knows the data, as a rule, and the test costs more than it tells: on the devices left out 0.17 of
        # the evaluations without a prior with it, 0.10 without (`runs/tune.sh`).
        tested = model.prior is not None and not model.constraint_facts
        if tested and state.archs.shape[1] <= tested_at < state.archs.shape[1] + batch:
            first_SCD = self._with_test(state, first_SCD)
        if first_SCD.shape[1] == batch:
            return first_SCD
        return torch.cat([first_SCD, self._improving(model, state, first_SCD, batch)], 1)

    def _with_test(self, state: State, copied_SCD: Tensor) -> Tensor:
        """What is copied and, by `prior_test`, one that does not rest on the prior, `[S, C + 1, D]` or as it was."""
        if self.prior_test == "none" or not self.use_cold_hypotheses:
            return copied_SCD
        if self.prior_test == "random":
            return torch.cat([copied_SCD, exploration.random_new(self.space, state, copied_SCD)], 1)
        cold = transfer_model.find(self.space, torch.full_like(state.prior, transfer_model.NO_PRIOR))
        return torch.cat([copied_SCD, self._improving(cold, state, copied_SCD, copied_SCD.shape[1] + 1)], 1)

    def _copied(self, model: TransferModel, state: State, batch: int) -> Tensor:
        """The next of the first proposals, `[S, C, D]`, C at most `batch`.

        By what was evaluated and not by its number: where evaluations run side by side, the second may end before the first.
        """
        first_KD = model.first_archs[: self.num_copied]
        count = min(batch, max(len(first_KD) - state.archs.shape[1], 0))
        if not count:
            return state.archs[:, :0]
        first_SKD = first_KD.expand(len(state.seeds), -1, -1)
        order_SK = batches.is_evaluated(self.space, first_SKD, state).int().argsort(dim=-1, stable=True)
        return batches.take(first_SKD, order_SK[:, :count])

    def _improving(self, model: TransferModel, state: State, copied_SCD: Tensor, batch: int) -> Tensor:
        """The candidates of the highest expected improvement but those copied, which begin the batch, `[S, B - C, D]`."""
        history, batch = self._history(state), batch - copied_SCD.shape[1]
        pool_SMD, new_SM = pool.candidate_pool(model, state, history, self.num_policy_samples, batch)
        explore_SB, explored_STD = exploration.explore(model, state, batch, self.patience, self.explore_share)
        archs_SMD = torch.cat([pool_SMD, explored_STD], 1)
        inputs = model.features(archs_SMD)
        gain_SM = self._acquisition(model, state, history, archs_SMD, inputs).float()
        gain_SM = gain_SM * batches.novelty(self.space, archs_SMD, state)
        new_ST = explore_SB[:, explore_SB.any(0)] & ~batches.is_evaluated(self.space, explored_STD, state)
        new_SM = torch.cat([new_SM, new_ST], 1)
        if copied_SCD.shape[1]:
            new_SM &= ~_ops.isin(*_ops.keys(self.space.choices, archs_SMD, copied_SCD))
        gain_SM = torch.where(new_SM, gain_SM, -1.0)
        return batches.select_batch(self.space, archs_SMD, inputs.one_hot, gain_SM, explore_SB, pool_SMD.shape[1])

    def learn(self, state: State, proposal: Proposal, results: Results) -> State:
        L, ratio_SBL = state.constraint_ratio.shape[-1], results.constraint_ratio
        ratio_SBL = results.score.new_zeros(*results.score.shape, L) if ratio_SBL is None else ratio_SBL[..., :L]
        state = state._replace(
            step=state.step + 1,
            archs=torch.cat([state.archs, proposal.archs], 1),
            score=torch.cat([state.score, results.score], 1),
            cost=torch.cat([state.cost, results.cost], 1),
            constraint_ratio=torch.cat([state.constraint_ratio, ratio_SBL.nan_to_num(1.0)], 1),
        )
        return state._replace(given_up=self._given_up(state))

    def prior_weight(self, state: State) -> Tensor:
        """What the prior counts for in the next proposal, `[S]` from 0 to 1: the posterior weight of the hypotheses that use it,
        and 0 once the search has given it up."""
        model = transfer_model.find(self.space, state.prior)
        weight_S = (state.given_up == 0).double() * (model.prior is not None)
        at_R = (weight_S > 0).nonzero().squeeze(-1)
        if not state.archs.shape[1] or not len(at_R):
            return weight_S
        history = self._history(State(*(leaf[at_R] for leaf in state)))
        weight_S[at_R] = self._posterior(model, history, model.features(history.archs)).prior_weight
        return weight_S

    def prior_correlation(self, state: State) -> Tensor:
        """Correlation of the scores, penalties added back, with the family mean that fits them best, `[S]` from -1 to 1.

        The highest less one and a half of its standard errors (Fisher's z), as it is the highest of several: so that a few
        evaluations are not taken for more.
        """
        model = transfer_model.find(self.space, state.prior)
        mean_SEU = model.features(state.archs).mean[..., : model.num_means]
        if not mean_SEU.shape[1] or not mean_SEU.shape[2]:
            return torch.zeros(len(state.seeds), dtype=torch.float64)
        score_SE1 = scores.normal_scores(constraints.unpenalised_scores(state))[..., None]
        mean_SEU, score_SE1 = (x - x.mean(1, keepdim=True) for x in (mean_SEU, score_SE1))
        scale_SU = mean_SEU.square().sum(1).sqrt() * score_SE1.square().sum(1).sqrt()
        highest_S = ((mean_SEU * score_SE1).sum(1) / scale_SU.clamp_min(1e-9)).amax(-1).clamp(-0.999, 0.999)
        return (highest_S.atanh() - 1.5 * max(state.score.shape[1] - 3, 1) ** -0.5).tanh()

    def _given_up(self, state: State) -> Tensor:
        """`State.given_up` after the latest evaluations."""
        evaluated, has_prior_S = state.archs.shape[1], (state.prior != transfer_model.NO_PRIOR) & (state.given_up == 0)
        if not self.use_cold_hypotheses or evaluated < self.num_prior_first or not bool(has_prior_S.any()):
            return state.given_up
        gives_up_S = has_prior_S & (self.prior_weight(state) < self.least_prior_weight)
        return torch.where(gives_up_S, evaluated, state.given_up)

    def _history(self, state: State) -> History:
        kept_SE = scores.context_window(state.score, self.max_observations)
        normal_SE = scores.normal_scores(constraints.unpenalised_scores(state))
        return History(batches.take(state.archs, kept_SE), normal_SE.gather(1, kept_SE))

    def _posterior(self, model: TransferModel, history: History, inputs: KernelInputs) -> Posterior:
        return model.posterior(history, inputs, cold=self.use_cold_hypotheses)

    def _acquisition(
        self, model: TransferModel, state: State, history: History, archs_SMD: Tensor, inputs: KernelInputs
    ) -> Tensor:
        """Expected improvement `[S, M]`; at first what the prior expects of each."""
        if not state.archs.shape[1]:
            if model.means is None and model.num_figures:  # What it expects of each, before anything else is known.
                return inputs.mean.mean(-1).exp()
            if model.means is None:
                return _noise.uniform(state.seeds, 0, inputs.path_stats.shape[1], stream=_FIRST).double() + 1.0
            return (inputs.mean[..., : model.num_means] @ model.means.weights).exp()
        posterior = self._posterior(model, history, inputs)
        if not state.constraint_ratio.shape[-1]:
            best_S11 = history.scores.amax(-1)[:, None, None]  # The best is always in the history.
            return posterior.expected_improvement(best_S11)
        penalty = constraints.penalty_posterior(model, state, archs_SMD, inputs)
        normal_SE = scores.normal_scores(constraints.unpenalised_scores(state))
        best_S11 = (normal_SE - penalty.observed).amax(-1)[:, None, None]
        return penalty.expected(lambda off_SM: posterior.expected_improvement(best_S11 + off_SM[:, None]))


@lru_cache(maxsize=4)
def _read(path: str) -> Prior:
    return prior_file.read(path)
