"""What JSON each value that a run keeps is: a damaged file may hold another."""

from __future__ import annotations

from typing import Any

Shape = Any
"""A type; a tuple of shapes, any of which will do; a list of one shape, of each item; a dict, of which each key must be there."""

_MAYBE_NUMBER, _MAYBE_TEXT = (float, int, None), (str, None)
_NOISE = {
    **dict.fromkeys(("distinct", "tied", "within", "images"), int),
    **dict.fromkeys(("margin", "validation"), (float, int)),
    "seeds": _MAYBE_NUMBER,
}
_LEADER = {"arch": str, "at": int, "scores": [_MAYBE_NUMBER]}
KEPT: dict[str, Shape] = {
    "created": (float, int),
    "report": [_MAYBE_NUMBER],
    "data": [str],
    "components": dict,
    "columns_read": dict,
    "hparams": dict,
    "sizes": dict,
    "comparison": dict,
    "verified": dict,
    "seconds": dict,
    "exported": str,
    "pending": list,
    "leaders": {
        "evaluations": int, "wall": (float, int),
        "searches": [{"leaders": [_LEADER], "noise": (_NOISE, None)}],
    },
    "provenance": {
        "version": str, "data": _MAYBE_TEXT, "prior": _MAYBE_TEXT, "engines": [str], "task": str, "prior_file": str,
    },
    "subject": dict,
    "test_place": {"functions": int, "seeds": [([(float, int)], None)]},
    "comparison_plan": {"share": (float, int)},
    "final_shares": [(float, int)],
    "searched": str,
    "seed_networks": dict,
    "diverged": [int],
}  # fmt: skip
"""By key; readers that check by themselves ask for the outermost alone."""


def is_of(value: Any, shape: Shape) -> bool:
    """Whether a value read from JSON has a shape."""
    if isinstance(shape, tuple):
        return any(is_of(value, one) for one in shape)
    if isinstance(shape, list):
        return isinstance(value, list) and all(is_of(item, shape[0]) for item in value)
    if isinstance(shape, dict):
        return isinstance(value, dict) and all(key in value and is_of(value[key], of) for key, of in shape.items())
    if shape is None or isinstance(value, bool):
        return value is None if shape is None else shape is bool
    return isinstance(value, shape)
