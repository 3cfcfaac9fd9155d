"""The task distribution that a prior is trained on: columns of tables, less those a split leaves out.

A training task is one score for each architecture of a space. Auxiliary columns are what tables say of architectures beside
scores, as parameters, seconds and zero-cost proxies: no tasks, but tasks differ along them.

Shapes: `N` architectures of a space.
"""

from __future__ import annotations

import hashlib
from fnmatch import fnmatchcase
from functools import lru_cache

import torch
from torch import Tensor

from controller import AuxiliaryColumn, Proposal, TaskScores, TaskSet
from controller.models import features, task_features
from controller.models.task_pca import normal_scores
from nas import plugins, tables, tasks
from nas.meta import splits
from nas.tables import Column, device_kinds
from nas.tasks import families
from nas.types import HasDataDigest
from search_spaces import Space, UserError, _measured, _sampling

_LIMITS, _QUANTILE = "nasbench201-hardware", "q30"
_LIMITED = ("latency", "energy", "params", "flops", "train_seconds")
"""Metrics of which there may be at most so much."""
_CUT = 0.001
"""Of each end of such a figure's distribution, what counts as an outlier."""


def task_set(split: str, *, auxiliary: bool = True, task_fraction: float = 1.0, seed: int = 0) -> TaskSet:
    """All that a prior may be trained on under a split.

    Raises `UserError` for a split that is not declared, for a fraction out of range and where there is no table.

    Args:
        auxiliary: whether auxiliary columns are in it.
        task_fraction: the part of the training tasks that is used, drawn by `seed`.
    """
    if not 0 < task_fraction <= 1:
        raise UserError(f"--task-fraction is {task_fraction}; it takes a number above 0, at most 1.")
    held_out = splits.split(split).held_out
    drawn = _fraction(training_tasks(held_out), task_fraction, seed)
    return TaskSet(
        tuple(drawn),
        spaces_of(drawn),
        tuple(auxiliary_columns(held_out)) if auxiliary else (),
        splits.family_weights(),
    )


