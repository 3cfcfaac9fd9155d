"""The mean functions around which a prior expects the scores of a task, and how likely each is.

Where the task's features are known, tasks that are similar by them make a mean function of their own.

Shapes: `N` architectures of a space, `K` tasks that taught the prior, `F` families, `C` tasks kept by themselves, `U` mean
functions, `R` coordinates for the encoder.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from controller.models.pretrained import Encoded, PretrainedPrior
from controller.models.prior_file import Families, SpaceMemory
from controller.models.task_features import task_similarity

_P_SIMILAR = 0.2
"""Probability that a new task follows the mean of the tasks with similar features, rather than that of a family. Not ablated by
itself; without task features 13.3 evaluations in place of 11.4 (`runs/ablations.sh`), within chance."""
_P_SAME = 0.15
"""Probability that a new task is nearly one of those kept by themselves. Not ablated by itself; without such tasks 10.3 in place
of 11.4 evaluations, but 37 in place of 16.5 on raspi4 and 41 in place of 20 on aerial images."""


class MeanFunctions(NamedTuple):
    """Those that the encoder computes in any space; where the prior has seen the space, those that it keeps of it follow."""

    coords: Tensor
    """float64 `[F, R]` of families, and of the similar tasks at the end, for the encoder."""
    kept: Tensor | None
    """float64 `[N, F + C]` of the same and of single tasks; None where the prior has not seen the space."""
    weights: Tensor
    """float64 `[U]` probability that the task follows each; U = F, or 2 F + C."""
    num_means: int
    """How many are means of several tasks; single tasks follow."""


def mean_functions(prior: PretrainedPrior, space: str, task_features: Tensor | None) -> MeanFunctions:
    """Those of a prior in a space for a task with these features `[T]`; None: for no task in particular."""
    assert prior.families is not None
    memory, similarity_K = prior.spaces.get(space), None
    if prior.tasks is not None and task_features is not None:
        similarity_K = prior.tasks.share * task_similarity(task_features, prior.tasks.features)
    coords_FR, weights_F = _families(prior, prior.families, similarity_K)
    if memory is None:
        return MeanFunctions(coords_FR, None, weights_F, len(weights_F))
    kept_NF = _kept_families(memory, similarity_K)
    # A family's weight is shared evenly between the encoder's mean and the kept one, if the space has tasks of the family.
    kept_F = weights_F[: kept_NF.shape[1]] * (kept_NF.std(0) > 0)
    encoded_F = weights_F - torch.nn.functional.pad(kept_F / 2, (0, len(weights_F) - len(kept_F)))
    weights_U = torch.cat([encoded_F, kept_F / 2])
    if memory.task_means is None or memory.task_weights is None:
        return MeanFunctions(coords_FR, kept_NF, weights_U, len(weights_U))
    every_U = torch.cat([weights_U * (1 - _P_SAME), memory.task_weights * _P_SAME])
    return MeanFunctions(coords_FR, torch.cat([kept_NF, memory.task_means], 1), every_U, len(weights_U))


class Scale(NamedTuple):
    """What means are standardised by, `[F]` each."""

    center: Tensor
    spread: Tensor


def encoded_means(means: MeanFunctions, encoded: Encoded) -> Tensor:
    """The encoder's family means at some architectures, `[N, F]`."""
    return encoded.mean[:, None] + encoded.components @ means.coords.T


def scale_of(means_NF: Tensor) -> Scale:
    """Mean and standard deviation over the space."""
    return Scale(means_NF.mean(0), means_NF.std(0).clamp_min(1e-6))


def standardised_means(
    prior: PretrainedPrior, means: MeanFunctions, encoded: Encoded, scale: Scale | None
) -> tuple[Tensor, Tensor]:
    """The encoder's family means `[N, F]` and the components along which tasks have unit variance, `[N, R]`.

    Args:
        scale: what the means are standardised by; None: these architectures themselves.
    """
    assert prior.families is not None
    means_NF = encoded_means(means, encoded)
    center, spread = scale or scale_of(means_NF)
    return (means_NF - center) / spread, encoded.components @ prior.families.scale


def _families(prior: PretrainedPrior, families: Families, similarity_K: Tensor | None) -> tuple[Tensor, Tensor]:
    """Coordinates `[F, R]` and weights `[F]` of the families and, at the end, of the tasks similar to this one."""
    if similarity_K is None or prior.tasks is None:
        return families.coords, families.weights
    similar_R = similarity_K @ prior.tasks.coords / similarity_K.sum()
    weight = torch.tensor([_P_SIMILAR], dtype=torch.float64)
    return torch.cat([families.coords, similar_R[None]]), torch.cat([families.weights * (1 - _P_SIMILAR), weight])


def _kept_families(memory: SpaceMemory, similarity_K: Tensor | None) -> Tensor:
    """The means that the prior keeps of the space, `[N, F]`, and that of the tasks similar to this one."""
    if similarity_K is None:
        return memory.family_means
    coords_KA = memory.task_coords
    weight_K = torch.where(coords_KA.isnan().any(1), 0.0, similarity_K)
    similar_A = weight_K @ coords_KA.nan_to_num() / weight_K.sum().clamp_min(1e-30)
    mean_N = memory.mean + memory.components @ similar_A
    mean_N = (mean_N - mean_N.mean()) / mean_N.std().clamp_min(1e-6)
    return torch.cat([memory.family_means, mean_N[:, None]], 1)
