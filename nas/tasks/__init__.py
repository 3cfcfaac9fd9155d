"""From a task's name to its evaluator, and what there is to search for."""

from nas.tasks.find import SCORES, Searchable, describe_task, find, searchable, space_of

__all__ = ["SCORES", "Searchable", "describe_task", "find", "searchable", "space_of"]
