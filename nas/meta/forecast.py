"""What a search is expected to come to, before it begins: the gain over the ResNet cell in the task's unit, and the time.

The prior's own tasks are searched in simulation. A cell's rank there, the share of the space that it beats, is put on the
scale of tables of accuracies that are at hand, never of the task's own.

Shapes: `S` simulated tasks, `K` tables, `N` architectures of a space, `T` evaluations.
"""

from __future__ import annotations

import json
from typing import NamedTuple

import torch
from torch import Tensor

from controller import Prior
from controller.models import features
from controller.transfer_bo import TransferBO
from nas import tables, tasks
from nas.loop import search
from nas.meta import task_similarity, timing
from nas.meta.timing import SyntheticEvaluator
from nas.run import budget
from nas.run.config import RunConfig, leader_trainings
from nas.run.session import Setup
from nas.tasks import families, full_columns
from search_spaces import Space, Task

_MOST = 40
"""Evaluations that are simulated at most: what comes later adds little, and simulating it would take minutes."""


class Forecast(NamedTuple):
    """What to expect of a search."""

    evaluations: int
    """Of each seed, within the budget."""
    leader_trainings: int
    """Trainings of each seed that tell its leaders apart; they come after the evaluations, within the budget."""
    simulated_evaluations: int
    """Evaluations after which the gain is."""
    expected_gain: float
    """Over the ResNet cell, in `unit`: the median."""
    low: float
    """The 10% quantile, and `high` the 90% quantile."""
    high: float
    unit: str
    reference_tables: tuple[str, ...]
    """The tasks whose scores the gain is put on; empty where there are none, and the unit is a deviation of the space."""
    share_beaten: float
    """Share of the space that the cell found beats, at the median."""
    evals_to_beat_baseline: int | None
    """Evaluations until half of the simulated searches are ahead of the ResNet cell; None if they never are."""
    simulated_seconds: float
    """Of a seed's search, as the task counts."""
    wall_seconds: float
    """Of all seeds, on this machine."""
    method: str
    sampled_tasks: int
    """Tasks that were searched in simulation."""
    prior_tasks: int
    """Tasks that the prior knows."""


def forecast(config: RunConfig, setup: Setup, prior: Prior) -> Forecast:
    """Rehearse the search that `config` asks for. Raises `UserError` for a space without a ResNet cell, or too large to list."""
    space, task = setup.evaluator.space, setup.evaluator.task
    reference = task_similarity.resnet_reference_arch(space)
    value_SN = task_similarity.sample_tasks(prior, space)
    took = timing.estimate(config, setup, value_SN)
    budgets = (
        (config.evals, 1.0),
        (config.simulated_seconds, took.simulated),
        (config.minutes, took.wall * config.seeds / 60),
    )
    allowed = [budget / each for budget, each in budgets if budget is not None and each > 0]
    whole = max(1, int(min(allowed, default=setup.evaluator.defaults.budget)))
    # The last evaluations search nothing, and take as long as others.
    trainings = leader_trainings(budget.leaders_within(config, whole))
    evaluations = whole - trainings
    simulated = min(evaluations, _MOST)
    top_ST = _simulate(setup, prior, value_SN, simulated, min(config.batch, simulated))
    start_S = value_SN[:, features.row_of(space, reference)]
    scales = _scales(task, space)
    gain = _gain(value_SN, start_S, top_ST[:, -1], scales)
    low, median, high = gain.flatten().quantile(torch.tensor([0.1, 0.5, 0.9], dtype=gain.dtype)).tolist()
    ahead = ((top_ST - start_S[:, None]).median(0).values > 0).nonzero()
    return Forecast(
        evaluations=evaluations,
        leader_trainings=trainings,
        simulated_evaluations=simulated,
        expected_gain=median,
        low=low,
        high=high,
        unit="points of accuracy" if scales else "deviations of the space's scores",
        reference_tables=tuple(scales),
        share_beaten=min(_share(value_SN, top_ST[:, -1]).median().item(), 1 - 1 / value_SN.shape[1]),
        evals_to_beat_baseline=int(ahead[0]) + 1 if len(ahead) else None,
        simulated_seconds=took.simulated * whole,
        wall_seconds=took.wall * whole * config.seeds,
        method=took.method,
        sampled_tasks=len(value_SN),
        prior_tasks=len(json.loads(prior.about.get("tasks", "[]"))),
    )


def _gain(value_SN: Tensor, start_S: Tensor, end_S: Tensor, scales: dict[str, Tensor]) -> Tensor:
    """From the ResNet cell to the one found, `[S, K]`: on each scale, or (K = 1) in deviations."""
    if not scales:
        return (end_S - start_S)[:, None]
    shares = _share(value_SN, start_S), _share(value_SN, end_S)
    before, after = (torch.stack([x.quantile(share) for x in scales.values()], 1) for share in shares)
    return after - before


def _share(value_SN: Tensor, at_S: Tensor) -> Tensor:
    """The share of each simulated space that a value beats, float64 `[S]`."""
    return (value_SN < at_S[:, None]).double().mean(1)


def _scales(task: Task, space: Space) -> dict[str, Tensor]:
    """The scores, float64 `[N]`, of tasks of accuracies on a space at their full length; none of a table's own dataset.

    Empty where the task's own score is no accuracy.
    """
    this = tasks.TaskName.parse(task.name)
    if not _in_percent(task.name):
        return {}
    found = {}
    for name in [*families.families().get("accuracy", []), *families.families().get("own201", [])]:
        own = tasks.TaskName.parse(name).base_dataset() == this.base_dataset()
        if not own and _in_percent(name) and tasks.find(name).space.choices == space.choices:
            scores = full_columns.everything(name)
            assert scores is not None
            found[name] = scores[~scores.isnan()].double()
    return found


def _in_percent(task: str) -> bool:
    """Whether a task's score is an accuracy, in percent."""
    name = tasks.TaskName.parse(task)
    if name.constraints:
        return False
    if name.kind != "table":
        return True
    table = tables.find(name.table)
    ours = [found for found in tasks.task_columns(table) if found.name == name.dataset]
    return all(table.columns[found.objective].unit == "percent" for found in ours)


def _simulate(setup: Setup, prior: Prior, value_SN: Tensor, evaluations: int, batch: int) -> Tensor:
    """The best so far of a search on each drawn task, float64 `[S, T]`."""
    space, task = setup.evaluator.space, setup.evaluator.task
    controller = TransferBO(space)
    state = controller.begin(task, torch.arange(len(value_SN)), prior)
    found: list[Tensor] = []
    for step in search(
        controller, SyntheticEvaluator(space, task, value_SN).load(torch.arange(len(value_SN))), state, batch
    ):
        found.append(step.results.score)
        if len(found) * batch >= evaluations:
            break
    return torch.cat(found, 1)[:, :evaluations].double().cummax(1).values
