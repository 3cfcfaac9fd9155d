"""What a prior's tensors and header must be, asked once when a file is read.

Shapes: the letters of `prior_file`.
"""

from __future__ import annotations

import json
from typing import TypeGuard

from torch import Tensor

_SHAPES = {
    "families": {"coords": "FR", "scale": "RR", "weights": "F"},
    "tasks": {"features": "KT", "share": "K", "coords": "KR"},
    "runs": {"features": "UT", "share": "U", "coords": "UR"},
}
_SPACE_SHAPES = {
    "mean": "N", "components": "NA", "family_means": "N-", "task_coords": "KA",
    "constraint_factors": "N-",
}  # fmt: skip
_PORTFOLIO_SHAPES = {
    "rows": "M", "ranks": "MS", "tasks": "S", "families": "S", "shares": "S", "costs": "MP", "cost_kinds": "P-",
}  # fmt: skip
"""Sizes of tensors; the same letter is the same size everywhere, N, A, M, S and P within a space. Any size: `-`."""
_CHECKED = ("transfer_bo", "attention_policy")
"""Controllers whose priors have these contents; another controller's tensors are its own affair."""


_LISTS = ("tasks", "families", "auxiliary_columns")
"""Keys of the header whose text is a list of names as JSON."""


def wrong(params: dict[str, Tensor], about: dict[str, str]) -> str | None:
    """What is wrong with a prior in a few words; None if nothing is."""
    if "controller" not in about:
        return "its header names no controller"
    found = _wrong_header(about)
    if found is None and about["controller"] in _CHECKED:
        found = _wrong_tensors(params, about["controller"])
    return found


def _wrong_header(about: dict[str, str]) -> str | None:
    """What is wrong with the lists of names that a header may have, and with its runs; None if nothing is."""
    for key in _LISTS:
        if not _is_names(_read(about.get(key, "[]"))):
            return f"its header has '{key}' that is no list of names"
    runs = _read(about.get("runs", "{}"))
    if not isinstance(runs, dict) or not all(_is_names(run) and len(run) == 2 for run in runs.values()):
        return "its header has 'runs' that are no names of runs and tasks by digest"
    return None


def _read(text: str) -> object:
    """JSON; None where it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _is_names(names: object) -> TypeGuard[list[str]]:
    return isinstance(names, list) and all(isinstance(name, str) for name in names)


def _wrong_tensors(params: dict[str, Tensor], controller: str) -> str | None:
    sizes: dict[str, int] = {}
    for name, tensor in sorted(params.items()):
        group, _, field = name.rpartition("/")
        if not tensor.is_floating_point():
            return f"tensor '{name}' holds {tensor.dtype}, not fractions"
        if not bool(tensor.isfinite().all()) and (field != "task_coords" or bool(tensor.isinf().any())):
            return f"tensor '{name}' holds NaN or infinity"
        if group in ("encoder", "policy"):
            continue
        space = group.removeprefix("runs/").removeprefix("spaces/") if group not in _SHAPES else ""
        shapes = _SHAPES.get(group, _shapes_of_space(group))
        if field not in shapes or (group.startswith("runs/") and field != "task_coords"):
            return f"no prior has a tensor '{name}'"
        letters = shapes[field].replace("K", "U") if group.startswith("runs/") else shapes[field]
        wanted = [
            sizes.setdefault(f"{space}/{x}" if x in "NAMSP" else x, n)
            for x, n in zip(letters, tensor.shape)
            if x != "-"
        ]
        if tensor.dim() != len(letters) or wanted != [n for x, n in zip(letters, tensor.shape) if x != "-"]:
            return f"tensor '{name}' has shape {list(tensor.shape)}, which does not fit the others"
    needed = {n.rpartition("/")[0] + "/" + f for n in params for f in _needed(n)}
    if controller == "transfer_bo":
        needed |= {f"families/{n}" for n in _SHAPES["families"]}
    missing = sorted(needed - params.keys())
    return f"there is no tensor '{missing[0]}'" if missing else None


def _needed(name: str) -> tuple[str, ...]:
    """The fields that the group of a tensor must have."""
    group = name.rpartition("/")[0]
    if group.startswith("spaces/"):
        return tuple(f for f in _SPACE_SHAPES if f != "constraint_factors")
    return tuple(_SHAPES.get(group, _PORTFOLIO_SHAPES if group.startswith("portfolios/") else ()))


def _shapes_of_space(group: str) -> dict[str, str]:
    if group.startswith("portfolios/"):
        return _PORTFOLIO_SHAPES
    return _SPACE_SHAPES if "spaces/" in group else {}
