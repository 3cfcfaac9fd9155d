"""Which architectures are worth ranking, which of them are news, and which a batch takes.

Shapes: `S` seeds, `B` architectures, `E` evaluations so far, `M` candidates, `D` decisions, `F` features.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from controller.models import constraints, features, pretrained, ridge
from controller.policies import attention
from search_spaces import Space, _noise, _ops, _sampling

_START, _RANDOM, _POLICY, _MUTATE = range(4)
_PARENTS, _PROMISING, _FAVOURITES, _BLIND = 8, 192, 128, 128
_NOISE = 2.0
"""Of standings, for the ridge regression that puts some first."""


def gather(
    space: Space, key: int, state: Any, archs_SED: Tensor, standing_SE: Tensor, samples: int, least: int
) -> tuple[Tensor, Tensor]:
    """Architectures worth ranking, `[S, M, D]`, for a search that rests on `archs_SED` and how they stood.

    And which are news, bool `[S, M]`: not tried, not the same as one before them. Those come first; of the rest there is only
    what makes all searches' the same number, `least` or more.
    """
    archs_SMD = _worth(space, key, state, archs_SED, standing_SE, samples)
    fresh_SM = _ops.first_unseen(*(features.ranks(space, archs) for archs in (archs_SMD, state.archs)))
    order_SM = (~fresh_SM).int().argsort(dim=-1, stable=True)[:, : max(least, int(fresh_SM.sum(-1).max()))]
    return take(archs_SMD, order_SM), fresh_SM.gather(1, order_SM)


def _worth(space: Space, key: int, state: Any, archs_SED: Tensor, standing_SE: Tensor, samples: int) -> Tensor:
    """Neighbours of the best; in a listed space those that a ridge regression puts first and the prior's favourites, in a larger
    one mutants and `samples` of the policy; at last random ones.
    """
    near_SMD = _near(space, state)
    described = features.listed(space)
    if described is None:
        parts = [near_SMD]
        if state.archs.shape[1]:
            words = _noise.bits(state.seeds, state.step, near_SMD.shape[1], 2, stream=_MUTATE)
            parts.append(_sampling.mutate_from_bits(near_SMD, words, space))
        if key and samples:
            parts.append(attention.sample(space, key, state, samples, state.archs.shape[1], _POLICY))
        return torch.cat([*parts, _sampling.sample(space, state.seeds, state.step, _BLIND, stream=_RANDOM)], 1)
    N = len(described.archs)
    off_SN: Tensor | float = 0.0
    if state.over.shape[1] and state.over.shape[-1]:
        off_SN = constraints.listed(space, state)
    rows = [_promising(space, key, state, archs_SED, standing_SE, off_SN)]
    if key:
        rows.append(favourites(key, space)[:_FAVOURITES].expand(len(state.seeds), -1))
    rows.append(_noise.integers(state.seeds, state.step, _BLIND, high=N, stream=_RANDOM))
    return torch.cat([near_SMD, described.archs[torch.cat(rows, 1)]], 1)


def _near(space: Space, state: Any) -> Tensor:
    """The neighbours of the best, `[S, M, D]`; M = 0 before there is a best."""
    best_SP = _sampling.better(state.score).argsort(dim=-1, descending=True, stable=True)[:, :_PARENTS]
    parents_SPD = take(state.archs, best_SP)
    if not parents_SPD.shape[1]:
        return parents_SPD
    around_SMD = _ops.neighbours(parents_SPD, space.choices).flatten(1, 2)
    return torch.where(space.valid(around_SMD)[..., None], around_SMD, parents_SPD[:, :1])


def _promising(
    space: Space, key: int, state: Any, archs_SED: Tensor, standing_SE: Tensor, off_SN: Tensor | float
) -> Tensor:
    """The rows `[S, count]` that a ridge regression on all features, less what limits take off, puts first."""
    features_NF = _features(key, space)
    count = min(_PROMISING, len(features_NF))
    if not archs_SED.shape[1]:
        return _noise.integers(state.seeds, state.step, count, high=len(features_NF), stream=_START)
    row_SE = features.rows(space, archs_SED)
    weight_SF1 = ridge.ridge(features_NF, row_SE, standing_SE[..., None], _NOISE)
    standing_SN = weight_SF1.squeeze(-1) @ features_NF.mT
    return (standing_SN - off_SN).float().topk(count, -1).indices


@lru_cache
def favourites(key: int, space: Space) -> Tensor:
    """The rows of a listed space in the order of the prior's mean landscape, the best first."""
    listed = pretrained.everything(key, space)
    assert listed is not None
    return (listed.sight.mean @ pretrained.families(key, space)).argsort(descending=True, stable=True)


