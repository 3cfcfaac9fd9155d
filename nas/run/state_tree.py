"""States as flat tables of tensors: nested NamedTuples and dicts by the path of each leaf."""

from __future__ import annotations

from typing import Any

from torch import Tensor

MEMORY = "memory"
"""Before the path of each leaf of an evaluator's memory; those of a controller's state begin with a slash."""


def leaves(state: Any, memory: Any) -> dict[str, Tensor]:
    """The tensors of a controller's state and of an evaluator's memory, as a run stores them."""
    return flatten(state) | flatten(memory, MEMORY)


def flatten(tree: Any, path: str = "") -> dict[str, Tensor]:
    """The tensors of nested NamedTuples and dicts by their path; None has none."""
    if tree is None:
        return {}
    if isinstance(tree, Tensor):
        return {path: tree}
    branches = tree._asdict() if hasattr(tree, "_asdict") else tree
    return {p: t for key, branch in branches.items() for p, t in flatten(branch, f"{path}/{key}").items()}


def unflatten(like: Any, leaves: dict[str, Tensor], path: str = "") -> Any:
    """The inverse of `flatten`: `leaves` in the structure of `like`, None where there is no leaf."""
    if like is None or isinstance(like, Tensor):
        return leaves.get(path)
    branches = like._asdict() if hasattr(like, "_asdict") else like
    grown = {key: unflatten(branch, leaves, f"{path}/{key}") for key, branch in branches.items()}
    return like._replace(**grown) if hasattr(like, "_asdict") else grown


def optional(tree: Any, path: str = "") -> set[str]:
    """The paths of tensors whose field is None by default: states of earlier versions may lack them."""
    if tree is None or isinstance(tree, Tensor):
        return set()
    branches, defaults = tree._asdict() if hasattr(tree, "_asdict") else tree, getattr(tree, "_field_defaults", {})
    own = {
        f"{path}/{key}" for key, default in defaults.items() if default is None and isinstance(branches[key], Tensor)
    }
    return own.union(*(optional(branch, f"{path}/{key}") for key, branch in branches.items()))
