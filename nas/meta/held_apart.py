"""What a meta-training may not know of: the tasks that validate it, and what the encoder that it rests on has seen."""

from __future__ import annotations

import json
from collections.abc import Sequence

from controller import TaskScores, TaskSet
from controller.models import prior_file
from nas import tables
from nas.meta import splits
from nas.tasks import TaskName, exposure
from nas.tasks.described_data import base_dataset
from search_spaces import UserError


def without(known: TaskSet, apart: Sequence[TaskScores]) -> TaskSet:
    """What is known less the tasks `apart`, and all that is of a table or of a dataset of theirs.

    A family is more than its own tasks: `own201-many` has the datasets of `own201`, and a latency's limit leaves the scores of
    the task that it limits.
    """
    names = {task.name for task in apart}
    held = frozenset[str]().union(*(_sources(task.name) for task in apart))
    return known._replace(
        tasks=tuple(t for t in known.tasks if t.name not in names and not held & _sources(t.name)),
        auxiliary=tuple(c for c in known.auxiliary if not held & _sources_of_column(c.name)),
    )


def check_encoder(learner: str, prior: str | None, split: str, apart: Sequence[TaskScores] = ()) -> None:
    """Raises `UserError` where rl2 has no encoder, or one that has seen what the split holds out or a task `apart`."""
    if learner != "rl2":
        return
    if prior in (None, "none"):
        raise UserError(
            "rl2 rests on the cell encoder of a prior; train one by --learner transfer_gp and give --prior FILE."
        )
    about = prior_file.read(prior).about
    seen = set(splits.split(split).held_out) - set(json.loads(about.get("held_out", "[]")))
    if seen:
        raise UserError(
            f"Prior '{prior}' was trained on '{sorted(seen)[0]}', which split '{split}' holds out; "
            f"train one by: nas meta-train --learner transfer_gp --split {split}"
        )
    known = exposure.trained_on(*(json.loads(about.get(key, "[]")) for key in ("tasks", "auxiliary_columns")))
    for task in apart:
        if found := exposure.seen(task.name, known):
            raise UserError(
                f"Prior '{prior}' was trained on '{found}', and '{task.name}' validates; train one by nas meta-train "
                "--learner transfer_gp and a --split that holds it out."
            )


def _sources(task: str) -> frozenset[str]:
    """The tables and the dataset that a task's scores and limits are of."""
    name = TaskName.parse(task)
    limits = (text.partition("/")[0] for text in name.table_constraints)
    return frozenset({f"table {table}" for table in (name.table, *limits) if table} | {f"data {name.base_dataset()}"})


def _sources_of_column(name: str) -> frozenset[str]:
    table, _, column = name.partition("/")
    return frozenset({f"table {table}", f"data {base_dataset(tables.find(table).columns[column].task)}"})
