"""What training tasks have in common and how they differ, architecture by architecture of a space whose tables are known.

The cell encoder knows a cell by what it computes and serves any space; a table says more of its own cells than any such
description. A weighted principal component analysis of the training tasks' scores keeps what tasks have in common of it, in
half precision. Auxiliary columns count there too: a new task may follow parameters, seconds or gradients at the start of
training in a way that none did before, and cells that agree in all of it will score alike. What may be constrained has factors of
its own: a few evaluations then tell the cost on a device that no table has.

Shapes: `N` architectures of a space, `K` training tasks, `P` auxiliary columns, `F` families, `R` components.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from controller._base import AuxiliaryColumn, TaskScores, TaskSet
from controller.models import features
from controller.models.prior_file import SpaceMemory
from search_spaces import Space

COMPONENTS = 24
"""They hold 95% of the weighted variance of the tasks' scores on NAS-Bench-201 (12: 84%, 48: 99.6%). The number was chosen on all
tasks, kept ones too."""
CONSTRAINT_FACTORS = 12
"""Factors in which what may be constrained differs from one device to the next; they hold 98% of the variance of 77 columns."""
_FEWEST = 4
"""Tasks on a space from which there is something to learn."""
UNDECLARED = 0.05
"""The weight of a family without one: that of the least likely of those that have."""


def family_balance(families: Sequence[str], dtype: torch.dtype = torch.float32) -> Tensor:
    """How much each task counts, `[K]`: its family's number of tasks to the power of -0.7.

    A family of `n` tasks so counts n^0.3 in all: a family of a hundred counts four times one of one. At -1 families would count
    alike, and one column of a large family nothing; at 0 the many constrained tasks would drown all others.
    """
    return torch.tensor([families.count(family) ** -0.7 for family in families], dtype=dtype)


def standardise(value_N: Tensor) -> Tensor:
    """Less the mean, over the standard deviation along the first axis; zero where all are the same."""
    return (value_N - value_N.mean(0)) / value_N.std(0).clamp_min(1e-6)


def fit_components(space: Space, known: TaskSet) -> SpaceMemory | None:
    """What to keep of a space, in half precision; None where there are too few tasks.

    Family means are standardized over the space, zero where a family has no task on it; along each component tasks vary by one.
    A task of a larger space that has the same edges and all of this space's operations counts too, at the cells the two share.
    """
    found = {k: scores for k, x in enumerate(known.tasks) if (scores := scores_on(space, x)) is not None}
    if len(found) < _FEWEST:
        return None
    family_K = [known.tasks[k].family for k in found]
    score_NK = torch.stack(list(found.values()), 1).double()
    share_K = family_balance(family_K, torch.float64)
    share_K = share_K / share_K.sum()
    mean_N1 = (score_NK @ share_K)[:, None]
    varying_N_ = torch.cat(
        [(score_NK - mean_N1) * share_K.sqrt(), _residual_auxiliary(space, known.auxiliary, mean_N1)], 1
    )
    axes_NR, _, _ = torch.linalg.svd(varying_N_, full_matrices=False)
    axes_NR = axes_NR[:, :COMPONENTS] * len(axes_NR) ** 0.5
    coords_RK = axes_NR.mT @ (score_NK - mean_N1) / len(axes_NR)
    varying_R_ = axes_NR.mT @ varying_N_ / len(axes_NR)
    scale_RR = torch.linalg.cholesky(
        varying_R_ @ varying_R_.mT + 1e-4 * torch.eye(len(varying_R_), dtype=torch.float64)
    )
    family_means = []
    for family in known.families:
        at = [k for k, its_family in enumerate(family_K) if its_family == family]
        mean_N = mean_N1[:, 0] + axes_NR @ coords_RK[:, at].mean(1) if at else torch.zeros(len(axes_NR)).double()
        family_means.append(standardise(mean_N))
    coords_KR = torch.full((len(known.tasks), len(scale_RR)), torch.nan)
    coords_KR[list(found)] = torch.linalg.solve_triangular(scale_RR, coords_RK, upper=False).mT.float()
    return SpaceMemory(
        mean=mean_N1.squeeze(1).half(),
        components=(axes_NR @ scale_RR).half(),
        family_means=torch.stack(family_means, 1).half(),
        task_coords=coords_KR,
        constraint_factors=_constraint_factors(space, known.auxiliary),
    )


def _constraint_factors(space: Space, auxiliary: Sequence[AuxiliaryColumn]) -> Tensor | None:
    """Of what may be constrained the mean logarithm, and how devices differ: with unit variances along the factors a device's
    own would be drawn with the covariance that those known have."""
    found = [log_N.double() for x in auxiliary if (log_N := values_on(space, x)) is not None]
    if len(found) < _FEWEST:
        return None
    log_NK = torch.stack(found, 1)
    log_NK = log_NK - log_NK.mean(0)
    mean_N1 = log_NK.mean(1, keepdim=True)
    axes_NK, size_K, _ = torch.linalg.svd((log_NK - mean_N1) / len(found) ** 0.5, full_matrices=False)
    return torch.cat([mean_N1, (axes_NK * size_K)[:, :CONSTRAINT_FACTORS]], 1).half()


def _residual_auxiliary(space: Space, auxiliary: Sequence[AuxiliaryColumn], mean_N1: Tensor) -> Tensor:
    """Auxiliary columns less what the mean of all tasks explains of them, `[N, P]`; together they count as much as all tasks."""
    found = [scores for x in auxiliary if (scores := scores_on(space, x)) is not None]
    if not found:
        return mean_N1[:, :0]
    value_NP = torch.stack(found, 1).double()
    mean_N1 = standardise(mean_N1)
    return (value_NP - (value_NP * mean_N1).mean(0) * mean_N1) / len(found) ** 0.5


def scores_on(space: Space, x: TaskScores | AuxiliaryColumn) -> Tensor | None:
    """Its normal scores at every architecture of `space`, `[N]`; None where it does not cover them."""
    if x.space == space:
        return x.normal_scores
    rows = _rows(space, x.space)
    return None if rows is None else normal_scores(x.normal_scores[rows])


def values_on(space: Space, x: AuxiliaryColumn) -> Tensor | None:
    """Logarithms of what a constraint may bound, at every architecture of `space`, `[N]`; None where there are none."""
    rows = None if x.log_value is None else _rows(space, x.space)
    return None if x.log_value is None or rows is None else x.log_value[rows]


@lru_cache
def _rows(space: Space, other: Space) -> Tensor | None:
    """Where each architecture of `space` is in the list of another, `[N]`; None where that one does not hold them all."""
    if other == space:
        return torch.arange(features.size(space))
    if features.edges(other) != features.edges(space) or features.numeric(space):
        return None
    if not all(set(ours) <= set(theirs) for ours, theirs in zip(space.operations, other.operations)):
        return None
    described = features.enumerate_valid(space)
    assert described is not None
    theirs_ND = torch.stack(
        [
            torch.tensor([theirs.index(name) for name in ours])[described.archs[:, d]]
            for d, (ours, theirs) in enumerate(zip(space.operations, other.operations))
        ],
        1,
    )
    return features.row_of(other, theirs_ND)


def normal_scores(score: Tensor) -> Tensor:
    """The normal quantile of each score's rank among all, float32 `[N]`; NaN stands at the bottom."""
    value = torch.where(score.isnan(), -torch.inf, score)
    _, place, count = value.unique(return_inverse=True, return_counts=True)
    middle = count.cumsum(0) - count / 2
    return torch.special.ndtri(middle.double()[place] / len(score)).float()
