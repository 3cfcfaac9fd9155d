"""Which of the candidates a batch takes.

Shapes: `S` seeds, `B` architectures, `E` evaluations so far, `M` candidates, `D` decisions, `P` features.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from controller._base import Proposal, Results
from search_spaces import Space, _ops

_SAME = 0.1
"""By how much each equivalent pair that scored alike lowers the probability that the next scores differently.
On the development tasks (docs/benchmarks.md) 1.08 as many evaluations without this factor, and 0.97 if equivalents are never
evaluated; but some tables score them apart, and such a search could miss the very best."""


DRAWS = 32
"""Samples of a learned policy for each architecture asked for, of which the first not evaluated is taken. A policy that a prior
has made nearly certain repeats itself: of 600 evaluations on digits `maml` spent 318 on repeats, `meta_sgd` 302. Not ablated."""


class Evaluated(Protocol):
    """What is read of a search's state."""

    @property
    def archs(self) -> Tensor: ...
    @property
    def score(self) -> Tensor: ...


def take(archs_SMD: Tensor, index_SB: Tensor) -> Tensor:
    """The architectures `[S, B, D]` at an index of each seed's own."""
    return archs_SMD.gather(1, index_SB[..., None].expand(-1, -1, archs_SMD.shape[-1]))


def first_new(space: Space, archs_SMD: Tensor, evaluated_SED: Tensor, batch: int) -> Tensor:
    """The first `batch` of samples that were not evaluated, each once, `[S, B, D]`; where those are too few, others follow."""
    new_SM = _ops.first_unseen(*_ops.keys(space.choices, archs_SMD, evaluated_SED))
    return take(archs_SMD, (~new_SM).byte().argsort(dim=-1, stable=True)[:, :batch])


def with_evaluated(evaluated_SED: Tensor, proposal: Proposal, results: Results) -> Tensor:
    """The architectures evaluated, with those of another step; -1 for one whose score is provisional: it may come again."""
    if results.provisional is None:
        return torch.cat([evaluated_SED, proposal.archs], 1)
    return torch.cat([evaluated_SED, proposal.archs.masked_fill(results.provisional[..., None], -1)], 1)


def is_evaluated(space: Space, archs_SMD: Tensor, state: Evaluated) -> Tensor:
    """Which of `archs_SMD` were evaluated, bool `[S, M]`."""
    return _ops.isin(*_ops.keys(space.choices, archs_SMD, state.archs))


def novelty(space: Space, archs_SMD: Tensor, state: Evaluated) -> Tensor:
    """The probability that each of `archs_SMD` scores unlike what was evaluated, float32 `[S, M]`.

    1, but less for equivalents (`Space.canonical`) of what was evaluated: some tasks score those alike and others do not. The
    equivalent pairs evaluated so far tell, most of all those of the same architecture.
    """
    both = (space.canonical(archs) for archs in (state.archs, archs_SMD))
    same_SE, same_SM = _ops.keys(space.choices, *both)
    order_SE = same_SE.argsort(dim=-1, stable=True)
    same_SE = same_SE.gather(1, order_SE)
    repeat_SE = same_SE.diff(dim=-1) == 0
    alike_SE = state.score.gather(1, order_SE).nan_to_num(-torch.inf).diff(dim=-1).nan_to_num(0.0) == 0
    # The share of equivalent pairs that scored unlike, with half a pair each way before there are any.
    unlike_S1 = ((repeat_SE & ~alike_SE).sum(-1, keepdim=True) + 0.5) / (repeat_SE.sum(-1, keepdim=True) + 1)
    alike_SE = torch.cat([torch.zeros_like(same_SE[:, :1], dtype=torch.bool), repeat_SE & alike_SE], 1)
    first_SM, last_SM = (torch.searchsorted(same_SE, same_SM, right=right) for right in (False, True))
    upto_SE = torch.nn.functional.pad(alike_SE.cumsum(-1), (1, 0))
    alike_SM = upto_SE.gather(1, last_SM) - upto_SE.gather(1, first_SM)
    return torch.where(first_SM < last_SM, unlike_S1 * _SAME**alike_SM, 1.0)


def select_batch(
    space: Space, archs_SMD: Tensor, one_hot_SMP: Tensor, gain_SM: Tensor, explore_SB: Tensor, pooled: int
) -> Tensor:
    """The candidates of the highest gain one by one, `[S, B, D]`; each lowers the gain of those like it.

    Local penalization (Gonzalez et al. 2016, arXiv:1505.08052), here by a radial kernel on one-hot positions; equivalents of what
    was taken come last. In batches of eight, without the
    first 1.14 as many evaluations on the development tasks and 1.29 without both; 1.01 and 1.13 without digits, which gain most.
    Gains: above 0 worth having, 0 to -0.5 not, -1 evaluated before, -2 taken.

    Args:
        explore_SB: whether each place of the batch is an exploration step; it takes the first that is left of the candidates
            after the `pooled` ones.
    """
    explore_M = torch.arange(gain_SM.shape[1]) >= pooled
    gain_SM = torch.where(explore_M, gain_SM.clamp_max(-0.5), gain_SM)
    size_SM = one_hot_SMP.square().sum(-1)
    (same_SM,) = _ops.keys(space.choices, space.canonical(archs_SMD))
    chosen = []
    for explore_S in explore_SB.unbind(1):
        wanted_SM = torch.where(explore_S[:, None] & explore_M & (gain_SM > -1), torch.inf, gain_SM)
        at_S1 = wanted_SM.argmax(-1, keepdim=True)
        chosen.append(at_S1)
        if len(chosen) == explore_SB.shape[1]:
            break
        here_S1P = one_hot_SMP.gather(1, at_S1[..., None].expand(-1, -1, one_hot_SMP.shape[-1]))
        shared_SM = (one_hot_SMP @ here_S1P.mT).squeeze(-1)
        like_SM = torch.exp(-(size_SM + size_SM.gather(1, at_S1) - 2 * shared_SM).clamp_min(0)).float()
        equivalent_SM = same_SM == same_SM.gather(1, at_S1)
        gain_SM = torch.where(equivalent_SM, -2.0, torch.where(gain_SM > 0, gain_SM * (1 - like_SM), gain_SM))
    return take(archs_SMD, torch.cat(chosen, 1))
