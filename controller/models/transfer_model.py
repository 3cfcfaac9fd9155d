"""What a search knows of its space and its task from other tasks: one object, made once and found by the state's fingerprint.

Shapes: `S` seeds, `E` evaluations so far, `M` candidates, `N` architectures of an enumerable space, `D` decisions, `F` families
of tasks, `C` tasks kept by themselves, `U` mean functions, `A` components, `L` constraints, `H` the encoder's width.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from controller._base import Prior
from controller.models import constraint_gp, features, gp_ensemble, gp_members, portfolio, pretrained
from controller.models.features import ArchFeatures
from controller.models.gp_ensemble import Posterior
from controller.models.gp_members import Ensemble
from controller.models.kernels import KernelInputs, by_search
from controller.models.mean_functions import (
    MeanFunctions,
    Scale,
    encoded_means,
    mean_functions,
    scale_of,
    standardised_means,
)
from controller.models.pretrained import PretrainedPrior
from controller.models.prior_file import SpaceMemory
from controller.models.task_features import task_features
from search_spaces import ConstraintFacts, Space, Task, UserError, _measured, _ops, _sampling
from search_spaces._figures import HasFigures

NO_PRIOR = 0
"""The fingerprint of a model without a prior."""
_SAMPLE = 4096
"""Architectures that stand for a space too large to enumerate."""
_DECISIONS = 6
"""Of a space for which the kernels' widths were chosen."""
_CACHED = 4
"""Models whose features stay in memory, 10 to 30 MB each; others are computed again when they are asked for."""


class History(NamedTuple):
    """What a posterior is conditioned on."""

    archs: Tensor
    """int64 `[S, E, D]`."""
    scores: Tensor
    """float64 `[S, E]` normal scores among all evaluations, penalties added back."""


