"""What a prior remembers architecture by architecture of a space whose tables it has seen: landscapes, and how tasks differ.

The network of a prior knows a cell by what it computes, and serves any space; a table says more of its own cells than any such
description. A weighted principal component analysis of the training landscapes keeps what tasks have in common of it, in
half precision. What tables say beside scores counts there too: a new task may follow parameters, seconds or gradients at the
start of training in a way that none did before, and cells that agree in all of it will score alike. Tasks of families
measured well enough are kept whole as well, as the next may be one of those: the same data within another device's limits. So
is what may be limited: a few evaluations then tell what a device takes that none has seen.

Shapes: `N` architectures of a space, `K` training landscapes, `C` of them kept whole, `P` properties, `F` families, `R`
directions.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from controller.models import features
from controller.models.prior_file import SpaceMemory
from nas.meta import task_distribution
from nas.meta.task_distribution import Landscape, Property
from search_spaces import Space

DIRECTIONS = 24
AMOUNTS = 12
"""Directions in which what may be limited differs from one device to the next."""
_FEWEST = 4
"""Landscapes of a space from which there is something to remember."""


def draw_up(space: Space, library: list[Landscape], properties: Sequence[Property] = ()) -> SpaceMemory | None:
    """What a prior keeps of a space, `[N, ...]` in float16. None where there are too few landscapes.

    Architectures are in the order of `_landscape.listed`; landscapes in deviations over the space, zero where the library has
    none of the family on this space; along each direction tasks vary by one. A landscape of a larger space that has the same
    edges and all of this space's operations counts too, at the cells the two share.

    Args:
        properties: what may turn the directions, as far as it is not what all tasks have in common; and may be limited.
    """
    found = {k: standing for k, x in enumerate(library) if (standing := _on(space, x)) is not None}
    if len(found) < _FEWEST:
        return None
    kinds = [library[k].family for k in found]
    value_NK = torch.stack(list(found.values()), 1).double()
    share_K = torch.tensor([kinds.count(kind) ** -0.7 for kind in kinds], dtype=torch.float64)
    share_K = share_K / share_K.sum()
    usual_N1 = (value_NK @ share_K)[:, None]
    apart_N_ = torch.cat([(value_NK - usual_N1) * share_K.sqrt(), _apart(space, properties, usual_N1)], 1)
    axes_NR, _, _ = torch.linalg.svd(apart_N_, full_matrices=False)
    axes_NR = axes_NR[:, :DIRECTIONS] * len(axes_NR) ** 0.5
    place_RK = axes_NR.mT @ (value_NK - usual_N1) / len(axes_NR)
    off_R_ = axes_NR.mT @ apart_N_ / len(axes_NR)
    mix_RR = torch.linalg.cholesky(off_R_ @ off_R_.mT + 1e-4 * torch.eye(len(off_R_), dtype=torch.float64))
    means = []
    for family in task_distribution.order({x.family for x in library}):
        at = [k for k, kind in enumerate(kinds) if kind == family]
        mean_N = usual_N1[:, 0] + axes_NR @ place_RK[:, at].mean(1) if at else torch.zeros(len(axes_NR)).double()
        means.append(_unit(mean_N))
    places = torch.full((len(library), len(mix_RR)), torch.nan)
    places[list(found)] = torch.linalg.solve_triangular(mix_RR, place_RK, upper=False).mT.float()
    single = _themselves(space, library)
    return SpaceMemory(
        mean=usual_N1.squeeze(1).half(),
        components=(axes_NR @ mix_RR).half(),
        family_means=torch.stack(means, 1).half(),
        task_coords=places,
        task_means=None if single is None else single[0],
        task_weights=None if single is None else single[1],
        constraint_factors=_amounts(space, properties),
    )


def _themselves(space: Space, library: list[Landscape]) -> tuple[Tensor, Tensor] | None:
    """The space's own tasks without limits of the families to keep whole, `[N, C]`, and how likely each is."""
    own = [
        x
        for x in library
        if x.space == space and x.family in task_distribution.whole_families() and not x.task.constraints
    ]
    if not own:
        return None
    wanted, kinds = task_distribution.family_weights(), [x.family for x in own]
    likely = torch.tensor([wanted.get(kind, 0.05) / kinds.count(kind) for kind in kinds])
    return torch.stack([_unit(x.standing) for x in own], 1).half(), likely / likely.sum()


def _amounts(space: Space, properties: Sequence[Property]) -> Tensor | None:
    """Of what may be limited the usual logarithm, and how devices differ: with unit variances along the directions a
    device's own would be drawn with the covariance that those known have."""
    rows = [(x.amount, row) for x in properties if x.amount is not None and (row := _rows(space, x.space)) is not None]
    if len(rows) < _FEWEST:
        return None
    log_NK = torch.stack([amount.double()[row] for amount, row in rows], 1)
    log_NK = log_NK - log_NK.mean(0)
    usual_N1 = log_NK.mean(1, keepdim=True)
    axes_NK, size_K, _ = torch.linalg.svd((log_NK - usual_N1) / len(rows) ** 0.5, full_matrices=False)
    return torch.cat([usual_N1, (axes_NK * size_K)[:, :AMOUNTS]], 1).half()


def _unit(value_N: Tensor) -> Tensor:
    return (value_N - value_N.mean()) / value_N.std().clamp_min(1e-6)


def _apart(space: Space, properties: Sequence[Property], usual_N1: Tensor) -> Tensor:
    """Properties less what the mean of all tasks says of them, `[N, P]`; together they count as much as all tasks."""
    found = [standing for x in properties if (standing := _on(space, x)) is not None]
    if not found:
        return usual_N1[:, :0]
    value_NP = torch.stack(found, 1).double()
    usual_N1 = (usual_N1 - usual_N1.mean()) / usual_N1.std().clamp_min(1e-6)
    return (value_NP - (value_NP * usual_N1).mean(0) * usual_N1) / len(found) ** 0.5


def _on(space: Space, x: Landscape | Property) -> Tensor | None:
    """Its standing at every architecture of `space`, `[N]`; None where it does not cover them."""
    if x.space == space:
        return x.standing
    rows = _rows(space, x.space)
    return None if rows is None else task_distribution.ranked(x.standing[rows])


@lru_cache
def _rows(space: Space, other: Space) -> Tensor | None:
    """Where each architecture of `space` is in the list of another, `[N]`; None where that one does not hold them all."""
    if other == space:
        return torch.arange(features.size(space))
    if features.edges(other) != features.edges(space) or features.numeric(space):
        return None
    if not all(set(ours) <= set(theirs) for ours, theirs in zip(space.operations, other.operations)):
        return None
    described = features.listed(space)
    assert described is not None
    theirs_ND = torch.stack(
        [
            torch.tensor([theirs.index(name) for name in ours])[described.archs[:, d]]
            for d, (ours, theirs) in enumerate(zip(space.operations, other.operations))
        ],
        1,
    )
    return features.rows(other, theirs_ND)
