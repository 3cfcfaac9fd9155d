"""What a user's own finished runs teach: one landscape more, fitted along the directions that the prior already knows.

Shapes: `n` evaluations of a run, `R` directions, `F` families.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor

from controller import _bank, _prior
from controller._base import Prior
from nas import priors, store, tasks
from search_spaces._base import UserError

_FAMILY = "runs"
_NOISE = 0.3


def extend(start: Path | None, runs: list[Path], command: str) -> Prior:
    """The prior `start` (by default the shipped one) with a family of tasks like those of `runs`. `UserError` for no run."""
    prior = _prior.read(str(start or priors.SHIPPED))
    found = [fit(prior, run) for run in runs]
    families = json.loads(prior.about["families"])
    centre, weight = prior.params["centre"], prior.params["weight"]
    if _FAMILY in families:
        at = families.index(_FAMILY)
        rest = [i for i in range(len(families)) if i != at]
        families, centre, weight = [families[i] for i in rest], centre[rest], weight[rest]
    weight = torch.cat([weight / weight.sum() * 0.6, torch.tensor([0.4])])
    centre = torch.cat([centre, torch.stack(found).mean(0, keepdim=True).to(centre.dtype)])
    about = prior.about | {
        "families": json.dumps([*families, _FAMILY]), "command": command, "runs": json.dumps([run.name for run in runs]),
        "tasks": json.dumps([*json.loads(prior.about["tasks"]), *dict.fromkeys(map(_task, runs))]),
    }  # fmt: skip
    return Prior(prior.params | {"centre": centre, "weight": weight}, about)


def _task(run: Path) -> str:
    with store.open_run(run) as opened:
        return opened.asked["task"]


def fit(prior: Prior, folder: Path) -> Tensor:
    """The coefficients `[R]` that explain a run's scores best, given how tasks vary (ridge regression, a normal prior)."""
    with store.open_run(folder) as run:
        past, asked = store.history(run), run.asked
    if past.score.shape[1] < 3:
        raise UserError(f"Run '{folder}' has {past.score.shape[1]} evaluations; it takes at least 3 to learn from.")
    longest = torch.ones_like(past.score, dtype=torch.bool) if past.epochs is None else past.epochs == past.epochs.max()
    evaluator = tasks.find(asked["task"], **asked["data"])
    key = _prior.hold(prior)
    known = _prior.learned(key)
    assert known is not None
    outlook = _prior.look(key, evaluator.space, past.archs[longest])
    mean, span = known.reader.cells.prior(outlook.hidden)
    stand = _bank.standing(past.score[longest][None]).squeeze(0)
    usual = known.weight @ known.centre
    along = span @ known.mix
    rest = stand - (mean + span @ usual)
    rest, along = rest - rest.mean(), along - along.mean(0)
    gram = along.T @ along + _NOISE * torch.eye(along.shape[1], dtype=torch.float64)
    return usual + known.mix @ torch.linalg.solve(gram, along.T @ rest)
