"""What a user's own runs teach a prior over configurations: what to begin with, beside what was good on other data sets.

Shapes: `n` runs, `D` decisions.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor

from controller import Prior
from controller.models import configuration_prior
from nas.meta import finished_runs
from search_spaces import UserError


def extend(prior: Prior, folders: list[Path], command: str) -> Prior:
    """The prior with what the searches of each run hand out; a run that it knows already counts once.

    Raises `UserError` for a run that cannot be learned from, or whose space is not the prior's.
    """
    taught = json.loads(prior.about.get("runs", "{}"))
    own = configuration_prior.own(prior)
    for folder in folders:
        run = finished_runs.read(folder, least=1)
        if run.space.name != prior.about["space"]:
            raise UserError(
                f"Run '{folder}' searched space '{run.space.name}'; this prior begins searches of space "
                f"'{prior.about['space']}'. Runs of each make a prior of their own."
            )
        if run.best.shape[1] != own.shape[1]:
            raise UserError(f"Run '{folder}' was made by another version of space '{run.space.name}'.")
        if run.digest not in taught:
            taught[run.digest] = [run.name, run.task_name]
            own = torch.cat([own, _without_repeats(run.space.canonical(run.best))])
    about = {"command": command, "runs": json.dumps(taught)}
    return Prior(prior.params | {configuration_prior.OWN: own}, prior.about | about)


def _without_repeats(archs: Tensor) -> Tensor:
    """Each once, in their order."""
    return torch.tensor([list(one) for one in dict.fromkeys(map(tuple, archs.tolist()))])
