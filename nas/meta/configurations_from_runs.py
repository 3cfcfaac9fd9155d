"""What a user's own runs teach a prior over configurations: what to begin with, beside what was good on other data sets.

Shapes: `n` configurations, `D` decisions.
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

_OF_RUN = "own_of_run"
"""The name of which run each is of, int64 `[n]`."""


def extend(prior: Prior, folders: list[Path], command: str) -> Prior:
    """The prior with what the searches of each run found; of a run that it knows already, what it has found now.

    Raises `UserError` for a run that cannot be learned from, or whose space is not the prior's.
    """
    configuration_prior.check(prior)
    taught = json.loads(prior.about.get("runs", "{}"))
    own = configuration_prior.own(prior)
    of_run = prior.params.get(_OF_RUN, torch.zeros(0).long())
    if of_run.shape != own.shape[:1] or not bool(((of_run >= 0) & (of_run < len(taught))).all()):
        raise UserError("The prior does not say which of its runs found what; add them to the shipped one again.")
    found = {digest: own[of_run == place] for place, digest in enumerate(taught)}
    for folder in folders:
        run = finished_runs.read(folder, least=1)
        if run.space.name != prior.about["space"]:
            raise UserError(
                f"Run '{folder}' searched space '{run.space.name}'; this prior begins searches of space "
                f"'{prior.about['space']}'. Runs of each make a prior of their own."
            )
        if run.best.shape[1] != own.shape[1]:
            raise UserError(
                f"Run '{folder}' and the prior were made by different versions of space '{run.space.name}', of "
                f"{run.best.shape[1]} and {own.shape[1]} decisions."
            )
        if not len(run.best):
            raise UserError(f"Run '{folder}' has found nothing yet; there is nothing to learn from.")
        taught[run.digest] = [run.name, run.task_name]
        # The best last, as what was added last is tried first.
        found[run.digest] = _without_repeats(run.space.canonical(run.best)).flip(0)
    known = dict.fromkeys([*json.loads(prior.about.get("tasks", "[]")), *(task for _, task in taught.values())])
    about = {"command": command, "runs": json.dumps(taught), "tasks": json.dumps([*known])}
    own, counts = torch.cat([*found.values()]), torch.tensor([len(archs) for archs in found.values()])
    of_run = torch.arange(len(counts)).repeat_interleave(counts)
    return Prior(prior.params | {configuration_prior.OWN: own, _OF_RUN: of_run}, prior.about | about)


def _without_repeats(archs: Tensor) -> Tensor:
    """Each once, in their order."""
    return torch.tensor([list(one) for one in dict.fromkeys(map(tuple, archs.tolist()))])