@lru_cache
def _features(key: int, space: Space) -> Tensor:
    """All features of a listed space, float64 `[N, F]`."""
    listed = pretrained.everything(key, space)
    assert listed is not None
    return torch.cat([*listed.sight, torch.ones(len(listed.hidden), 1, dtype=torch.float64)], 1)


def take(archs_SMD: Tensor, index_SB: Tensor) -> Tensor:
    """The architectures `[S, B, D]` at an index of each seed's own."""
    return archs_SMD.gather(1, index_SB[..., None].expand(-1, -1, archs_SMD.shape[-1]))


def tried(space: Space, archs_SMD: Tensor, state: Any) -> Tensor:
    """Which of `archs_SMD` were tried, bool `[S, M]`."""
    return _ops.isin(features.ranks(space, archs_SMD), features.ranks(space, state.archs))


def news(space: Space, archs_SMD: Tensor, state: Any) -> Tensor:
    """How likely each of `archs_SMD` scores unlike what was tried, float32 `[S, M]`: 1, but less for twins of the tried.

    Cells that compute the same are scored alike by some tasks and not by others; the twins tried so far tell, most of all
    those of the same kin.
    """
    kin_SE = features.ranks(space, space.canonical(state.archs))
    order_SE = kin_SE.argsort(dim=-1, stable=True)
    kin_SE = kin_SE.gather(1, order_SE)
    again_SE = kin_SE.diff(dim=-1) == 0
    alike_SE = state.score.gather(1, order_SE).nan_to_num(-torch.inf).diff(dim=-1).nan_to_num(0.0) == 0
    doubt_S1 = ((again_SE & ~alike_SE).sum(-1, keepdim=True) + 0.5) / (again_SE.sum(-1, keepdim=True) + 1)
    alike_SE = torch.cat([torch.zeros_like(kin_SE[:, :1], dtype=torch.bool), again_SE & alike_SE], 1)
    kin_SM = features.ranks(space, space.canonical(archs_SMD))
    first_SM, last_SM = (torch.searchsorted(kin_SE, kin_SM, right=right) for right in (False, True))
    upto_SE = torch.nn.functional.pad(alike_SE.cumsum(-1), (1, 0))
    alike_SM = upto_SE.gather(1, last_SM) - upto_SE.gather(1, first_SM)
    return torch.where(first_SM < last_SM, doubt_S1 * 0.1**alike_SM, 1.0)


def stale(score_SE: Tensor, patience: int) -> Tensor:
    """Whether none of the last `patience` evaluations is better than those before, bool `[S]`."""
    if score_SE.shape[1] <= patience:
        return torch.zeros(len(score_SE), dtype=torch.bool)
    top_SE = _sampling.better(score_SE).cummax(-1).values
    return top_SE[:, -1 - patience] == top_SE[:, -1]


def spread_out(
    space: Space, archs_SMD: Tensor, place_SMP: Tensor, gain_SM: Tensor, turns_SB: Tensor, ours: int
) -> Tensor:
    """The candidates of the highest gain one by one, `[S, B, D]`; each makes those like it less wanted, and its twins unwanted.

    Where it is the turn of the others, which come after `ours` candidates, the first of them that is left.
    """
    others_M = torch.arange(gain_SM.shape[1]) >= ours
    gain_SM = torch.where(others_M, gain_SM.clamp_max(-0.5), gain_SM)
    size_SM = place_SMP.square().sum(-1)
    twin_SM = features.ranks(space, space.canonical(archs_SMD))
    chosen = []
    for turn_S in turns_SB.unbind(1):
        wanted_SM = torch.where(turn_S[:, None] & others_M & (gain_SM > -1), torch.inf, gain_SM)
        at_S1 = wanted_SM.argmax(-1, keepdim=True)
        chosen.append(at_S1)
        if len(chosen) == turns_SB.shape[1]:
            break
        here_S1P = place_SMP.gather(1, at_S1[..., None].expand(-1, -1, place_SMP.shape[-1]))
        shared_SM = (place_SMP @ here_S1P.mT).squeeze(-1)
        like_SM = torch.exp(-(size_SM + size_SM.gather(1, at_S1) - 2 * shared_SM).clamp_min(0)).float()
        twins_SM = twin_SM == twin_SM.gather(1, at_S1)
        gain_SM = torch.where(twins_SM, -2.0, torch.where(gain_SM > 0, gain_SM * (1 - like_SM), gain_SM))
    return take(archs_SMD, torch.cat(chosen, 1))
