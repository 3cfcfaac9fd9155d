"""Penalties of constraints, modelled apart from what architectures are worth without them.

Each evaluation tells value / bound of each constraint. So a search knows the score without the penalty, which looks like that of
other tasks, and predicts the penalty (`constraint_gp`). Expected improvement is then taken over both, as in composite Bayesian
optimisation (Astudillo & Frazier 2019, arXiv:1906.01537).

Shapes: `S` seeds, `E` evaluations so far, `M` candidates, `N` architectures of an enumerable space, `D` decisions, `L`
constraints.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from controller._base import penalty
from controller.models import constraint_gp, kernels
from controller.models.kernels import KernelInputs
from controller.models.scores import normal_scores
from controller.models.transfer_model import TransferModel

_NODES = tuple((z, math.exp(-z * z / 2)) for z in (-1.8, -0.9, 0.0, 0.9, 1.8))
"""Places and weights by which the expectation over the process is summed, in standard deviations. Not ablated."""
_LATEST = 96
"""Evaluations that the process is conditioned on; its cost grows with their cube."""
_LEAST_SPREAD = 0.3
"""Points that the better half spreads over at least, so that equal scores do not make a point worth everything."""
_WORTH = (0.02, 3.0)
"""Normal scores that a point is worth at least and at most. Neither was ablated."""


class Constrained(Protocol):
    """What is read of a search's state."""

    @property
    def archs(self) -> Tensor: ...
    @property
    def score(self) -> Tensor: ...
    @property
    def constraint_ratio(self) -> Tensor: ...
    @property
    def penalty_weights(self) -> Tensor: ...


class PenaltyPosterior(NamedTuple):
    """Penalties in normal scores."""

    observed: Tensor
    """float64 `[S, E]` of the evaluations so far."""
    candidates: tuple[tuple[float, Tensor], ...]
    """Probabilities, and the candidates' penalties that have them, `[S, M]`."""

    def expected(self, gain: Callable[[Tensor], Tensor]) -> Tensor:
        """The expectation of a gain `[S, M]` that depends on the penalty."""
        return sum((p * gain(off) for p, off in self.candidates), torch.zeros((), dtype=torch.float64))


def unpenalised_scores(state: Constrained) -> Tensor:
    """Scores with the penalties added back, float32 `[S, E]`."""
    if not state.constraint_ratio.shape[-1]:
        return state.score
    return state.score + _penalty(state.constraint_ratio, state.penalty_weights).float()


def _penalty(ratio: Tensor, weights_SL: Tensor) -> Tensor:
    """The penalty of value / bound `[S, ..., L]`, float64 `[S, ...]`."""
    return penalty(ratio.double(), weights_SL.view(len(weights_SL), *[1] * (ratio.dim() - 2), -1))


def points_to_normal_scores(score: Tensor) -> Tensor:
    """What a point of the score is worth in normal scores among the better half of scores `[S, E]`: `[S, 1]`."""
    lowest = score.nan_to_num(torch.inf).amin(-1, keepdim=True).nan_to_num(posinf=0.0)
    value = torch.where(score.isnan(), lowest, score).double()
    order = value.argsort(dim=-1, descending=True, stable=True)[:, : max(score.shape[1] // 2, 1)]
    ends = order[:, [0, -1]]
    points, normal = value.gather(1, ends), normal_scores(score).gather(1, ends)
    return ((normal[:, :1] - normal[:, 1:]) / (points[:, :1] - points[:, 1:]).clamp_min(_LEAST_SPREAD)).clamp(*_WORTH)


def penalty_posterior(model: TransferModel, state: Constrained, archs: Tensor, ahead: KernelInputs) -> PenaltyPosterior:
    """The penalties of the evaluations and of candidates `archs` `[S, M, D]`, whose features are `ahead`."""
    worth_S1 = points_to_normal_scores(unpenalised_scores(state))
    observed_SE = worth_S1 * _penalty(state.constraint_ratio, state.penalty_weights)
    recent = state.archs[:, -_LATEST:], state.constraint_ratio[:, -_LATEST:]
    mean, std = model.constraint_posterior(*recent, archs, ahead)
    total = sum(p for _, p in _NODES)
    return PenaltyPosterior(
        observed_SE,
        tuple((p / total, worth_S1 * _penalty((mean + z * std).exp(), state.penalty_weights)) for z, p in _NODES),
    )


def ridge_penalty(model: TransferModel, state: Constrained) -> Tensor:
    """The penalty of every architecture of an enumerable space by ridge regression, in normal scores: `[S, N]`."""
    every, row_SE = model.constraint_inputs, model.row_of(state.archs)
    table_NF, noise = constraint_gp.ridge_features(every)
    log_SEL = constraint_gp.clipped_log_ratio(state.constraint_ratio, every) - every.mean_log[row_SE][..., None]
    center_S1L = log_SEL.mean(1, keepdim=True)
    weight_SFL = kernels.ridge(table_NF, row_SE, log_SEL - center_S1L, noise)
    weight_LSF = weight_SFL.permute(2, 0, 1)
    log_LSN = kernels.products_of_rows(weight_LSF.flatten(0, 1), table_NF.mT).unflatten(0, weight_LSF.shape[:2])
    log_LSN = log_LSN.add_(center_S1L.permute(2, 0, 1)).add_(every.mean_log)
    points_LSN = log_LSN.exp_().sub_(1).clamp_min_(0).mul_(state.penalty_weights.T[..., None])
    return points_to_normal_scores(unpenalised_scores(state)) * points_LSN.sum(0)
