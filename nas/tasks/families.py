"""Families of tasks: lists that a comparison or a split can name, made of whatever tables are at hand."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from functools import lru_cache

from nas import plugins, tables
from nas.tables import Table
from nas.tasks.find import find, task_columns
from nas.tasks.name import TaskName, split_seeds
from search_spaces import UserError, unknown

_NAMED = {"nasbench201": "accuracy", "nasbench201-robustness": "robustness", "nasbench201-ninapro": "domain"}
"""Tables whose family is not called like them, and whose header names none."""
_DEVICES = "device"
_LIMITED = "nasbench201/cifar100@200"
"""The task that the devices limit."""
_LIMITS = "nasbench201-hardware"
_QUANTILE = "q30"
_WEIGHT = re.compile(r"(<=[^+*]+)\*[0-9.]+")
"""A constraint's penalty weight, whose star is none of a pattern."""


def families() -> dict[str, list[str]]:
    """Family to task names, in a fixed order; a table that is not there leaves no trace."""
    found: dict[str, list[str]] = {}
    for name in sorted(tables.names(), key=lambda name: ([*_NAMED, name].index(name), name)):
        table = tables.find(name)
        full = _at_full_length(table)
        if full and table.space.replace("-", "_") in plugins.names("space"):
            for dataset, task in full.items():
                found.setdefault(table.families.get(dataset, _NAMED.get(name, name)), []).append(task)
    if _LIMITED in found.get("accuracy", []) and _LIMITS in tables.names():
        found[_DEVICES] = [f"{_LIMITED}+{_LIMITS}/{c}<={_QUANTILE}" for c in devices(tables.find(_LIMITS))]
    return found


@lru_cache
def family_of(task: str) -> str:
    """The family that has `task`; the table's name where none does."""
    plain = TaskName.parse(task)
    named = str(plain._replace(seeds=""))
    return next((name for name, members in families().items() if named in members), plain.table)


@lru_cache
def protocol(task: str) -> str:
    """The task as a comparison takes it: with one training seed drawn for each evaluation, where its table holds several.

    This is what a user has who trains each architecture once. A name that ends in `~mean` keeps the mean of the seeds, which is
    less noisy than any search outside a benchmark is.
    """
    name = TaskName.parse(task)
    if name.kind != "table" or name.seeds:
        return task
    known = task_columns(tables.find(name.table))
    ours = [found for found in known if found.name == name.dataset and name.epochs in (None, found.epochs)]
    drawable = bool(ours) and max(ours, key=lambda found: found.epochs or 0).drawable is not None
    return str(name._replace(seeds="one-seed")) if drawable else task


def select(patterns: str) -> list[str]:
    """The tasks of a comma-separated list of names, families and patterns like `nasbench201/*`, each once.

    A pattern without `@` means each task at its most epochs; `~mean` or `~one-seed` behind a family or a pattern is for each of
    its tasks. Raises `UserError` for what matches nothing.
    """
    known = families()
    chosen: list[str] = []
    for pattern in filter(None, (p.strip() for p in patterns.split(","))):
        several, tilde, _ = pattern.partition("~")
        if several in known or set(_WEIGHT.sub(r"\1", several)) & set("*?["):
            seeds = split_seeds(pattern, pattern)[1] if tilde else ""
            found = known[several] if several in known else _matching(several, known)
            chosen.extend(str(TaskName.parse(task)._replace(seeds=seeds)) if seeds else task for task in found)
        elif several in {*_NAMED.values(), _DEVICES}:
            raise UserError(
                f"Family '{several}' is of a published table that no folder of NAS_TABLES has. There are: {', '.join(known)}."
            )
        else:
            find(pattern)
            chosen.append(pattern)
    return list(dict.fromkeys(chosen))


def _matching(pattern: str, known: dict[str, list[str]]) -> list[str]:
    everything = [
        task for members in known.values() for task in members if "+" in pattern or not _parts(task).constraints
    ]
    if "@" in pattern:
        everything += [task for name in tables.names() for task in all_fidelities(tables.find(name))]
    found = [
        t
        for t in everything
        if fnmatchcase(t, pattern) or ("@" not in pattern and fnmatchcase(_any_length(t), pattern))
    ]
    if not found:
        raise unknown("task or family", pattern, sorted(known))
    return list(dict.fromkeys(found))


def all_fidelities(table: Table) -> list[str]:
    """The tasks of a table, one for each fidelity."""
    found = task_columns(table)
    return [str(TaskName("table", table.name, s.name, s.epochs)) for s in found]


def _at_full_length(table: Table) -> dict[str, str]:
    """By dataset the name of its task."""
    longest: dict[str, tuple[int, str]] = {}
    for found, name in zip(task_columns(table), all_fidelities(table)):
        longest[found.name] = max(longest.get(found.name, (0, "")), (found.epochs or 0, name))
    return {dataset: name for dataset, (_, name) in longest.items()}


def _any_length(task: str) -> str:
    return str(_parts(task).unconstrained().strip_fidelity())


@lru_cache
def _parts(task: str) -> TaskName:
    """Of a table's task: those of a folder depend on what is on disk."""
    return TaskName.parse(task)


def devices(table: Table) -> list[str]:
    """The latencies that belong to no dataset."""
    return sorted(n for n, c in table.columns.items() if c.metric == "latency" and ":" not in c.task)
