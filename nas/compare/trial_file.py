"""The file of a trial, read: what it ran, and its evaluations, each checked once.

Shapes: `S` seeds, `T` evaluations, `D` decisions.
"""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import safe_open
from torch import Tensor

from nas import tasks
from nas.compare.trial import ColumnsRead, Trial, TrialSpec
from search_spaces import UserError
from search_spaces._files import refuse_unreadable

FORMAT = "nas-compare/2"
_TYPES = {
    "index": torch.int32,
    "score": torch.float32,
    "cost": torch.float32,
    "report": torch.float32,
    "epochs": torch.int32,
    "archs": torch.int32,
}


class About(NamedTuple):
    """What a file says of its trial."""

    spec: TrialSpec
    columns_read: ColumnsRead
    version: str
    """Of the code that ran it; empty where the file has none."""


def about(path: Path) -> About:
    """From the header alone. Raises `UserError` for a file that is no trial."""
    refuse_unreadable(path)
    try:
        with safe_open(path, framework="pt") as file:
            given = json.loads((file.metadata() or {})[FORMAT])
        spec, columns_read = TrialSpec(**given["spec"]), given["columns_read"]
        wrong = [f.name for f in dataclasses.fields(spec) if not _fits(getattr(spec, f.name), str(f.type))]
        if wrong or spec.seeds < 1 or not (spec.evals or spec.seconds):
            raise ValueError(f"its {wrong[0] if wrong else 'seeds or budget'} cannot be")
        counts = [n for columns in (columns_read["search"], columns_read["report"]) for n in columns.values()]
        if not all(type(n) is int and n > 0 for n in counts):
            raise ValueError("its counts of columns read are none")
    except Exception as error:  # A damaged file raises whatever the first reader of its header does.
        raise _not_whole(path, error) from None
    return About(spec, columns_read, str(given.get("version", "")))


def read(path: Path) -> Trial:
    """The evaluations. Raises `UserError` for a file that is no trial, or not whole."""
    spec = about(path).spec
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        trial = Trial(**({"cost": torch.zeros_like(tensors["score"])} | tensors))
        _check(spec, tensors, trial)
    except Exception as error:
        raise _not_whole(path, error) from None
    return trial


def _check(spec: TrialSpec, tensors: dict[str, Tensor], trial: Trial) -> None:
    """Raises `ValueError` for what no trial holds."""
    S, T = trial.score.shape
    if spec.seeds != S or T < 1 or (spec.seconds is None and spec.evals != T):
        raise ValueError(f"it holds {T} evaluations of {S} seeds")
    for name, tensor in tensors.items():
        if tensor.dtype != _TYPES[name] or tensor.shape[:2] != (S, T) or tensor.dim() != 2 + (name == "archs"):
            raise ValueError(f"'{name}' is {tensor.dtype} {list(tensor.shape)}")
        if name == "index" and int(tensor.max()) >= math.prod(tasks.find(spec.task).space.choices):
            raise ValueError("'index' holds an architecture that its space lacks")
        if name in ("score", "report") and bool(tensor.isinf().any()):
            raise ValueError(f"'{name}' holds infinities")
        if name not in ("score", "report") and bool((tensor < 0).any()):
            raise ValueError(f"'{name}' holds a number below 0")


def _fits(value: object, type_: str) -> bool:
    """Whether a value is of the type that a field of `TrialSpec` is declared to have."""
    kinds = {"str": str, "int": int, "float": int | float, "None": type(None)}
    return not isinstance(value, bool) and any(isinstance(value, kinds[part.strip()]) for part in type_.split("|"))


def _not_whole(path: Path, error: Exception) -> UserError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return UserError(f"'{path}' is not a whole trial of a comparison ({reason}); delete it, and it is run again.")
