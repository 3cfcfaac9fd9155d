"""What a user's own finished runs teach: a task each, fitted along the directions that the prior already knows.

Shapes: `n` evaluations of a run, `N` architectures of its space, `R` directions, `D` decisions.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from controller import Prior
from controller.models import configuration_prior, features, prior_file, scores, task_features, transfer_model
from controller.models.prior_file import Families, Runs, Tasks
from nas.meta import configurations_from_runs, finished_runs
from nas.meta.finished_runs import FinishedRun
from nas.run import priors
from search_spaces import UserError, _measured

_FAMILY = "runs"
_SHARE = 0.4
"""How likely a new task is of the family of runs."""
_NOISE = 0.3
_LEAST = 3
"""Evaluations that a run has to have: the order of fewer says next to nothing of a space. Shorter trainings do not count."""


class RunFit(NamedTuple):
    """What one run says of its task."""

    space: str
    task_features: Tensor
    """float32 `[T]`."""
    network_coords: Tensor
    """float32 `[R]` along the directions of the cell encoder."""
    component_coords: Tensor | None
    """float32 `[A]` along the components of the space, where the prior has any."""


def extend(start: Path | None, folders: list[Path], command: str) -> Prior:
    """The prior `start` (by default the shipped one) with what `folders` of runs teach beside what runs before have taught it.

    Each run is a task that others may be told to be like; their mean is a family of its own. A run that the prior knows already
    counts once, as it is now. To a prior over configurations, as pipelines are, each adds what it found
    (`configurations_from_runs`). The space of the first run says which shipped prior is meant. `UserError` for a run that cannot
    be learned from.
    """
    prior = prior_file.read(str(start or _default(folders)))
    if prior.about["controller"] == configuration_prior.CONTROLLER:
        return configurations_from_runs.extend(prior, folders, command)
    if prior_file.unpack(prior.params).families is None or not {"tasks", "families"} <= prior.about.keys():
        raise UserError(
            f"'{start}' is a prior of {prior.about['controller']}; runs are added to one of transfer_bo or of "
            f"{configuration_prior.CONTROLLER}: give --prior a file of `nas meta-train --learner transfer_gp` or --from-runs, or "
            "leave it out for the shipped one."
        )
    taught, runs = json.loads(prior.about.get("runs", "{}")), _runs(prior)
    trained = _without(prior)
    trained_on = prior_file.unpack(trained.params).tasks
    share = torch.ones(()) if trained_on is None else trained_on.share.mean()
    for folder in folders:
        if start is None and finished_runs.space_name(folder) == _pipelines():
            raise UserError(
                f"Run '{folder}' searched space '{_pipelines()}', and the first run did not. Runs of each make their own prior."
            )
        run = finished_runs.read(folder, _LEAST)
        if run.whole_digest in taught:
            continue
        place = [*taught].index(run.digest) if run.digest in taught else len(taught)
        taught[run.digest] = [run.name, run.task_name]
        runs = _added(runs, place, fit(trained, run), share)
    known = dict.fromkeys([*json.loads(prior.about["tasks"]), *(task for _, task in taught.values())])
    about = {"command": command, "runs": json.dumps(taught), "tasks": json.dumps([*known])}
    return _with(trained, runs, about)


def _default(folders: list[Path]) -> Path:
    """The shipped prior for the space of the first run: that over pipelines, or that of `transfer_bo`."""
    return priors.SHIPPED_PIPELINES if finished_runs.space_name(folders[0]) == _pipelines() else priors.SHIPPED


def _pipelines() -> str:
    """The name of the space of pipelines."""
    return prior_file.read(str(priors.SHIPPED_PIPELINES)).about["space"]


def _runs(prior: Prior) -> Runs:
    """What the runs so far taught, a row each; where the prior remembers a space, NaN for runs on others."""
    contents = prior_file.unpack(prior.params)
    if contents.runs is not None:
        return contents.runs
    assert contents.families is not None
    nothing = Tasks(
        torch.zeros(0, task_features.NUM_TASK_FEATURES), torch.zeros(0), torch.zeros(0, len(contents.families.scale))
    )
    return Runs(nothing, {n: torch.zeros(0, memory.components.shape[1]) for n, memory in contents.spaces.items()})


def _added(runs: Runs, place: int, learned: RunFit, share: Tensor) -> Runs:
    """With its row at a place, or one more; it counts `share` `[]` among the tasks of the prior."""
    row = Tasks(learned.task_features, share, learned.network_coords)
    coords = {name: t.new_full((1, t.shape[1]), torch.nan) for name, t in runs.task_coords.items()}
    if learned.component_coords is not None:
        coords[learned.space] = learned.component_coords[None]
    return Runs(
        Tasks(*(torch.cat([t[:place], new[None], t[place + 1 :]]) for t, new in zip(runs.tasks, row))),
        {name: torch.cat([t[:place], coords[name], t[place + 1 :]]) for name, t in runs.task_coords.items()},
    )


def _without(prior: Prior) -> Prior:
    """The prior as it was before any run taught it."""
    names = json.loads(prior.about["families"])
    if _FAMILY not in names:
        return prior
    rest = [i for i, family in enumerate(names) if family != _FAMILY]
    contents = prior_file.unpack(prior.params)
    assert contents.families is not None
    coords, scale, weights = contents.families
    spaces = {
        name: memory._replace(family_means=memory.family_means[:, : len(rest)].contiguous())
        for name, memory in contents.spaces.items()
    }
    families = Families(coords[rest], scale, weights[rest] / weights[rest].sum())
    params = prior_file.pack(contents._replace(families=families, spaces=spaces, runs=None))
    return Prior(params, prior.about | {"families": json.dumps([names[i] for i in rest])})


def _with(prior: Prior, runs: Runs, about: dict[str, str]) -> Prior:
    """The prior with all that runs taught, and the mean of it as a family."""
    contents = prior_file.unpack(prior.params)
    assert contents.families is not None
    coords, scale, weights = contents.families
    families = Families(
        torch.cat([coords, runs.tasks.coords.mean(0, keepdim=True)]),
        scale,
        torch.cat([weights * (1 - _SHARE), torch.tensor([_SHARE])]),
    )
    spaces = {}
    for name, memory in contents.spaces.items():
        here = runs.task_coords[name].double()
        here = here[~here.isnan().any(1)]
        mean = torch.zeros_like(memory.mean.double())
        if len(here):
            mean = memory.mean.double() + memory.components.double() @ here.mean(0)
        mean = (mean - mean.mean()) / mean.std().clamp_min(1e-6)
        means = torch.cat([memory.family_means, mean[:, None].to(memory.family_means.dtype)], 1)
        spaces[name] = memory._replace(family_means=means)
    names = json.dumps([*json.loads(prior.about["families"]), _FAMILY])
    params = prior_file.pack(contents._replace(families=families, spaces=spaces, runs=runs))
    return Prior(params, prior.about | {"families": names} | about)


def fit(prior: Prior, run: FinishedRun) -> RunFit:
    """What explains a run's scores best, given how tasks vary."""
    known = transfer_model.make(run.space, prior).prior
    assert known is not None
    assert known.families is not None
    _, mean, span = known.encode(run.space, features.describe(run.space, run.archs))
    stand = scores.normal_scores(run.score[None]).squeeze(0)
    coords, scale, weights = known.families
    prior_mean = weights @ coords
    coefficients = prior_mean + scale @ _ridge(stand - (mean + span @ prior_mean), span @ scale)
    place = None
    if run.space.name in known.spaces:
        directions, everywhere = known.spaces[run.space.name].components, known.spaces[run.space.name].mean
        at = features.row_of(_measured.whole_of(run.space), run.archs)
        place = _ridge(stand - everywhere[at], directions[at]).float()
    known_features = task_features.task_features(run.task)
    return RunFit(run.space.name, known_features, coefficients.float(), place)


def _ridge(rest: Tensor, along: Tensor) -> Tensor:
    """Coefficients `[R]` of `along` `[n, R]` for what is to be explained, `[n]`, up to a constant: each has a normal prior."""
    rest, along = rest - rest.mean(), along - along.mean(0)
    gram = along.mT @ along + _NOISE * torch.eye(along.shape[1], dtype=torch.float64)
    return torch.linalg.solve(gram, along.mT @ rest)
