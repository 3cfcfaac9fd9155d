"""The mean functions around which a prior expects the scores of a task, and how likely each is.

There is one kind: the mean of a group of tasks, which is a family, or the tasks with similar features, each by its similarity.
Where the prior has seen tables of the space, it is known architecture by architecture; in another space the encoder computes it.

Shapes: `N` architectures of a space, `K` tasks that taught the prior, `F` families, `U` mean functions, `R` coordinates for the
encoder.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from controller.models.pretrained import Encoded, PretrainedPrior
from controller.models.prior_file import SpaceMemory
from controller.models.task_features import task_similarity

_P_SIMILAR = 0.2
"""Probability that a new task follows the mean of the tasks with similar features, rather than that of a family."""


class MeanFunctions(NamedTuple):
    """Either kept of the space's architectures or computed by the encoder."""

    weights: Tensor
    """float64 `[U]` probability that the task follows each."""
    kept: Tensor | None = None
    """float64 `[N, U]` in standard deviations over the space; None where the prior has not seen the space."""
    coords: Tensor | None = None
    """float64 `[U, R]` for the encoder; None where `kept` is there."""


def mean_functions(prior: PretrainedPrior, memory: SpaceMemory | None, task_features: Tensor | None) -> MeanFunctions:
    """Those of a prior for a task with these features `[T]`; None: for no task in particular.

    Args:
        memory: what the prior keeps of the space's architectures; None in a space that it has not seen.
    """
    assert prior.families is not None
    similarity_K = None
    if prior.tasks is not None and task_features is not None:
        similarity_K = prior.tasks.share * task_similarity(task_features, prior.tasks.features)
    if memory is not None:
        return _kept(memory, prior.families.weights, similarity_K)
    coords_UR, weights_U = prior.families.coords, prior.families.weights
    if similarity_K is not None and prior.tasks is not None:
        similar_R = similarity_K @ prior.tasks.coords / similarity_K.sum()
        coords_UR, weights_U = torch.cat([coords_UR, similar_R[None]]), _followed_by(weights_U, _P_SIMILAR)
    return MeanFunctions(weights_U, coords=coords_UR)


class Scale(NamedTuple):
    """What means are standardised by, `[U]` each."""

    center: Tensor
    spread: Tensor


def encoded_means(means: MeanFunctions, encoded: Encoded) -> Tensor:
    """The encoder's mean functions at some architectures, `[N, U]`."""
    assert means.coords is not None
    return encoded.mean[:, None] + encoded.components @ means.coords.T


def scale_of(means_NU: Tensor) -> Scale:
    """Mean and standard deviation over the space."""
    return Scale(means_NU.mean(0), means_NU.std(0).clamp_min(1e-6))


def standardised_means(
    prior: PretrainedPrior, means: MeanFunctions, encoded: Encoded, scale: Scale | None
) -> tuple[Tensor, Tensor]:
    """The encoder's mean functions `[N, U]` and the components along which tasks have unit variance, `[N, R]`.

    Args:
        scale: what the means are standardised by; None: these architectures themselves.
    """
    assert prior.families is not None
    means_NU = encoded_means(means, encoded)
    center, spread = scale or scale_of(means_NU)
    return (means_NU - center) / spread, encoded.components @ prior.families.scale


def _kept(memory: SpaceMemory, weights_F: Tensor, similarity_K: Tensor | None) -> MeanFunctions:
    """Those that a prior keeps of a space; families without a task on it are left out."""
    here_F = memory.family_means.std(0) > 0
    means_NU, weights_U = memory.family_means[:, here_F], weights_F[here_F] / weights_F[here_F].sum()
    if similarity_K is not None:
        weight_K = torch.where(memory.task_coords.isnan().any(1), 0.0, similarity_K)
        similar_A = weight_K @ memory.task_coords.nan_to_num() / weight_K.sum().clamp_min(1e-30)
        mean_N = memory.mean + memory.components @ similar_A
        mean_N = (mean_N - mean_N.mean()) / mean_N.std().clamp_min(1e-6)
        means_NU, weights_U = torch.cat([means_NU, mean_N[:, None]], 1), _followed_by(weights_U, _P_SIMILAR)
    return MeanFunctions(weights_U, kept=means_NU)


def _followed_by(weights_U: Tensor, probability: float) -> Tensor:
    """With one more at the end that has this probability."""
    return torch.cat([weights_U * (1 - probability), weights_U.new_tensor([probability])])
