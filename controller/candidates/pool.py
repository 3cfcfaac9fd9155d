"""Which architectures are worth ranking.

Shapes: `S` seeds, `E` evaluations so far, `M` candidates, `D` decisions, `N` architectures of an enumerable space.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from controller.candidates import batch
from controller.models import constraints, kernels, scores
from controller.models.transfer_model import History, TransferModel
from controller.policies import attention
from search_spaces import _noise, _ops, _sampling

_FIRST, _RANDOM, _POLICY, _MUTATE = range(4)
"""Streams of random numbers."""
_NUM_INCUMBENTS = 8
"""The best so far whose neighbors are candidates. This and the next three bound the cost; none was ablated."""
_NUM_RIDGE, _NUM_PRIOR, _NUM_RANDOM = 192, 128, 128
_RIDGE_NOISE = 2.0
"""Variance of the noise of normal scores in the ridge regression. Not ablated."""


class Searched(attention.Evaluated, constraints.Constrained, Protocol):
    """What is read of a search's state."""

    @property
    def step(self) -> Tensor: ...


def candidate_pool(
    model: TransferModel, state: Searched, history: History, num_policy_samples: int, least: int
) -> tuple[Tensor, Tensor]:
    """Architectures worth ranking, `[S, M, D]`, and which are new, bool `[S, M]`: not evaluated, not the same as one before.

    New ones come first. Of the others there is only what makes all searches' as many, `least` or more.
    """
    archs_SMD = _candidates(model, state, history, num_policy_samples)
    new_SM = _ops.first_unseen(*_ops.keys(model.space.choices, archs_SMD, state.archs))
    order_SM = (~new_SM).int().argsort(dim=-1, stable=True)[:, : max(least, int(new_SM.sum(-1).max()))]
    return batch.take(archs_SMD, order_SM), new_SM.gather(1, order_SM)


def _candidates(model: TransferModel, state: Searched, history: History, num_policy_samples: int) -> Tensor:
    """Neighbors of the best; random ones; and between them

    - in an enumerable space those that a ridge regression ranks first, and those that the prior does;
    - in a larger one mutants of the best, and samples of the policy where the prior has one.
    """
    space, seeds, step = model.space, state.seeds, state.step
    near_SMD = _incumbent_neighbors(model, state)
    if model.all_archs is None:
        parts = [near_SMD]
        if state.archs.shape[1]:
            bits = _noise.bits(seeds, step, near_SMD.shape[1], 2, stream=_MUTATE)
            parts.append(_sampling.mutate_from_bits(near_SMD, bits, space))
        if num_policy_samples and model.prior is not None and model.prior.network is not None:
            parts.append(attention.sample(model, state, num_policy_samples, state.archs.shape[1], _POLICY))
        return torch.cat([*parts, _sampling.sample(space, seeds, step, _NUM_RANDOM, stream=_RANDOM)], 1)
    rows = [_ridge_top_k(model, state, history)]
    if model.prior is not None:
        rows.append(model.prior_ranking[:_NUM_PRIOR].expand(len(seeds), -1))
    rows.append(_noise.integers(seeds, step, _NUM_RANDOM, high=len(model.all_archs), stream=_RANDOM))
    return torch.cat([near_SMD, model.all_archs[torch.cat(rows, 1)]], 1)


def _incumbent_neighbors(model: TransferModel, state: Searched) -> Tensor:
    """The neighbors of the best, `[S, M, D]`; M = 0 before there is a best."""
    best_SP = scores.nan_to_worst(state.score).argsort(dim=-1, descending=True, stable=True)[:, :_NUM_INCUMBENTS]
    parents_SPD = batch.take(state.archs, best_SP)
    if not parents_SPD.shape[1]:
        return parents_SPD
    around_SMD = _ops.neighbours(parents_SPD, model.space.choices).flatten(1, 2)
    return torch.where(model.space.valid(around_SMD)[..., None], around_SMD, parents_SPD[:, :1])


def _ridge_top_k(model: TransferModel, state: Searched, history: History) -> Tensor:
    """The rows `[S, k]` of an enumerable space that a ridge regression on all features, less penalties, ranks first."""
    table_NF = model.ridge_features
    k = min(_NUM_RIDGE, len(table_NF))
    if not history.archs.shape[1]:
        return _noise.integers(state.seeds, state.step, k, high=len(table_NF), stream=_FIRST)
    row_SE = model.row_of(history.archs)
    weight_SF1 = kernels.ridge(table_NF, row_SE, history.scores[..., None], _RIDGE_NOISE)
    mean_SN = kernels.products_of_rows(weight_SF1.squeeze(-1), table_NF.mT)
    if state.constraint_ratio.shape[-1]:
        mean_SN = mean_SN - constraints.ridge_penalty(model, state)
    return mean_SN.float().topk(k, -1).indices
