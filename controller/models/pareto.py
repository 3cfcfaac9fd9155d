"""Several objectives at once: dominance, fronts, crowding, hypervolume and scalarization. Higher is better in all of them.

Shapes: `S` seeds, `N` points, `A` objectives.
"""

from __future__ import annotations

import torch
from torch import Tensor

AUGMENTATION = 0.05
"""Weight of the sum in the augmented Chebyshev function, Knowles' value: it breaks ties in favor of points that no other one
dominates."""


def dominates(points: Tensor) -> Tensor:
    """Which of `points` `[..., N, A]` dominate which: bool `[..., N, N]`, row over column.

    No objective is lower, and one is higher. NaN is lower than any number.
    """
    value = points.nan_to_num(-torch.inf, torch.inf, -torch.inf)
    ours, theirs = value[..., :, None, :], value[..., None, :, :]
    return (ours >= theirs).all(-1) & (ours > theirs).any(-1)


def non_dominated(points: Tensor) -> Tensor:
    """Which of `points` `[..., N, A]` no other one dominates, bool `[..., N]`; a point with NaN never is one."""
    return ~dominates(points).any(-2) & ~points.isnan().any(-1)


_AT_ONCE = 512
"""Points that are compared with each other at once in `front`: their square fits into a processor's cache."""


def front(points: Tensor) -> Tensor:
    """Those of `points` `[N, A]` that no other one dominates, `[F, A]`, each once; for thousands of them."""
    known = points[~points.isnan().any(-1)].unique(dim=0)
    # The highest sums first: a point that dominates another has a higher sum, so that most fall at once.
    known = known[known.double().sum(-1).argsort(descending=True, stable=True)]
    best = known[:0]
    for part in known.split(_AT_ONCE):
        every = torch.cat([best, part])
        best = every[non_dominated(every)]
    return best


def front_number(points: Tensor) -> Tensor:
    """The front of each of `points` `[..., N, A]`, int64 `[..., N]`: 0 is the best, the next is the best without it, and so on.

    The fast non-dominated sort of Deb et al. (2002), section III-A.
    """
    beats = dominates(points)
    number = torch.full(points.shape[:-1], -1)
    front, left = 0, torch.ones(points.shape[:-1], dtype=torch.bool)
    while left.any():
        # One search may have fewer fronts than another: its last ones are empty, and change nothing.
        now = left & ~(beats & left[..., :, None]).any(-2)
        number = torch.where(now, front, number)
        left, front = left & ~now, front + 1
    return number


def crowding_distance(points: Tensor, front: Tensor) -> Tensor:
    """How far each of `points` `[..., N, A]` is from its neighbors on its own `front` `[..., N]`, float64 `[..., N]`.

    Deb et al. (2002), section III-B: the sum over objectives of the distance between the two neighbors, over the range of the
    front. Infinity for the ends of a front. NaN counts as the lowest value of all.
    """
    value = points.double()
    lowest = torch.where(value.isnan(), torch.inf, value).amin(-2, keepdim=True)
    value = torch.where(value.isnan(), lowest, value).nan_to_num(0.0)
    total = torch.zeros(front.shape, dtype=torch.float64)
    for objective in value.unbind(-1):
        # Stable, first by the objective and then by the front: each front lies together, in order.
        order = objective.argsort(dim=-1, stable=True)
        order = order.gather(-1, front.gather(-1, order).argsort(dim=-1, stable=True))
        ordered, fronts = objective.gather(-1, order), front.gather(-1, order)
        same = fronts[..., 1:] == fronts[..., :-1]
        first = torch.nn.functional.pad(~same, (1, 0), value=True)
        last = torch.nn.functional.pad(~same, (0, 1), value=True)
        gap = ordered.roll(-1, -1) - ordered.roll(1, -1)
        of_front = front[..., None, :] == fronts[..., :, None]
        high = torch.where(of_front, objective[..., None, :], -torch.inf).amax(-1)
        low = torch.where(of_front, objective[..., None, :], torch.inf).amin(-1)
        distance = torch.where(first | last, torch.inf, gap / (high - low).clamp_min(1e-300))
        total = total + torch.zeros_like(total).scatter(-1, order, distance)
    return total


def hypervolume(points: Tensor, reference: Tensor) -> float:
    """The volume that `points` `[N, A]` dominate above `reference` `[A]`, exactly; 0 for none (Zitzler & Thiele 1998).

    By slices along the last objective: quick for the two or three objectives and some hundred points of a search.
    """
    value = (points.double() - reference.double()).nan_to_num(-1.0)
    value = value[(value > 0).all(-1)]
    return _volume(value[non_dominated(value)].unique(dim=0)) if len(value) else 0.0


def _volume(points: Tensor) -> float:
    """Of `points` `[N, A]` above 0, of which none dominates another."""
    if points.shape[1] == 1:
        return points.max().item()
    points = points[points[:, -1].argsort(descending=True)]
    heights = points[:, -1]
    depth = heights - torch.cat([heights[1:], heights.new_zeros(1)])
    if points.shape[1] == 2:
        return (points[:, 0].cummax(0).values * depth).sum().item()
    total = 0.0
    for count, thickness in enumerate(depth.tolist(), 1):
        slice_NA = points[:count, :-1]
        if thickness > 0:
            total += thickness * _volume(slice_NA[non_dominated(slice_NA)])
    return total


def chebyshev(objectives: Tensor, weights: Tensor) -> Tensor:
    """The augmented Chebyshev scalarization of `objectives` `[S, N, A]` by `weights` `[S, A]`, float64 `[S, N]`.

    Higher is better; NaN where an objective is. Knowles (2006), "ParEGO", equation 2, of the loss of each objective against the
    best known, turned round. Losses are ranks over the number of points and not shares of the range: one architecture that did
    not learn would press all others together.
    """
    loss_SNA = _loss(objectives)
    weighted_SNA = loss_SNA * weights[:, None].double()
    return -(weighted_SNA.amax(-1) + AUGMENTATION * weighted_SNA.sum(-1))


def _loss(objectives: Tensor) -> Tensor:
    """Share of the points that are better, ties half, float64 `[S, N, A]`; NaN stays NaN."""
    value_SAN = objectives.transpose(1, 2).contiguous()
    known = torch.where(value_SAN.isnan(), torch.inf, value_SAN)
    ordered = known.sort(-1).values
    below, upto = (torch.searchsorted(ordered, known, right=right) for right in (False, True))
    count = (~value_SAN.isnan()).sum(-1, keepdim=True).clamp_min(1)
    loss = 1 - (below + upto).double() / (2 * count)
    return torch.where(value_SAN.isnan(), torch.nan, loss).transpose(1, 2)
