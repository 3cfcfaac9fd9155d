"""What a search takes, found out without one: its steps rehearsed on simulated scores, an epoch of training timed.

Shapes: `S` tasks, `N` architectures of a space, `B` architectures a step.
"""

from __future__ import annotations

import math
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from controller import Proposal, Results
from controller.models import features
from nas.run import session
from nas.run.config import RunConfig
from nas.run.session import Setup
from nas.tasks import TaskName
from nas.types import Defaults, Evaluate
from search_spaces import Space, Task, _sampling

_STEPS = 8
"""Of the rehearsal."""
_CELLS = 64
"""Random ones, whose cost is looked up."""


class TimeEstimate(NamedTuple):
    """Of one evaluation of one seed, in seconds, all else included."""

    simulated: float
    """As the task's cost column has them; what training takes."""
    wall: float
    """Of this machine."""
    method: str
    """How they were estimated."""


def estimate(config: RunConfig, setup: Setup, value_SN: Tensor) -> TimeEstimate:
    """A rehearsal on simulated scores with all that a run writes, and what an evaluation of the task itself takes."""
    evaluator, B = setup.evaluator, config.batch
    synthetic = SyntheticEvaluator(evaluator.space, evaluator.task, value_SN[:1].repeat(config.seeds, 1))
    rehearsal = replace(config, evals=_STEPS * B, simulated_seconds=None, minutes=None, leaders=0)
    stamps = []
    with (
        tempfile.TemporaryDirectory() as folder,
        session.start(Path(folder) / "run", rehearsal, setup._replace(evaluator=synthetic)) as run,
    ):
        for _ in session.resume(run, setup._replace(evaluator=synthetic)):
            stamps.append(time.perf_counter())
    step = (stamps[-1] - stamps[0]) / (_STEPS - 1) / (B * config.seeds)
    if TaskName.parse(evaluator.task.name).kind == "table":
        archs = _sampling.sample(evaluator.space, torch.zeros(1).long(), torch.zeros(1).long(), _CELLS)
        cost = evaluator.load(torch.zeros(1).long())(Proposal(archs)).cost.mean().item()
        return TimeEstimate(
            cost,
            step,
            f"the first by the mean cost of {_CELLS} random cells, the second by a rehearsal of {_STEPS} steps",
        )
    trained = _probe(setup, B)
    method = f"from one epoch of {B} random cells; the training of the winner comes on top"
    return TimeEstimate(trained, trained + step, method)


def _probe(setup: Setup, batch: int) -> float:
    """Seconds that an evaluation trains: one epoch of a batch of random cells, timed, times the epochs."""
    space, seed = setup.evaluator.space, torch.zeros(1).long()
    evaluate = setup.evaluator.load(seed)
    lengths = setup.evaluator.task.fidelities or (1,)
    seconds = math.inf
    for number in range(2):  # The first pays for what is made once.
        archs = _sampling.sample(space, seed, seed + number, batch)
        started = time.perf_counter()
        evaluate(Proposal(archs, torch.full((1, batch), lengths[0]) if setup.evaluator.task.fidelities else None))
        seconds = min(seconds, time.perf_counter() - started)
    return seconds / batch * lengths[-1] / lengths[0]


@dataclass(frozen=True)
class SyntheticEvaluator:
    """Scores from simulated tasks."""

    space: Space
    task: Task
    value_SN: Tensor

    defaults = Defaults(budget=1, batch=1)
    description = "simulated scores"
    training = None

    def load(self, seeds: Tensor) -> Evaluate:
        def evaluate(proposal: Proposal) -> Results:
            row_SB = features.row_of(self.space, proposal.archs)
            return Results(self.value_SN.gather(1, row_SB).float(), torch.zeros(row_SB.shape))

        return evaluate

    def report(self, archs: Tensor) -> None:
        return None
