"""How familiar a task looks to a prior, and what it promises before the first evaluation.

Shapes: `S` simulated tasks, `N` architectures of a space, `T` evaluations.
"""

from __future__ import annotations

import json
from typing import NamedTuple

import torch
from torch import Tensor

from controller import _landscape, _prior
from controller._base import Prior, Proposal, Results
from controller.in_context import InContext
from nas.search import search
from search_spaces import _ops
from search_spaces._base import Space, Task, UserError

_TASKS = 24
_FAMILIAR, _STRANGE = 0.35, 0.15
"""Correlations less a standard error: after 20 evaluations noise is below, most tasks that the shipped prior knows above 0.4."""


class Promise(NamedTuple):
    """What a search is expected to come to, in deviations of a score over the space."""

    low: float
    """The 10% quantile over simulated tasks of the gain over the plain cell."""
    median: float
    high: float
    """The 90% quantile."""
    beaten: float
    """Share of the space that the cell found beats, at the median."""
    ahead: int | None
    """Evaluations until half of the simulated searches are ahead of the plain cell; None if they never are."""


def sentence(controller: InContext, state: object) -> str:
    """A line on whether the task is like those the prior knows. `state` is the controller's, after the search."""
    foretold = controller.foretold(state).mean().item()  # type: ignore[arg-type]
    if foretold > _FAMILIAR:
        said, did = "familiar", "its scores follow what the prior expected"
    elif foretold > _STRANGE:
        said, did = "half familiar", "its scores follow in part what the prior expected"
    else:
        said, did = "unlike those the prior knows", "its scores do not follow what the prior expected"
    return f"The task looks {said}: {did} (correlation at least {foretold:.2f})."


def plain(space: Space) -> Tensor:
    """A ResNet-like cell of a six-edge space, `[D]`: two 3x3 convolutions beside a skip. `UserError` for other spaces."""
    wanted = {
        "0-1": "nor_conv_3x3",
        "0-2": "none",
        "1-2": "nor_conv_3x3",
        "0-3": "skip_connect",
        "1-3": "none",
        "2-3": "skip_connect",
    }
    try:
        return torch.tensor([space.operations[d].index(wanted[n]) for d, n in enumerate(space.decisions)])
    except (KeyError, ValueError):
        raise UserError(
            f"Space '{space.name}' has no plain ResNet cell to compare with; --dry-run takes a six-edge space."
        ) from None


def promise(prior: Prior, space: Space, task: Task, evaluations: int, batch: int) -> Promise:
    """Search tasks drawn from the prior itself, and see how far ahead of the plain cell that leads."""
    controller, key = InContext(space), _prior.hold(prior)
    value_SN = draw(prior, key, space)
    rank_of = _prior.rows(space)

    def evaluate(proposal: Proposal) -> Results:
        row = rank_of[_landscape.ranks(space, proposal.archs)]
        return Results(value_SN.gather(1, row).float(), torch.zeros(row.shape))

    found = []
    state = controller.begin(task, torch.arange(_TASKS), prior)
    for step in search(controller, evaluate, state, batch):
        found.append(step.results.score)
        if sum(x.shape[1] for x in found) >= evaluations:
            break
    top_ST = torch.cat(found, 1)[:, :evaluations].cummax(1).values
    start_S = value_SN[:, rank_of[_ops.index(plain(space), space.choices)]].float()
    gain_ST = top_ST - start_S[:, None]
    ahead = (gain_ST.median(0).values > 0).nonzero()
    low, median, high = gain_ST[:, -1].quantile(torch.tensor([0.1, 0.5, 0.9])).tolist()
    beaten = (value_SN.float() < top_ST[:, -1:]).float().mean(1).median().item()
    return Promise(low, median, high, beaten, int(ahead[0]) + 1 if len(ahead) else None)


def draw(prior: Prior, key: int, space: Space) -> Tensor:
    """Landscapes `[S, N]` of unit deviation: a family, coefficients around its centre, and a part that nothing explains."""
    known, listed = _prior.learned(key), _prior.everything(key, space)
    if known is None or listed is None:
        raise UserError(f"Space '{space.name}' is too large to list; --dry-run cannot simulate it.")
    generator = torch.Generator().manual_seed(0)
    family_S = torch.multinomial(known.weight, _TASKS, replacement=True, generator=generator)
    along = torch.randn(_TASKS, known.mix.shape[0], generator=generator, dtype=torch.float64)
    value_SN = listed.sight.mean.T[family_S] + 0.3 * (listed.sight.span @ along.T).T
    value_SN = value_SN + 0.2 * torch.randn(value_SN.shape, generator=generator, dtype=torch.float64)
    return (value_SN - value_SN.mean(1, keepdim=True)) / value_SN.std(1, keepdim=True)


def words(expected: Promise, prior: Prior, evaluations: int, seconds: float | None) -> str:
    """A promise in a line or two."""
    when = "not within the budget" if expected.ahead is None else f"from evaluation {expected.ahead} on"
    time = (
        "time per evaluation unknown until the first"
        if seconds is None
        else f"about {seconds * evaluations:,.0f} s by the task"
    )
    known = len(json.loads(prior.about["tasks"]))
    return (
        f"After {evaluations} evaluations ({time}): {expected.median:+.2f} standard deviations of the space over the plain "
        f"ResNet cell, 80% interval {expected.low:+.2f} to {expected.high:+.2f}, ahead of it {when}; "
        f"better than {expected.beaten:.1%} of the space. "
        f"Simulated on {_TASKS} tasks drawn from a prior that knows {known} tasks; a task unlike those may differ."
    )
