"""From a task's name to its evaluator, and what there is to search for."""

from nas.tasks.find import SCORES, TaskColumns, bounded, describe_task, find, space_of, task_columns
from nas.tasks.name import TaskName, absolute

__all__ = [
    "SCORES",
    "TaskColumns",
    "TaskName",
    "absolute",
    "bounded",
    "describe_task",
    "find",
    "space_of",
    "task_columns",
]
