"""A person's own Python function: found by `FILE.py:function`, its arguments read, called for an architecture in a worker."""

from __future__ import annotations

import decimal
import inspect
import numbers
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from nas import plugins
from nas.types import Architecture
from search_spaces import Task, UserError, unknown

_ARGUMENTS = ("network", "arch", "task", "epochs", "seed")


def absolute(objective: str) -> str:
    """`FILE.py:function` with a whole path. Raises `UserError` for a text of another form."""
    file, colon, name = objective.rpartition(":")
    if not colon or not file.endswith(".py") or not name.isidentifier():
        raise UserError(f"--objective is '{objective}'; it takes FILE.py:function.")
    return f"{Path(file).resolve()}:{name}"


def load(objective: str) -> Callable[..., Any]:
    """The function. Raises `UserError` where it is not there, or its file cannot be imported."""
    file, _, name = objective.rpartition(":")
    module = plugins.module_of_file(Path(file), "an objective function is FILE.py:function")
    found = getattr(module, name, None)
    if not callable(found):
        functions = sorted(
            n for n, f in vars(module).items() if inspect.isfunction(f) and f.__module__ == module.__name__
        )
        raise unknown(f"function of '{file}'", name, functions)
    return found


def arguments(objective: str, function: Callable[..., Any]) -> tuple[str, ...]:
    """Which of `_ARGUMENTS` a function takes; a single one of another name takes the architecture, said as `*`."""
    try:
        parameters = [p for p in inspect.signature(function).parameters.values() if p.kind is not p.VAR_POSITIONAL]
    except (TypeError, ValueError):
        return ("*",)
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return _ARGUMENTS
    needed = [p for p in parameters if p.default is p.empty or p.name in _ARGUMENTS]
    wrong = [p.name for p in needed if p.name not in _ARGUMENTS]
    if len(needed) == 1 and wrong:
        return ("*",)
    if wrong or not needed:
        what = f"has an argument '{wrong[0]}'" if wrong else "has no argument"
        kind = "Class" if inspect.isclass(function) else "Function"
        raise UserError(
            f"{kind} '{objective}' {what}; it takes some of {', '.join(_ARGUMENTS)}, or the architecture alone."
        )
    return tuple(p.name for p in needed)


def caller(objective: str, space_name: str, task: Task) -> Callable[..., Any]:
    """In a worker: what calls the function for an architecture."""
    function, space = load(objective), plugins.load("space", space_name)()
    named = arguments(objective, function)

    def call(indices: tuple[int, ...], epochs: int, seed: int, beside: Path | None, best: float) -> Any:
        arch = Architecture(space, indices, epochs)
        torch.manual_seed(seed)  # Of the network's weights, and of a function that sets none itself.
        given = {"arch": arch, "task": task, "epochs": epochs, "seed": seed}
        if "network" in named:
            given["network"] = arch.build(task)
        value = function(arch) if named == ("*",) else function(**{name: given[name] for name in named})
        value = _plain(value)
        score = value.get("score") if isinstance(value, dict) else value
        if beside is not None and "network" in given and isinstance(score, (int, float)) and score > best:
            state = {k: v.detach().cpu().contiguous().clone() for k, v in given["network"].state_dict().items()}
            beside.write_bytes(safetensors.torch.save(state, {"format": "pt", "arch": arch.text}))
        return value

    return call


def _plain(value: Any) -> Any:
    """A value that goes through a pipe and into JSON: numbers, texts, and dicts of them."""
    if isinstance(value, Mapping):
        return {str(key): _plain(v) for key, v in value.items()}
    if (hasattr(value, "item") and getattr(value, "size", 1) in (1, ())) or (
        torch.is_tensor(value) and value.numel() == 1
    ):
        value = value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    # Decimal is a number that says it is not real.
    if isinstance(value, (numbers.Real, decimal.Decimal)):
        return float(value)
    if inspect.iscoroutine(value):
        value.close()  # Python warns of one that nobody waits for.
    # Without its address: the same fault is to have the same words.
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))[:200]
