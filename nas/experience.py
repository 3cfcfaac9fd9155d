"""What a user's own finished runs teach: one landscape more, fitted along the directions that the prior already knows.

Shapes: `n` evaluations of a run, `N` architectures of its space, `R` directions, `F` families.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from controller import _bank, _landscape, _prior
from controller._base import Prior
from nas import priors, store, tasks
from search_spaces._base import UserError

_FAMILY = "runs"
_NOISE = 0.3


class Lesson(NamedTuple):
    """What one run teaches."""

    space: str
    centre: Tensor
    """float64 `[R]` coefficients of the network's directions."""
    landscape: Tensor | None
    """float64 `[N]` of all its space, in deviations, where the prior remembers the space."""


def extend(start: Path | None, runs: list[Path], command: str) -> Prior:
    """The prior `start` (by default the shipped one) with a family of tasks like those of `runs`. `UserError` for no run."""
    prior = _prior.read(str(start or priors.SHIPPED))
    found = [fit(prior, run) for run in runs]
    families = json.loads(prior.about["families"])
    rest = [i for i, family in enumerate(families) if family != _FAMILY]
    centre, weight = prior.params["centre"][rest], prior.params["weight"][rest]
    weight = torch.cat([weight / weight.sum() * 0.6, torch.tensor([0.4])])
    centre = torch.cat([centre, torch.stack([x.centre for x in found]).mean(0, keepdim=True).to(centre.dtype)])
    atlas = {}
    for name in (n for n in prior.params if n.startswith("atlas.") and n.endswith(".landscapes")):
        known = prior.params[name][:, : len(rest)]
        own = [x.landscape for x in found if x.landscape is not None and name == f"atlas.{x.space}.landscapes"]
        new = torch.stack(own).mean(0) if own else torch.zeros(len(known))
        atlas[name] = torch.cat([known, new[:, None].to(known.dtype)], 1)
    families = [families[i] for i in rest]
    about = prior.about | {
        "families": json.dumps([*families, _FAMILY]), "command": command, "runs": json.dumps([run.name for run in runs]),
        "tasks": json.dumps([*json.loads(prior.about["tasks"]), *dict.fromkeys(map(_task, runs))]),
    }  # fmt: skip
    return Prior(prior.params | {"centre": centre, "weight": weight} | atlas, about)


def _task(run: Path) -> str:
    with store.open_run(run) as opened:
        return opened.asked["task"]


def fit(prior: Prior, folder: Path) -> Lesson:
    """What explains a run's scores best, given how tasks vary. `UserError` for a run of fewer than 3 evaluations."""
    with store.open_run(folder) as run:
        past, asked = store.history(run), run.asked
    if past.score.shape[1] < 3:
        raise UserError(f"Run '{folder}' has {past.score.shape[1]} evaluations; it takes at least 3 to learn from.")
    longest = torch.ones_like(past.score, dtype=torch.bool) if past.epochs is None else past.epochs == past.epochs.max()
    space = tasks.find(asked["task"], **asked["data"]).space
    key = _prior.hold(prior)
    known = _prior.learned(key)
    assert known is not None
    mean, span = known.reader.cells.prior(_prior.look(key, space, past.archs[longest]).hidden)
    stand = _bank.standing(past.score[longest][None]).squeeze(0)
    usual = known.weight @ known.centre
    centre = usual + known.mix @ _ridge(stand - (mean + span @ usual), span @ known.mix)
    if space.name not in known.atlas:
        return Lesson(space.name, centre, None)
    _, directions = known.atlas[space.name]
    everywhere = prior.params[f"atlas.{space.name}.usual"].double()
    at = _prior.rows(space)[_landscape.ranks(space, past.archs[longest])]
    landscape = everywhere + directions @ _ridge(stand - everywhere[at], directions[at])
    return Lesson(space.name, centre, (landscape - landscape.mean()) / landscape.std().clamp_min(1e-6))


def _ridge(rest: Tensor, along: Tensor) -> Tensor:
    """Coefficients `[R]` of `along` `[n, R]` for what is to be explained, `[n]`, up to a constant: each has a normal prior."""
    rest, along = rest - rest.mean(), along - along.mean(0)
    gram = along.mT @ along + _NOISE * torch.eye(along.shape[1], dtype=torch.float64)
    return torch.linalg.solve(gram, along.mT @ rest)