def digest(tasks_and_columns: TaskSet) -> str:
    """Of all that the tables say of it: where it is another, a training is another too."""
    parts = []
    for task in tasks_and_columns.tasks:
        evaluator = tasks.find(task.name)
        parts.append(f"{task.name} {evaluator.data_digest if isinstance(evaluator, HasDataDigest) else ''}")
    for column in tasks_and_columns.auxiliary:
        table, _, name = column.name.partition("/")
        parts.append(f"{column.name} {tables.find(table).digest([name])}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _fraction(found: list[TaskScores], fraction: float, seed: int) -> list[TaskScores]:
    if not found:
        raise UserError("There is no table to train a prior on; set NAS_TABLES to a folder of tables.")
    if fraction >= 1:
        return found
    order = torch.randperm(len(found), generator=torch.Generator().manual_seed(seed)).tolist()
    return [found[i] for i in sorted(order[: max(1, round(fraction * len(found)))])]


def spaces_of(found: list[TaskScores]) -> tuple[Space, ...]:
    """Every space that can be enumerated; one without a task of its own only if all of its architectures are valid."""
    known = (plugins.load("space", name)() for name in plugins.names("space"))
    known = (space for space in known if space.name not in splits.unseen_spaces())
    return tuple(
        space
        for space in known
        if features.enumerate_valid(space) is not None
        and (any(x.space == space for x in found) or _sampling.valid_indices(space) is None)
    )


def names() -> list[str]:
    """Every task that may train a prior: tables at every length, and accuracy under each device's limit."""
    found = [t for name in tables.names() for t in families.all_fidelities(tables.find(name)) if _has_space(name)]
    if _LIMITS in tables.names():
        devices = families.devices(tables.find(_LIMITS))
        full = families.families().get("accuracy", [])
        found += [
            f"{t}+{_LIMITS}/{d}<={_QUANTILE}"
            for t in full
            if tasks.TaskName.parse(t).table == "nasbench201"
            for d in devices
        ]
    return found


def training_tasks(held_out: tuple[str, ...]) -> list[TaskScores]:
    """All training tasks but those whose name matches a pattern of `held_out`."""
    return [_task(name) for name in names() if not any(fnmatchcase(name, pattern) for pattern in held_out)]


def auxiliary_columns(held_out: tuple[str, ...]) -> list[AuxiliaryColumn]:
    """The auxiliary columns of all spaces that can be enumerated but those whose name matches a pattern of `held_out`."""
    found = [
        f"{t}/{n}"
        for t in tables.names()
        if _has_space(t)
        for n, c in tables.find(t).columns.items()
        if _is_auxiliary(c)
    ]
    return [_auxiliary(name) for name in found if not any(fnmatchcase(name, pattern) for pattern in held_out)]


def _is_auxiliary(column: Column) -> bool:
    return column.split == "train" or (column.split is None and column.metric not in tasks.SCORES)


@lru_cache(maxsize=512)
def _auxiliary(name: str) -> AuxiliaryColumn:
    table_name, _, column = name.partition("/")
    table = tables.find(table_name)
    space = tasks.space_of(table)
    described = features.enumerate_valid(space)
    assert described is not None
    value_N = table.by_index(column, space.choices)[features.index_of(space, described.archs)].double()
    value_N = value_N.nanmean(1) if value_N.ndim > 1 else value_N
    _, class_N = features.index_of(space, space.canonical(described.archs)).unique(return_inverse=True)
    known_N, total_T = ~value_N.isnan(), torch.zeros(int(class_N.max()) + 1, 2).double()
    total_T = total_T.index_add(0, class_N, torch.stack([value_N.nan_to_num(0.0), known_N.double()], 1))
    value_N = torch.where(known_N, value_N, (total_T[:, 0] / total_T[:, 1])[class_N])
    score_N = torch.zeros(len(value_N))
    known_N = ~value_N.isnan()
    score_N[known_N] = normal_scores(value_N[known_N])
    limited = table.columns[column].metric in _LIMITED and bool((value_N[known_N] > 0).all())
    about = table.columns[column]
    log_N = _log_value(value_N, known_N) if limited else None
    return AuxiliaryColumn(name, space, score_N, log_N, about.metric, device_kinds.kind_of(about.task))


def _log_value(value_N: Tensor, known_N: Tensor) -> Tensor:
    """Logarithms, what is not known in the middle, outliers cut."""
    log_N = torch.where(known_N, value_N, value_N.nanmedian()).log()
    return log_N.clamp(*log_N.quantile(torch.tensor([_CUT, 1 - _CUT], dtype=log_N.dtype))).float()


def _has_space(table: str) -> bool:
    if tables.find(table).space in splits.unseen_spaces():
        return False
    space = tables.find(table).space.replace("-", "_")
    if space not in plugins.names("space") or features.size(plugins.load("space", space)()) > features.MAX_ENUMERABLE:
        return False
    whole = tasks.space_of(tables.find(table))  # Priors are of whole spaces, and a part is none of them.
    return _measured.whole_of(whole) is whole


@lru_cache(maxsize=512)
def _task(name: str) -> TaskScores:
    evaluator = tasks.find(name)
    described = features.enumerate_valid(evaluator.space)
    assert described is not None
    found = evaluator.load(torch.tensor([0]))(Proposal(described.archs[None]))
    log_cost = task_features.standardised_log_cost(found.cost)[0].float()
    score_N = normal_scores(found.score[0])
    return TaskScores(name, _family(name), evaluator.space, evaluator.task, score_N, log_cost, _is_longest(name))


def _is_longest(name: str) -> bool:
    """Whether the table has no longer training on the task's data."""
    parsed = tasks.TaskName.parse(name)
    others = tasks.task_columns(tables.find(parsed.table))
    return all((other.epochs or 0) <= (parsed.epochs or 0) for other in others if other.name == parsed.dataset)


def _family(name: str) -> str:
    parsed = tasks.TaskName.parse(name)
    if parsed.constraints:
        return "device"
    if tables.find(parsed.table).families:
        return parsed.table  # One family: each of its own would weigh as much as one of another table.
    return families.family_of(str(parsed._replace(epochs=200)) if parsed.table == "nasbench201" else name)
