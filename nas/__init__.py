"""Searches, runs, tables and the command line, on top of `search_spaces` and `controller`.

`from nas import search, Evaluator` and the others of `__all__`; what they need is loaded when they are asked for, so that
`nas --help` loads no torch.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nas.loop import search
    from nas.types import Defaults, Evaluate, Evaluator, TrainedNetwork, TrainingEvaluator

__all__ = ["Defaults", "Evaluate", "Evaluator", "TrainedNetwork", "TrainingEvaluator", "search"]

# Before torch is loaded: threads that spin while they wait make training five times slower beside any other busy process.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'nas' has no attribute '{name}'")
    return getattr(importlib.import_module("nas.loop" if name == "search" else "nas.types"), name)
