"""What can be searched: one file a space. Loads no torch by itself."""

from search_spaces._base import (
    CellSpace,
    HasAllValid,
    HasCost,
    HasFirstArchs,
    HasLoads,
    HasMirror,
    HasOperationFeatures,
    HasOwnSize,
    Loads,
    OperationFeatures,
    Skeleton,
    Space,
    Task,
    UserError,
    as_cell_space,
    representatives,
    unknown,
)
from search_spaces._choices import Choices

__all__ = [
    "CellSpace",
    "Choices",
    "HasAllValid",
    "HasCost",
    "HasFirstArchs",
    "HasLoads",
    "HasMirror",
    "HasOperationFeatures",
    "HasOwnSize",
    "Loads",
    "OperationFeatures",
    "Skeleton",
    "Space",
    "Task",
    "UserError",
    "as_cell_space",
    "representatives",
    "unknown",
]
