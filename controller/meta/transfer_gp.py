"""Transfer for Gaussian processes: mean functions and components of tasks' scores, by a network and architecture by architecture.

A cell encoder learns a mean over tasks and directions of variation so that every training task is one combination of them, a
factorization with a network for one factor; it serves any space. Beside it, in the spaces that tables cover, principal
components of the tasks' scores (`models/task_pca`). Both are the prior of `transfer_bo` (cf. Feurer et al. 2018,
arXiv:1802.02219; Perrone et al. 2018, "Scalable hyperparameter transfer learning").

Shapes: `N` architectures, `K` training tasks, `F` families, `R` directions.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from controller._base import AuxiliaryColumn, Prior, Stage, TaskBatch, TaskRequest, TaskSet, stage_at
from controller._settings_types import Range
from controller.meta import _descent
from controller.models import cell_encoder, features, prior_file, rank_sources, task_features
from controller.models.prior_file import Families, SpaceMemory, Tasks
from controller.models.source_ranks import SourceRanks
from controller.models.task_pca import UNDECLARED, family_balance, fit_components
from search_spaces import UserError

__all__ = ["TransferGp"]

_RATE, _WARM = 3e-3, 50
_ROWS = 1024
"""Architectures of a space in a step at most."""
_TOP_WEIGHT = 0.7
"""An error counts exp(0.7) as much for each deviation that the score is above the mean: a search is about the best."""
_LARGE_SPACE, _SMALL_SPACE_WEIGHT = 10_000, 0.25
_DECAY = 1e-3
"""Of the squared coordinates: what task features explain is left to them."""
_OLD_DRAWS = 139_657
"""Numbers that version 0.1 drew for its transformer in between: so the same seed gives the same prior as it did."""


_JITTER = 1e-4
"""On the variance of tasks' coordinates, so that it has a Cholesky factor where few tasks span it."""
_COORDS = "coords"


class State(NamedTuple):
    step: Tensor
    """int64 `[]`."""
    params: dict[str, Tensor]
    """Weights of the encoder, and `coords` `[K, R]`: each task's part that does not follow from its features."""
    moments: _descent.Moments


