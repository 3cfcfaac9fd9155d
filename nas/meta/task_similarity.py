"""How familiar a task looks to a prior, and tasks like those that the prior knows.

Shapes: `S` simulated tasks, `N` architectures of a space.
"""

from __future__ import annotations

import torch
from torch import Tensor

from controller import Prior
from controller.models import pretrained
from controller.transfer_bo import InContext, State
from search_spaces import Space, UserError, as_cell_space

_TASKS = 24
_FAMILIAR, _STRANGE = 0.35, 0.15
"""Correlations less one and a half standard errors: scores that are noise look familiar in one search of twenty."""
_EARLY = 8
"""Evaluations that say less than this."""


def sentence(controller: InContext, state: State) -> str:
    """A line on whether the task is like those the prior knows, and what weight it had. `state` is that after the search."""
    foretold, weight = controller.foretold(state).mean().item(), controller.trusts(state).mean().item()
    evaluations, least = state.score.shape[1], f"(correlation at least {foretold:.2f})"
    if evaluations < _EARLY:
        said = f"After {evaluations} evaluations it is too early to say how familiar the task looks"
    elif foretold > _FAMILIAR:
        said = f"The task looks familiar: its scores follow what the prior expected {least}"
    elif foretold > _STRANGE:
        said = f"The task looks half familiar: its scores follow in part what the prior expected {least}"
    else:
        said = f"The task looks unlike those the prior knows: its scores do not follow what it expected {least}"
    if weight > 0.5:
        now = f"In what would come next the prior has most of the say ({weight:.0%}), the scores themselves the rest"
    else:
        now = f"By now the scores themselves tell more of the cells that are left; the prior keeps {weight:.0%} of the say"
    return f"{said}. {now}."


def plain(space: Space) -> Tensor:
    """The ResNet-like cell of a space of cells, `[D]`. `UserError` for other spaces."""
    cells = as_cell_space(space)
    if cells is None:
        raise UserError(
            f"Space '{space.name}' has no plain ResNet cell to compare with; a forecast takes a space of cells."
        )
    return cells.reference_arch


def draw(prior: Prior, key: int, space: Space) -> Tensor:
    """Landscapes `[S, N]` of unit deviation: a family, coefficients around its centre, and a part that nothing explains."""
    listed = pretrained.everything(key, space)
    if listed is None:
        raise UserError(f"Space '{space.name}' is too large to list; a forecast cannot simulate it.")
    generator = torch.Generator().manual_seed(0)
    family_S = torch.multinomial(pretrained.families(key, space), _TASKS, replacement=True, generator=generator)
    span = listed.sight.span
    along = torch.randn(_TASKS, span.shape[1], generator=generator, dtype=torch.float64)
    apart_SN = (span @ along.T).T / span.square().sum(1).mean().sqrt().clamp_min(1e-6)
    value_SN = listed.sight.mean.T[family_S] + 0.2 * apart_SN
    value_SN = value_SN + 0.2 * torch.randn(value_SN.shape, generator=generator, dtype=torch.float64)
    return (value_SN - value_SN.mean(1, keepdim=True)) / value_SN.std(1, keepdim=True)
