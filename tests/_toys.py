"""The small tasks of `nas.testing`, under the name that the tests use."""

from nas.testing.toys import TASK, evaluate, leaves, rebuild, walk

__all__ = ["TASK", "evaluate", "leaves", "rebuild", "walk"]
