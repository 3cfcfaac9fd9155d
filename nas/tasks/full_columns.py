"""What a comparison knows and a searcher does not: whole columns, for bounds, portfolios, tops and the scale of figures.

Shapes: `S` seeds, `N` architectures of a space.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from controller import Prior, Proposal, TaskSample, TaskSet
from nas import plugins, tables
from nas.evaluators.tabular import Tabular
from nas.tasks import families, test_scores
from nas.tasks.find import find
from nas.tasks.name import TaskName
from nas.types import Evaluator
from search_spaces import Space, UserError, _ops


@lru_cache
def everything(task: str) -> Tensor | None:
    """The objective of all architectures by index, `[N]`, over the mean of the training seeds; None where the task is no table's.

    Never shown to a searcher.
    """
    name = TaskName.parse(task)
    if name.table not in tables.names():
        return None
    evaluator = find(str(name._replace(seeds="")))
    archs = _ops.enumerate_all(evaluator.space.choices)[None]
    return evaluator.load(torch.tensor([0]))(Proposal(archs)).score[0]


# A comparison has hundreds of seeds, and several controllers on each task in turn.
@lru_cache(maxsize=4)
def judged(task: str, count: int) -> Tensor | None:
    """What each of `count` searches is judged by, `[S, N]`, or `[1, N]` where they share it; None where `everything` is.

    Where a search sees one training seed of an architecture, the mean of those that it does not see, so that it gains nothing
    by the luck of a draw; elsewhere the objective. With constraints, less the penalties.
    """
    plain = everything(task)
    if plain is None:
        return None
    name = TaskName.parse(task)
    tabular = find(str(name.unconstrained()))
    if not isinstance(tabular, Tabular) or not tabular.objective.drawn:
        return plain[None]
    return tabular.mean_of_others(torch.arange(count)) - test_scores.points(find(task))


def sources(task: str) -> list[str]:
    """The tasks a portfolio may copy from: the table's own and the accuracy family, same space, other datasets, no limits.

    Of a task with a limit on a device, all accuracies under the same limit on the other devices, its own dataset's too.
    """
    name, space, known = TaskName.parse(task), find(task).space, families.families()
    members = [TaskName.parse(t) for tasks in known.values() for t in tasks]
    accuracy = [TaskName.parse(t) for t in known.get("accuracy", [])]
    limited = [m.constrained((limit,)) for m in accuracy for limit in _other_devices(name)]
    candidates = dict.fromkeys([*accuracy, *(t for t in members if t.table == name.table)])
    others = limited or [t for t in candidates if not t.constraints and t.base_dataset() != name.base_dataset()]
    return [str(t) for t in others if find(str(t)).space.choices == space.choices]


def _other_devices(name: TaskName) -> list[str]:
    """The limit of a task on each other device, whatever the batch; none where it has not just one limit on a device."""
    if len(name.constraints) != 1 or "/" not in name.constraints[0]:
        return []
    column, sign, bound = name.constraints[0].rpartition("<=")
    table, _, column = column.partition("/")
    devices = families.devices(tables.find(table)) if table in tables.names() else []
    if column not in devices or not bound.startswith("q"):  # A bound in a unit says nothing of another device.
        return []
    own = _without_batch(column)
    return [f"{table}/{device}{sign}{bound}" for device in devices if _without_batch(device) != own]


def _without_batch(device: str) -> str:
    """`titanx_32/latency` as `titanx`."""
    return re.sub(r"_\d+(?=/)", "", device)


def has_sources(controller: str, task: str) -> bool:
    """Whether a controller that copies from other tasks has one to copy from; true of those that do not copy."""
    component = plugins.load("controller", controller)
    return getattr(component, "ranking_source", None) != "sources" or bool(sources(task))


def prior_of(component: Any, space: Space, task: str) -> Prior | None:
    """The ranking that a controller of the kind `HasOrder` takes; None for the others. `UserError` where no source is."""
    wants = getattr(component, "ranking_source", None)
    if wants is None:
        return None
    names = [task] if wants == "task" else sources(task)
    learner = plugins.load("meta-learner", "portfolio")(TaskSet((), (space,)), space=space.name)
    batch = tuple(_sample(find(name)) for name in names)
    return learner.prior(learner.update(learner.init(torch.tensor([0])), batch)[0])


def _sample(evaluator: Evaluator) -> TaskSample:
    """A task's whole search column, for the ranking of all architectures."""
    score_N = everything(evaluator.task.name)
    if score_N is None:
        raise UserError(f"Task '{evaluator.task.name}' is no table's; its architectures cannot be ranked beforehand.")
    archs_ND = _ops.enumerate_all(evaluator.space.choices)
    unused = torch.zeros(1, 0)
    one = torch.full((1,), -1)
    return TaskSample(evaluator.space, torch.arange(len(archs_ND)), archs_ND, score_N[None], unused, unused, one)
