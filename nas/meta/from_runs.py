"""What a user's own finished runs teach: a landscape each, fitted along the directions that the prior already knows.

Shapes: `n` evaluations of a run, `N` architectures of its space, `R` directions, `D` decisions.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from controller import Prior, penalty
from controller.models import features, gp_ensemble, pretrained, transformer
from nas import tasks
from nas.run import priors, store
from search_spaces import UserError

_FAMILY = "runs"
_SHARE = 0.4
"""How likely a new task is of the family of runs."""
_NOISE = 0.3


class Lesson(NamedTuple):
    """What one run teaches."""

    name: str
    digest: str
    """Tells the run's evaluations from any other's."""
    task: str
    space: str
    told: Tensor
    """float32 `[TOLD]` what the network is told of the task."""
    coefficients: Tensor
    """float32 `[R]` of the network's directions."""
    place: Tensor | None
    """float32 `[R]` along the directions in which tasks differ, where the prior remembers the space."""


def extend(start: Path | None, runs: list[Path], command: str) -> Prior:
    """The prior `start` (by default the shipped one) with what `runs` teach beside what it was taught by runs before.

    Each run is a task that others may be told to be like; their mean is a family of its own. A run that the prior knows already
    counts once. `UserError` for a run that cannot be learned from.
    """
    prior = pretrained.read(str(start or priors.SHIPPED))
    taught, rows = json.loads(prior.about.get("runs", "{}")), _rows(prior)
    trained = _without(prior)
    share = trained.params.get("share", torch.ones(1)).mean()
    for lesson in (fit(trained, run) for run in runs):
        if lesson.digest not in taught:
            taught[lesson.digest] = [lesson.name, lesson.task]
            rows = _added(rows, lesson, share)
    known = dict.fromkeys([*json.loads(prior.about["tasks"]), *(task for _, task in taught.values())])
    about = {"command": command, "runs": json.dumps(taught), "tasks": json.dumps([*known])}
    return _with(trained, rows, about)


def _rows(prior: Prior) -> dict[str, Tensor]:
    """What the runs so far taught, a row each; where the prior remembers a space, NaN for runs on others."""
    widths = {"told": transformer.TOLD, "coefficients": len(prior.params["mix"])}
    widths |= {n: t.shape[1] for n, t in prior.params.items() if n.startswith("atlas.") and n.endswith(".places")}
    empty = {"share": torch.zeros(0)} | {n: torch.zeros(0, width) for n, width in widths.items()}
    return {f"runs.{n}": prior.params.get(f"runs.{n}", nothing) for n, nothing in empty.items()}


def _added(rows: dict[str, Tensor], lesson: Lesson, share: Tensor) -> dict[str, Tensor]:
    """With a row more, which counts `share` `[]` among the tasks of the prior."""
    new = {name: t.new_full((1, *t.shape[1:]), torch.nan) for name, t in rows.items()}
    new |= {"runs.share": share[None], "runs.told": lesson.told[None], "runs.coefficients": lesson.coefficients[None]}
    if lesson.place is not None:
        new[f"runs.atlas.{lesson.space}.places"] = lesson.place[None]
    return {name: torch.cat([t, new[name]]) for name, t in rows.items()}


def _without(prior: Prior) -> Prior:
    """The prior as it was before any run taught it."""
    families = json.loads(prior.about["families"])
    if _FAMILY not in families:
        return prior
    rest = [i for i, family in enumerate(families) if family != _FAMILY]
    params = {n: t for n, t in prior.params.items() if not n.startswith("runs.")}
    for name in [n for n in params if n.endswith(".landscapes")]:
        params[name] = params[name][:, : len(rest)].contiguous()
    weight = params["weight"][rest]
    params |= {"centre": params["centre"][rest], "weight": weight / weight.sum()}
    return Prior(params, prior.about | {"families": json.dumps([families[i] for i in rest])})


def _with(prior: Prior, rows: dict[str, Tensor], about: dict[str, str]) -> Prior:
    """The prior with all that runs taught, and the mean of it as a family."""
    params = prior.params | rows
    centre = rows["runs.coefficients"].mean(0, keepdim=True)
    params["centre"] = torch.cat([params["centre"], centre])
    params["weight"] = torch.cat([params["weight"] * (1 - _SHARE), torch.tensor([_SHARE])])
    for name in (n for n in params if n.endswith(".landscapes")):
        usual, directions = (params[name.replace("landscapes", n)].double() for n in ("usual", "directions"))
        here = rows["runs." + name.replace("landscapes", "places")].double()
        here = here[~here.isnan().any(1)]
        mean = usual + directions @ here.mean(0) if len(here) else torch.zeros_like(usual)
        mean = (mean - mean.mean()) / mean.std().clamp_min(1e-6)
        params[name] = torch.cat([params[name], mean[:, None].to(params[name].dtype)], 1)
    families = json.dumps([*json.loads(prior.about["families"]), _FAMILY])
    return Prior(params, prior.about | {"families": families} | about)


def fit(prior: Prior, folder: Path) -> Lesson:
    """What explains a run's scores best, given how tasks vary; without what its limits took off.

    `UserError` for a run of fewer than 3 evaluations.
    """
    with store.open_run(folder) as run:
        past, asked, over = store.history(run), run.asked, store.over(run)
    if past.score.shape[1] < 3:
        raise UserError(f"Run '{folder}' has {past.score.shape[1]} evaluations; it takes at least 3 to learn from.")
    longest = torch.ones_like(past.score, dtype=torch.bool) if past.epochs is None else past.epochs == past.epochs.max()
    evaluator = tasks.find(asked["task"], **asked["data"])
    score_SE = past.score
    if over is not None:  # Rounded, as what was taken off and is put back leaves ties a rounding error apart.
        score_SE = (score_SE + penalty(over, torch.tensor(evaluator.task.constraints))).round(decimals=3)
    space, archs_nD, score_n = evaluator.space, past.archs[longest], score_SE[longest]
    digest = hashlib.sha256(archs_nD.numpy().tobytes() + score_n.numpy().tobytes()).hexdigest()[:16]
    key = pretrained.hold(prior)
    known = pretrained.learned(key)
    assert known is not None
    mean, span = known.reader.cells.prior(pretrained.look(key, space, archs_nD).hidden)
    stand = gp_ensemble.standing(score_n[None]).squeeze(0)
    usual = known.weight @ known.centre
    coefficients = usual + known.mix @ _ridge(stand - (mean + span @ usual), span @ known.mix)
    place = None
    if space.name in known.atlas:
        directions = known.atlas[space.name].directions
        everywhere = prior.params[f"atlas.{space.name}.usual"].double()
        at = features.rows(space, archs_nD)
        place = _ridge(stand - everywhere[at], directions[at]).float()
    told = transformer.task_features(evaluator.task)
    return Lesson(folder.name, digest, asked["task"], space.name, told, coefficients.float(), place)


def _ridge(rest: Tensor, along: Tensor) -> Tensor:
    """Coefficients `[R]` of `along` `[n, R]` for what is to be explained, `[n]`, up to a constant: each has a normal prior."""
    rest, along = rest - rest.mean(), along - along.mean(0)
    gram = along.mT @ along + _NOISE * torch.eye(along.shape[1], dtype=torch.float64)
    return torch.linalg.solve(gram, along.mT @ rest)
