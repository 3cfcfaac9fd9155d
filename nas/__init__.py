"""Searches, runs, tables and the command line, on top of `search_spaces` and `controller`.

`from nas import search, Evaluator` and the others of `__all__`; what they need is loaded when they are asked for, so that
`nas --help` loads no torch.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nas.facade import search
    from nas.run.ask_tell import Search
    from nas.run.result import Result
    from nas.types import Architecture, Defaults, Evaluate, Evaluator, TrainedNetwork, TrainingEvaluator

__all__ = [
    "Architecture",
    "Defaults",
    "Evaluate",
    "Evaluator",
    "Result",
    "Search",
    "TrainedNetwork",
    "TrainingEvaluator",
    "search",
]

# Before torch is loaded: threads that spin while they wait make training five times slower beside any other busy process.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


_BESIDE = ("controller", "search_spaces")
"""The other packages that metacell brings."""


def _refuse_hidden() -> None:
    """A project's own `controller.py` is found before ours and would fail somewhere inside it."""
    for name in _BESIDE:
        spec = importlib.util.find_spec(name)
        found = "" if spec is None or spec.origin is None else spec.origin
        if Path(found).resolve().parent != Path(__file__).resolve().parent.parent / name:
            where = f"'{found}' hides it" if found else "it is not there"
            raise ImportError(
                f"metacell needs its own package '{name}', and {where}. metacell takes the names controller, nas and "
                "search_spaces: rename yours, or start Python in another folder.",
                name=__name__,  # With a name, `python -m nas` shows the line and no traceback.
            )


_refuse_hidden()


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'nas' has no attribute '{name}'")
    where = {"search": "nas.facade", "Search": "nas.run.ask_tell", "Result": "nas.run.result"}.get(name, "nas.types")
    return getattr(importlib.import_module(where), name)