@dataclass(frozen=True, eq=False)
class TransferModel:
    """A prior in a space for a task. Without a prior there are the hypotheses that know no other task."""

    space: Space
    fingerprint: int
    """Of the prior and the task's features; `NO_PRIOR` without a prior."""
    prior: PretrainedPrior | None = None
    task_features: Tensor | None = None
    """float64 `[T]`; None for a model of no task in particular."""
    constraint_facts: tuple[ConstraintFacts, ...] = ()
    """Of the constraints whose violation costs score."""

    @cached_property
    def memory(self) -> SpaceMemory | None:
        """What the prior knows of the space's architectures one by one; None where it has seen no table of the space."""
        every = features.enumerate_valid(self.space)
        if self.prior is None or every is None:
            return None
        memory, whole = self.prior.spaces.get(self.space.name), _measured.whole_of(self.space)
        listed = features.enumerate_valid(whole)
        if memory is None or listed is None:
            return None
        if len(memory.mean) != len(listed.archs):
            raise UserError(
                f"The prior remembers {len(memory.mean):,} architectures of space '{whole.name}', which has "
                f"{len(listed.archs):,}. A space of your own takes another name; else train the prior again, or take another."
            )
        if whole is self.space:
            return memory
        return memory.rows(features.row_of(whole, every.archs))

    @cached_property
    def means(self) -> MeanFunctions | None:
        """The prior's mean functions; None without a prior."""
        return None if self.prior is None else mean_functions(self.prior, self.memory, self.task_features)

    @property
    def num_means(self) -> int:
        """Mean functions of the prior, `U`: the first of those of `features`."""
        return 0 if self.means is None else len(self.means.weights)

    @property
    def num_figures(self) -> int:
        """Figures that the space knows of each architecture: mean functions after the prior's. 0 of most spaces."""
        return self.space.num_figures if isinstance(self.space, HasFigures) else 0

    @cached_property
    def ensemble(self) -> Ensemble:
        """All hypotheses."""
        weights = None if self.means is None else self.means.weights
        every = gp_members.hypotheses(weights, self.num_figures, listed=self.all_archs is not None)
        return gp_members.ensemble(every, num_means=self.num_means)

    @cached_property
    def warm_ensemble(self) -> Ensemble:
        """Those that use the prior; without one, all."""
        return gp_members.ensemble(self.ensemble.hypotheses, cold=self.means is None, num_means=self.num_means)

    @cached_property
    def all_archs(self) -> Tensor | None:
        """Every architecture of an enumerable space, int64 `[N, D]`; None for a larger one."""
        every = features.enumerate_valid(self.space)
        return None if every is None else every.archs

    @cached_property
    def all_features(self) -> KernelInputs | None:
        """The kernel inputs of `all_archs`."""
        every = features.enumerate_valid(self.space)
        if every is None:
            return None
        return self._kernel_inputs(every, *self._means_and_components(every))

    @cached_property
    def prior_ranking(self) -> Tensor:
        """The rows of `all_archs` in the order of the prior's mean over all mean functions, the best first."""
        assert self.all_features is not None
        assert self.means is not None
        return (self.all_features.mean @ self.means.weights).argsort(descending=True, stable=True)

    @cached_property
    def ridge_features(self) -> Tensor:
        """All features of `all_archs` for a ridge regression, float64 `[N, features]`."""
        assert self.all_features is not None
        one = torch.ones(len(self.all_features.one_hot), 1, dtype=torch.float64)
        return torch.cat([*self.all_features, one], 1)

    @cached_property
    def constraint_inputs(self) -> constraint_gp.ConstraintInputs:
        """What constrained quantities of `all_archs` are predicted from."""
        assert self.all_archs is not None
        assert self.all_features is not None
        factors = None if self.memory is None else self.memory.constraint_factors
        return constraint_gp.inputs(self.space, self.all_archs, self.all_features, factors)

    @cached_property
    def first_archs(self) -> Tensor:
        """What the best architectures of the prior's tasks are, in the order in which to copy them, int64 `[L, D]`.

        L = 0 without a prior, and where it knows no task on the space. A user's runs change nothing of it: a run on another set
        may be a bad guide, and what it taught comes in by the evaluations that follow (`runs/from_runs.sh`).
        """
        if self.prior is None:
            return torch.zeros(0, len(self.space.choices), dtype=torch.long)
        features_KT = None if self.prior.tasks is None else self.prior.tasks.features
        return portfolio.first_archs(
            self.space, self.prior.portfolios, features_KT, self.task_features, self.constraint_facts
        )

    def row_of(self, archs: Tensor) -> Tensor:
        """The rows of architectures `[..., D]` in `all_archs`."""
        return self._row_by_index[_ops.index(archs, self.space.choices)]

    @cached_property
    def _row_by_index(self) -> Tensor:
        return features.index_to_row(self.space)

    def features(self, archs: Tensor) -> KernelInputs:
        """The kernel inputs of architectures `[S, M, D]`, figures that the space knows among their means."""
        found = self._plain_features(archs)
        if not isinstance(self.space, HasFigures):
            return found
        # Of these alone: a figure of every architecture of the space may take minutes.
        return found._replace(mean=torch.cat([found.mean, self.space.figures(archs).double()], -1))

    def _plain_features(self, archs: Tensor) -> KernelInputs:
        if self.all_features is not None:
            return self.all_features.rows(self.row_of(archs))
        flat = features.describe(self.space, archs.flatten(0, 1))
        described = ArchFeatures(*(x.unflatten(0, archs.shape[:2]) for x in flat))
        # One search at a time: the encoder's products would depend on company.
        own = [self._means_and_components(ArchFeatures(*(x.squeeze(0) for x in few))) for few in by_search(*described)]
        return self._kernel_inputs(described, *(torch.stack(x) for x in zip(*own)))

    def embedding(self, archs: Tensor) -> Tensor:
        """The encoder's vectors of architectures `[..., D]`, float64 `[..., H]`."""
        assert self.prior is not None
        encoded = self.prior.encode_all(self.space)
        if encoded is not None:
            return encoded.embedding[self.row_of(archs)]
        flat = self.prior.encode(self.space, features.describe(self.space, archs.flatten(0, -2)))
        return flat.embedding.unflatten(0, archs.shape[:-1])

    def posterior(self, history: History, ahead: KernelInputs, *, cold: bool = True) -> Posterior:
        """The posterior of normal scores at `ahead` `[S, M]`, by the likeliest hypotheses.

        Args:
            cold: whether hypotheses that know no other task take part, so that a wrong prior gives way.
        """
        ensemble = self.ensemble if cold else self.warm_ensemble
        return gp_ensemble.predict(ensemble, self.features(history.archs), history.scores, ahead)

    def constraint_posterior(
        self, evaluated: Tensor, ratio: Tensor, archs: Tensor, ahead: KernelInputs
    ) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation `[S, M, L]` of log(value / bound) of candidates `archs` `[S, M, D]`, features `ahead`.

        Args:
            evaluated: `[S, E, D]` architectures whose `ratio` `[S, E, L]` value / bound was measured.
        """
        if self.all_archs is not None:
            every, at_SE, at_SM = self.constraint_inputs, self.row_of(evaluated), self.row_of(archs)
        else:
            every, at_SE, at_SM = constraint_gp.joined(self.space, evaluated, self.features(evaluated), archs, ahead)
        log_SEL = constraint_gp.clipped_log_ratio(ratio, every)
        found = [constraint_gp.predict(every, at_SE, x, at_SM) for x in log_SEL.unbind(-1)]
        mean, std = (torch.stack(x, -1) for x in zip(*found))
        return mean, std

    def warm_up(self) -> None:
        """Compute at once what is computed once: half a second for a large space, which no proposal should wait for."""
        _ = self.ensemble, self.all_features, self._sample_scale

    @cached_property
    def _sample_scale(self) -> Scale | None:
        """In a space too large to enumerate, what standardises the encoder's means; elsewhere they do it themselves."""
        if self.all_archs is not None or self.prior is None or self.means is None:
            return None
        archs = _sampling.sample(self.space, torch.zeros(1, dtype=torch.long), 0, _SAMPLE, stream=255).squeeze(0)
        return scale_of(encoded_means(self.means, self.prior.encode(self.space, features.describe(self.space, archs))))

    def _means_and_components(self, described: ArchFeatures) -> tuple[Tensor, Tensor]:
        """`KernelInputs.mean` and `components`; of an enumerable space all at once: means are standardised over them."""
        if self.prior is None or self.means is None:
            nothing = torch.zeros(len(described.archs), 0, dtype=torch.float64)
            return nothing, nothing
        if self.memory is not None and self.means.kept is not None:
            return self.means.kept, self.memory.components
        encoded = self.prior.encode_all(self.space) or self.prior.encode(self.space, described)
        return standardised_means(self.prior, self.means, encoded, self._sample_scale)

    def _kernel_inputs(self, described: ArchFeatures, mean: Tensor, components: Tensor) -> KernelInputs:
        path_stats = described.path_stats[..., features.informative(self.space)]
        # By the number of decisions, so that in a large space neighbors of neighbors are not yet unlike.
        decisions = len(self.space.choices)
        one_hot = (
            described.one_hot * min(1.0, _DECISIONS / decisions) ** 0.5 if self.all_archs is None else described.one_hot
        )
        return KernelInputs(one_hot, path_stats, described.op_pairs, mean, components)


