"""Evaluations of a stale search that do not rest on what the prior believes: plain Bayesian optimisation, and scouts.

A scout goes where the search has not been, along the directions in which tasks differ most: to the first not yet tried of a net
of landmarks, each the cell farthest from those before it (Gonzalez 1985, farthest-first traversal). So a task whose best cells
lie in a corner where no other task's do is found out, where models of what was tried never look.

Shapes: `S` seeds, `B` architectures, `T` of them that are turns, `D` decisions, `E` evaluations so far, `M` candidates, `N`
listed architectures.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from controller.candidates import pool
from controller.models import features, kernels, pretrained
from controller.models.gp import GaussianProcess
from search_spaces import Space, _ops

_LEADING = 8
"""Directions that the net lies along: those in which tasks differ most."""
_LANDMARKS = 256
_FIRST = 32
"""Evaluations before the first scout: until then a search has better to do."""
_LOST = 0.5
"""Weight of the members that use the prior below which it has lost its say."""


class Turns(NamedTuple):
    """Which of the next evaluations do not rest on the beliefs, bool `[S, B]` each."""

    plain: Tensor
    scout: Tensor
    """If the prior has lost its say, too."""

    def columns(self) -> Tensor:
        """The turns of any search, `[T]` of B."""
        return (self.plain | self.scout).any(0).nonzero().squeeze(-1)

    def taken(self, warm_S: Tensor) -> Tensor:
        """Which turns are taken where so much of the beliefs rests on the prior, bool `[S, B]`."""
        return self.plain | (self.scout & (warm_S < _LOST)[:, None])


def due(key: int, space: Space, state: Any, batch: int, patience: int, plain: int, scout: int) -> Turns:
    """While there was no better one for `patience` evaluations: one in `plain` is plain, of the others one in `scout` a scout."""
    number_B = state.archs.shape[1] + torch.arange(batch)
    plain_B = number_B % plain == plain - 1
    scout_B = ~plain_B & (number_B % scout == scout // 2) & (number_B >= _FIRST)
    scout_B &= landmarks(key, space) is not None
    stale_S1 = pool.stale(state.score, patience)[:, None]
    return Turns(stale_S1 & plain_B, stale_S1 & scout_B)


def suggested(key: int, space: Space, state: Any, turns: Turns) -> Tensor:
    """What each turn would try, `[S, T, D]`; for searches whose turn it is not, anything."""
    columns_T = turns.columns()
    archs_STD = state.archs[:, :1].expand(-1, len(columns_T), -1).clone()
    for turn_SB, ask in ((turns.plain, _plain), (turns.scout, _scouts)):
        at_R, at_K = turn_SB.any(1).nonzero(), turn_SB[:, columns_T].any(0).nonzero().squeeze(-1)
        if len(at_R):
            found_RKD = ask(key, space, _some(state, at_R.squeeze(-1)), len(at_K))
            archs_STD[at_R, at_K[: found_RKD.shape[1]]] = found_RKD
    return archs_STD


def _some(state: Any, at_R: Tensor) -> Any:
    """Some of the searches, as far as is asked here."""
    return state._replace(
        seeds=state.seeds[at_R], step=state.step[at_R], archs=state.archs[at_R], score=state.score[at_R]
    )


def _plain(key: int, space: Space, state: Any, count: int) -> Tensor:
    """What Bayesian optimisation, which knows of no other task and of no twins, would try next, `[S, count, D]`."""
    return GaussianProcess(space).next(state)[:, :count]


def _scouts(key: int, space: Space, state: Any, count: int) -> Tensor:
    """The first landmarks that were not tried, `[S, count, D]`."""
    rows, described = landmarks(key, space), features.listed(space)
    assert rows is not None
    assert described is not None
    net_SMD = described.archs[rows].expand(len(state.seeds), -1, -1)
    tried_SM = _ops.isin(features.ranks(space, net_SMD), features.ranks(space, state.archs))
    return pool.take(net_SMD, tried_SM.int().argsort(dim=-1, stable=True)[:, :count])


@lru_cache
def landmarks(key: int, space: Space) -> Tensor | None:
    """The rows of a listed space's landmarks, the prior's favourite first; None without a list or without directions."""
    everything = pretrained.everything(key, space)
    if everything is None or not everything.sight.span.shape[1]:
        return None
    along_NR = everything.sight.span[:, :_LEADING]
    rows = [int(pool.favourites(key, space)[0])]
    apart_N = torch.full((len(along_NR),), torch.inf, dtype=torch.float64)
    for _ in range(min(_LANDMARKS, len(along_NR)) - 1):
        apart_N = torch.minimum(apart_N, kernels.squares(along_NR[rows[-1:]], along_NR).squeeze(0))
        rows.append(int(apart_N.argmax()))
    return torch.tensor(rows)
