"""What the values of a table must be: types, shapes, architectures of its space, ranges. Each problem is a few words.

`Table` asks for what it reads, and `nas table verify` for everything.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from nas import plugins

_NEVER_NEGATIVE = ("percent", "million", "second", "millisecond", "seconds", "milliseconds", "millijoule", "joule")
_ABOUT = {
    "task": str,
    "metric": str,
    "split": str | None,
    "epochs": int | None,
    "unit": str | None,
    "maximize": bool,
    "seeds": int | None,
}
_SPLITS = ("train", "valid", "test", None)


def knows_space(space: str) -> bool:
    """Whether a space is one that is here, so that its architectures can be checked."""
    return space.replace("-", "_") in plugins.names("space")


def about(name: str, given: Any, *, packed: bool = False) -> str | None:
    """What is wrong with what a header says of a column; None where nothing is.

    Args:
        packed: of a table of functions, whose columns have a scale and say how their seeds differ, too.
    """
    if not isinstance(given, dict):
        return f"says '{given}' of column '{name}', where a column has task, metric and split"
    for key, type_ in _ABOUT.items():
        value = given.get(key)
        # To Python true is a number too.
        if (key in given or key in ("task", "metric", "maximize")) and (
            not isinstance(value, type_) or (isinstance(value, bool) and type_ is not bool)
        ):
            return f"says that column '{name}' has {key} '{value}'"
    unknown = sorted(given.keys() - _ABOUT.keys() - ({"scale", "noise"} if packed else set()))
    if unknown:
        return f"says '{unknown[0]}' of column '{name}', which no column has"
    if given.get("split") not in _SPLITS:
        return f"says that column '{name}' has split '{given['split']}'; there are train, valid and test"
    # No epochs: a score at initialization, as zero-cost proxies are.
    if any(given.get(key) is not None and given[key] < least for key, least in (("epochs", 0), ("seeds", 1))):
        return f"says that column '{name}' has epochs below 0 or seeds below 1"
    return _stored(name, given) if packed else None


def _stored(name: str, given: dict[str, Any]) -> str | None:
    scale, noise = given.get("scale"), given.get("noise")
    if isinstance(scale, bool) or not isinstance(scale, int | float) or not 0 < scale < float("inf"):
        return f"says that column '{name}' has scale '{scale}'; it takes a number above 0"
    if noise is None:
        return None
    numbers = (
        list(noise.values()) if isinstance(noise, dict) and noise.keys() == {"archs", "deviation", "ceiling"} else []
    )
    if not numbers or not all(isinstance(x, int | float) and not isinstance(x, bool) for x in numbers):
        return f"says that column '{name}' has noise '{noise}'; it takes archs, deviation and ceiling, all numbers"
    return None


def families(given: dict[str, Any]) -> str | None:
    """What is wrong with the families that a header gives its tasks; None where nothing is."""
    return next((f"says that task '{t}' is of family '{f}'" for t, f in given.items() if not isinstance(f, str)), None)


def images(given: dict[str, Any]) -> str | None:
    """What is wrong with what a header says of the images behind its tasks; None where nothing is."""
    for task, about in given.items():
        shape = about.get("input_shape") if isinstance(about, dict) else None
        counts = (
            [*shape, about.get("classes"), about.get("examples")] if isinstance(shape, list) and len(shape) == 3 else []
        )
        if not counts or not all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in counts):
            return f"says '{about}' of the images of task '{task}'; it takes input_shape (three numbers), classes and examples"
    return None


def archs(values: Tensor, space_name: str) -> Iterator[str]:
    """What is wrong with the architectures of a table."""
    if values.dtype != torch.int8 or values.dim() != 2:
        yield f"'archs' is {values.dtype} with {values.dim()} dimensions; it takes int8 with 2"
        return
    if not values.numel():
        yield "there is no architecture"
        return
    twice = len(values) - len(torch.unique(values, dim=0))
    if twice:
        yield f"{twice} of {len(values)} architectures are there twice"
    if knows_space(space_name):
        yield from _in_space(values, space_name)
    elif bool((values < 0).any()):
        row = int((values < 0).any(1).nonzero()[0])
        yield f"architecture {values[row].tolist()} of row {row} has a decision below 0"


def _in_space(values: Tensor, space_name: str) -> Iterator[str]:
    space = plugins.load("space", space_name)()
    if values.shape[1] != len(space.choices):
        yield f"architectures have {values.shape[1]} decisions; space '{space_name}' takes {len(space.choices)}"
        return
    invalid = ~space.valid(values)
    if invalid.any():
        row = int(invalid.nonzero()[0])
        yield f"architecture {values[row].tolist()} of row {row} is not in space '{space_name}'"


def column(unit: str | None, values: Tensor, rows: int) -> Iterator[str]:
    """What is wrong with the values of a column, in `unit`."""
    if values.dtype != torch.float32 or values.dim() not in (1, 2) or len(values) != rows:
        yield f"is {values.dtype} {list(values.shape)}; it takes torch.float32 [{rows}] or [{rows}, seeds]"
        return
    known = values[~values.isnan()]
    if not len(known):
        return
    low, high = known.min().item(), known.max().item()
    # NaN is a value that was not measured; an infinity is a mistake of whoever wrote the table.
    if not -torch.inf < low <= high < torch.inf:
        yield "holds infinities"
    elif unit == "percent" and not 0 <= low <= high <= 100:
        yield f"holds {low if low < 0 else high:g}; percent lie between 0 and 100"
    elif unit in _NEVER_NEGATIVE and low < 0:
        yield f"holds {low:g}; a number of {unit} is not below 0"