def make(space: Space, prior: Prior | None = None, task: Task | None = None) -> TransferModel:
    """The model of a search that begins; `find` finds it again for as long as the process lives.

    Without `task` the prior's families stand for all that may come, whatever the task's features.
    """
    model = _cold(space)
    if prior is not None:
        digest, described, facts = pretrained.digest(prior), None, ()
        loaded = pretrained.load(prior, digest.digest())
        if task is not None:
            described, facts = task_features(task), portfolio.soft_constraints(task)
            digest.update(described.numpy().tobytes())
            if facts and loaded.portfolios:  # No other prior asks what constraints are of.
                digest.update(repr(facts).encode())
        fingerprint = int.from_bytes(digest.digest()[:6], "big")
        _registered[fingerprint] = (loaded, None if described is None else described.double(), facts)
        model = _model(space, fingerprint)
    return model


def find(space: Space, prior_S: Tensor) -> TransferModel:
    """The model of a search by its state's fingerprints `[S]`. Raises `UserError` where the process has not made it."""
    fingerprint = int(prior_S[0])
    return _cold(space) if fingerprint == NO_PRIOR else _model(space, fingerprint)


_registered: dict[int, tuple[PretrainedPrior, Tensor | None, tuple[ConstraintFacts, ...]]] = {}
"""By fingerprint: the prior, shared by all tasks, the task's features, and what is known of its constraints."""


@lru_cache(maxsize=_CACHED)
def _model(space: Space, fingerprint: int) -> TransferModel:
    if fingerprint not in _registered:
        raise UserError("This search began with a prior that is not loaded; call `begin` with it, then go on.")
    return TransferModel(space, fingerprint, *_registered[fingerprint])


@lru_cache(maxsize=_CACHED)
def _cold(space: Space) -> TransferModel:
    return TransferModel(space, NO_PRIOR)


def clear_caches() -> None:
    """Forget what is computed once, as a test does that makes a space too large to enumerate."""
    for cached in (_model, _cold, pretrained.encode_all, features.enumerate_valid):
        cached.cache_clear()