@dataclass(frozen=True)
class TransferGp:
    """Mean functions and components of tasks' scores, for `transfer_bo`."""

    tasks: TaskSet
    pca_steps: Annotated[int, Range(0)] = 1200
    """Steps that train the cell encoder."""
    task_features: bool = True
    """Let tasks be distinguished by what is known of their data."""
    per_arch_memory: bool = True
    """Keep what tables say of each architecture of their spaces."""
    auxiliary_columns: bool = True
    """There, let what tables say beside scores, as seconds, sizes and zero-cost proxies, turn the components."""
    quick_options: ClassVar[Mapping[str, Any]] = {"pca_steps": 30}

    @property
    def stages(self) -> tuple[Stage, ...]:
        encoder = TaskRequest(num_tasks=None, rows=_ROWS)
        return (Stage("pca", self.pca_steps, (encoder,)), Stage("memory", int(self.per_arch_memory), ()))

    def init(self, seeds: Tensor) -> State:
        """An encoder with random weights, and tasks at random coordinates. Raises `UserError` for more than one seed."""
        if len(seeds) != 1:
            raise UserError(f"transfer_gp trains one prior at a time; it got {len(seeds)} seeds.")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(seeds[0]))
            encoder = cell_encoder.CellEncoder()
            torch.rand(_OLD_DRAWS)
            coords = 0.1 * torch.randn(len(self.tasks.tasks), cell_encoder.COMPONENTS)
        params = {n: t.detach().clone() for n, t in encoder.state_dict().items()} | {_COORDS: coords}
        return State(torch.tensor(0), params, _descent.begin(params, params))

    def update(self, meta_state: State, batch: TaskBatch) -> tuple[State, dict[str, float]]:
        """One step down the weighted squared error of all tasks' scores at the rows of the batch; in the end the memory."""
        if stage_at(self.stages, int(meta_state.step))[0].name == "memory":
            return meta_state._replace(step=meta_state.step + 1), {"spaces": float(len(self._memory))}
        encoder = _descent.network(cell_encoder.CellEncoder, _weights(meta_state.params))
        coords_KR = nn.Parameter(meta_state.params[_COORDS].clone())
        loss = torch.zeros(())
        for sample in batch:
            described, sketch = features.enumerate_valid(sample.space), cell_encoder.encode_space(sample.space)
            assert described is not None
            hidden = encoder(sketch, sample.archs, described.path_stats[sample.rows])
            mean_n, directions_nR = encoder.mean_and_components(hidden)
            at_KR = coords_KR[sample.tasks] + encoder.task_to_components(self._known(sample.task_features))
            score_nK = sample.scores.T.contiguous()
            square_nK = (mean_n[:, None] + directions_nR @ at_KR.T - score_nK).square()
            balance_K = family_balance([self.tasks.tasks[k].family for k in sample.tasks.tolist()])
            error = (square_nK * (_TOP_WEIGHT * score_nK).exp() * (balance_K / balance_K.mean())).mean()
            large = len(described.archs) > _LARGE_SPACE
            loss = loss + error * (1.0 if large else _SMALL_SPACE_WEIGHT)
        loss = loss + _DECAY * coords_KR.square().mean()
        params = dict(encoder.named_parameters()) | {_COORDS: coords_KR}
        step = int(meta_state.step)
        moments = _descent.descend(params, meta_state.moments, loss, _descent.rate(_RATE, step, self.pca_steps, _WARM))
        after = {n: p.detach() for n, p in params.items()}
        return State(meta_state.step + 1, after, moments), {"loss": loss.item()}

    def prior(self, meta_state: State) -> Prior:
        """The encoder, where along its directions tasks and families lie, and what is kept of each architecture."""
        known = self.tasks
        encoder = _descent.network(cell_encoder.CellEncoder, _weights(meta_state.params))
        features_KT = self._known(torch.stack([task_features.task_features(x.task) for x in known.tasks]))
        with torch.no_grad():
            coords_KR = meta_state.params[_COORDS] + encoder.task_to_components(features_KT)
        family_K = [x.family for x in known.tasks]
        share_K = family_balance(family_K)
        share_K = share_K / share_K.sum()
        means = [coords_KR[[i for i, its in enumerate(family_K) if its == f]].mean(0) for f in known.families]
        varying_KR = (coords_KR - share_K @ coords_KR) * share_K.sqrt()[:, None]
        covariance_RR = (varying_KR.T @ varying_KR).double() + _JITTER * torch.eye(varying_KR.shape[1])
        weights_F = torch.tensor([known.family_weights.get(f, UNDECLARED) for f in known.families])
        scale_RR = torch.linalg.cholesky(covariance_RR).float().contiguous()
        memory = self._memory if int(meta_state.step) > self.pca_steps else {}
        contents = prior_file.Contents(
            encoder=_weights(meta_state.params),
            families=Families(torch.stack(means), scale_RR, weights_F / weights_F.sum()),
            tasks=Tasks(features_KT, share_K, coords_KR) if self.task_features else None,
            spaces=memory,
            portfolios=self.portfolios if memory else {},
        )
        about = {
            "controller": "transfer_bo",
            "tasks": json.dumps([x.name for x in known.tasks]),
            "auxiliary_columns": json.dumps([x.name for x in self._auxiliary] if memory else []),
            "families": json.dumps(known.families),
        }
        return Prior(prior_file.pack(contents), about)

    @property
    def _auxiliary(self) -> tuple[AuxiliaryColumn, ...]:
        return self.tasks.auxiliary if self.auxiliary_columns else ()

    @cached_property
    def _memory(self) -> dict[str, SpaceMemory]:
        """By space, what tables say of each architecture: a function of the tasks alone, and so no part of the state."""
        known = self.tasks._replace(auxiliary=self._auxiliary)
        found = {space.name: fit_components(space, known) for space in known.spaces}
        return {name: memory for name, memory in found.items() if memory is not None}

    @cached_property
    def portfolios(self) -> dict[str, SourceRanks]:
        """By space, what the best architectures of each task are: as `_memory`, no part of the state."""
        known = self.tasks._replace(auxiliary=self._auxiliary)
        found = {space.name: rank_sources.fit(space, known) for space in known.spaces}
        return {name: ranks for name, ranks in found.items() if ranks is not None}

    def _known(self, features_KT: Tensor) -> Tensor:
        return features_KT if self.task_features else torch.zeros_like(features_KT)


def _weights(params: dict[str, Tensor]) -> dict[str, Tensor]:
    """Of the encoder alone."""
    return {n: t for n, t in params.items() if n != _COORDS}
