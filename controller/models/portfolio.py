"""Portfolios: what to try first on a new task, copied from tasks that a prior knows.

A source is a task that the prior knows; for a task with constraints, one within the same share of a known cost, as of another
device. Each source ranks the architectures of `SourceRanks`; a source counts by how similar its data and its cost are.

Shapes: `M` architectures kept, `T` source tasks, `S` sources, `C` ways to take the known costs, `D` decisions, `L` an order's
length.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from controller.models import known_costs
from controller.models.features import enumerate_valid
from controller.models.source_ranks import SourceRanks
from controller.models.task_features import task_similarity
from search_spaces import ConstraintFacts, Space, Task, UserError, _measured

Order = Literal["greedy", "families", "mean", "fastest"]
"""`greedy`: the architecture that adds most to those before it, over all sources (Wistuba et al. 2015, "Sequential model-free
hyperparameter tuning"); `families`: the best by mean rank of each family of sources in turn; `mean`: by mean rank;
`fastest`: under a constraint, the best known score among those that are cheapest by mean rank over the known devices."""
_MOST_SOURCES = 512
"""Sources that are considered, those that count most. It bounds the time, a tenth of a second."""
LENGTH = 1024
"""Architectures in an order at most: more than any comparison evaluates."""
_GREEDY = 64
"""Architectures of an order that are chosen by what they add; the rest follow by mean rank. It bounds the time."""
_SURE = 0.9
"""How likely the first proposal keeps all constraints, as the known devices of its kind differ."""
_TIE = 1e-3
"""What the mean rank counts beside what is added: where nothing is left to add, the next best follow."""


class Sources(NamedTuple):
    """What architectures are worth to each source."""

    loss: Tensor
    """float32 `[M, S]` log(1 + how many of those allowed a source ranks higher); the most where the constraint is broken."""
    weights: Tensor
    """float32 `[S]` how much each counts, 1 in all."""
    families: Tensor
    """float32 `[S]`."""


def soft_constraints(task: Task) -> tuple[ConstraintFacts, ...]:
    """What is known of a task's constraints; of those whose violation costs score, as nothing breaks the others."""
    return tuple(facts for facts, weight in zip(task.constraint_facts, task.constraints) if weight)


def first_archs(
    space: Space,
    portfolios: Mapping[str, SourceRanks],
    features: Tensor | None,
    task_features: Tensor | None,
    facts: tuple[ConstraintFacts, ...],
    how: Order = "greedy",
) -> Tensor:
    """The architectures of `order`, int64 `[L, D]`; L = 0 in a space of which the prior knows no task.

    Args:
        portfolios: `SourceRanks` by the names of spaces.
        features: `[K, F]` of the prior's tasks; None, or `task_features` `[F]` None: all count alike.
    """
    whole = _measured.whole_of(space)
    ranks, every = portfolios.get(whole.name), enumerate_valid(whole)
    none = torch.zeros(0, len(space.choices), dtype=torch.long)
    if ranks is None or every is None:
        return none
    if int(ranks.rows.max()) >= len(every.archs):
        raise UserError(f"The prior ranks more architectures than space '{whole.name}' has; train it again.")
    archs_MD = every.archs[ranks.rows.long()]
    if whole is not space:  # A part of the space: what is not in it can be no proposal.
        inside_M = space.valid(archs_MD)
        ranks, archs_MD = ranks.only(inside_M), archs_MD[inside_M]
    if not len(archs_MD):
        return none
    alike_T = torch.ones(len(ranks.tasks))
    if features is not None and task_features is not None:
        alike_T = task_similarity(task_features.float(), features[ranks.tasks.long()].float())
    return archs_MD[order(ranks, alike_T, facts, how, LENGTH)]


def order(ranks: SourceRanks, weights: Tensor, facts: tuple[ConstraintFacts, ...], how: Order, length: int) -> Tensor:
    """Places in `ranks.rows` of what to try, the first first, int64 `[length or M]`.

    Args:
        weights: float `[T]` how similar the data of each source task is, from 0 to 1.
        facts: of the constraints whose violation costs score; empty without any.
    """
    length = min(length, len(ranks.rows))
    if how == "fastest":
        return _fastest(ranks, weights, facts)[:length]
    found = sources(ranks, weights, facts)
    if how == "greedy":
        return _greedy(found, _sure_to_keep(ranks, facts), length)
    mean_M = found.loss @ found.weights
    return mean_M.argsort(stable=True)[:length] if how == "mean" else _by_families(found, length)


def sources(ranks: SourceRanks, weights: Tensor, facts: tuple[ConstraintFacts, ...]) -> Sources:
    """The sources for a task, those that count most."""
    weights_T = _likely(ranks, weights)
    if not facts or not ranks.costs.shape[1]:
        return Sources(ranks.ranks.float(), weights_T, ranks.families)
    allowed_MC, weights_C = known_costs.allowed(ranks, facts)
    weights_TC = weights_T[:, None] * weights_C
    at_S = weights_TC.flatten().argsort(descending=True, stable=True)[:_MOST_SOURCES]
    task_S, cost_S = at_S // len(weights_C), at_S % len(weights_C)
    loss_MS = _loss_within(ranks.ranks.float()[:, task_S], allowed_MC[:, cost_S])
    weights_S = weights_TC.flatten()[at_S]
    return Sources(loss_MS, weights_S / weights_S.sum(), ranks.families[task_S])


def _likely(ranks: SourceRanks, similarity_T: Tensor) -> Tensor:
    """How much each source task counts, float32 `[T]`, 1 in all."""
    weights_T = ranks.shares * similarity_T.float()
    return weights_T / weights_T.sum().clamp_min(1e-30)


def _loss_within(rank_MS: Tensor, allowed_MS: Tensor) -> Tensor:
    """log(1 + how many allowed ones rank higher), `[M, S]`; log(1 + M) where not allowed."""
    order_MS = rank_MS.argsort(dim=0, stable=True)
    ahead_MS = allowed_MS.gather(0, order_MS).float().cumsum(0) - 1
    within_MS = torch.empty_like(rank_MS).scatter(0, order_MS, ahead_MS)
    return torch.where(allowed_MS, within_MS, float(len(rank_MS))).log1p()


def _sure_to_keep(ranks: SourceRanks, facts: tuple[ConstraintFacts, ...]) -> Tensor:
    """Which architectures may come first, bool `[M]`: those that keep all constraints as good as surely, or the surest."""
    if not facts or not ranks.costs.shape[1]:
        return torch.ones(len(ranks.rows), dtype=torch.bool)
    kept_M = known_costs.probability_kept(ranks, facts)
    return kept_M >= min(_SURE, float(kept_M.max()))


def _greedy(found: Sources, may_begin: Tensor, length: int) -> Tensor:
    """Each next architecture lowers the weighted loss of the best so far most, `[length]`; the first is one that may."""
    mean_M = found.loss @ found.weights
    best_S = torch.full_like(found.weights, float(found.loss.max()))
    taken: list[int] = []
    for _ in range(min(length, _GREEDY)):
        left_M = torch.minimum(found.loss, best_S) @ found.weights + _TIE * mean_M
        left_M[taken] = torch.inf
        if not taken:
            left_M[~may_begin] = torch.inf
        taken.append(int(left_M.argmin()))
        best_S = torch.minimum(best_S, found.loss[taken[-1]])
    rest = mean_M.argsort(stable=True).tolist()
    return torch.tensor(list(dict.fromkeys([*taken, *rest]))[:length], dtype=torch.long)


def _by_families(found: Sources, length: int) -> Tensor:
    """By turns the best of each family by its mean rank, the family that counts most first, `[length]`."""
    every = found.families.unique().tolist()
    weight = {family: float(found.weights[found.families == family].sum()) for family in every}
    orders = [
        (found.loss[:, found.families == family] @ found.weights[found.families == family]).argsort(stable=True)
        for family in sorted(every, key=lambda family: -weight[family])
    ]
    turns = torch.stack(orders, 1).flatten().tolist()
    return torch.tensor(list(dict.fromkeys(turns))[:length], dtype=torch.long)


def _fastest(ranks: SourceRanks, weights: Tensor, facts: tuple[ConstraintFacts, ...]) -> Tensor:
    """The best by mean rank among those that keep all constraints by the mean rank over known devices, then the others, `[M]`."""
    within_M = torch.ones(len(ranks.rows), dtype=torch.bool)
    for constraint in facts if ranks.costs.shape[1] else ():
        within_M &= known_costs.usual_cost(ranks, constraint) <= (constraint.share or _USUAL_SHARE)
    mean_M = ranks.ranks.float() @ _likely(ranks, weights)
    return (mean_M + (~within_M) * 1e6).argsort(stable=True)


_USUAL_SHARE = 0.3
"""Taken for the share of a bound that is given in a unit."""
