"""How similar a task is to those of a prior, and tasks sampled from a prior.

Shapes: `S` simulated tasks, `N` architectures of a space.
"""

from __future__ import annotations

import torch
from torch import Tensor

from controller import Prior
from controller.models import transfer_model
from controller.transfer_bo import State, TransferBO
from search_spaces import Space, UserError, as_cell_space

_TASKS = 24
_HIGH, _MEDIUM = 0.35, 0.15
"""Correlations less one and a half standard errors: scores that are noise have a high one in one search of twenty."""
_FEWEST = 8
"""Different architectures with scores under which the standard error is larger than any correlation that could be told."""


def describe_similarity(controller: TransferBO, state: State) -> str:
    """A line on whether the task is like those of the prior, and how much the prior counts. `state` is that after the search.

    Scores of fewer than `_FEWEST` different architectures tell nothing, and the line says that.
    """
    known = min(_different(state))
    if known < _FEWEST:
        return (
            f"Similarity to the prior's tasks: not estimated. It takes scores of {_FEWEST} different architectures; "
            f"there {'is' if known == 1 else 'are'} {known}."
        )
    correlation, weight = (
        controller.prior_correlation(state).mean().item(),
        controller.prior_weight(state).mean().item(),
    )
    word = "high" if correlation > _HIGH else "medium" if correlation > _MEDIUM else "low"
    similarity = f"{word} (correlation of scores with the prior at least {correlation:.2f})"
    dominates = "the prior still dominates" if weight > 0.5 else "the observed scores now dominate"
    gave_up = state.given_up[state.given_up > 0]
    if 2 * len(gave_up) > len(state.given_up):
        dominates = f"the search gave it up after {int(gave_up.median())} evaluations: models without it predicted scores better"
    return f"Similarity to the prior's tasks: {similarity}. Prior weight: {weight:.0%} ({dominates})."


def _different(state: State) -> list[int]:
    """How many different architectures each search has scores of."""
    known_SE = ~state.score.isnan()
    return [len(archs[known].unique(dim=0)) for archs, known in zip(state.archs, known_SE)]


def resnet_reference_arch(space: Space) -> Tensor:
    """The ResNet-like cell of a space of cells, `[D]`. `UserError` for other spaces."""
    cells = as_cell_space(space)
    if cells is None:
        raise UserError(
            f"A forecast is the gain over the ResNet cell, and space '{space.name}' has no cells. `nas search` takes it "
            "without a forecast."
        )
    return cells.reference_arch


def sample_tasks(prior: Prior, space: Space) -> Tensor:
    """Scores `[S, N]` of unit deviation: a family's mean, a part along the components of tasks, and one that nothing explains."""
    model = transfer_model.make(space, prior)
    if model.all_features is None or model.means is None:
        raise UserError(f"Space '{space.name}' is too large to list; a forecast cannot simulate it.")
    generator = torch.Generator().manual_seed(0)
    family_S = torch.multinomial(model.means.weights, _TASKS, replacement=True, generator=generator)
    span = model.all_features.components
    along = torch.randn(_TASKS, span.shape[1], generator=generator, dtype=torch.float64)
    apart_SN = (span @ along.T).T / span.square().sum(1).mean().sqrt().clamp_min(1e-6)
    value_SN = model.all_features.mean.T[family_S] + 0.2 * apart_SN
    value_SN = value_SN + 0.2 * torch.randn(value_SN.shape, generator=generator, dtype=torch.float64)
    return (value_SN - value_SN.mean(1, keepdim=True)) / value_SN.std(1, keepdim=True)
