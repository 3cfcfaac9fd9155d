"""The evaluations of a person's own function as a run's folder keeps them: a line each, and the weights of the best."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from search_spaces import UserError
from search_spaces._files import refuse_unreadable

FILE = "evaluations.jsonl"
"""In a run's folder, a line for each evaluation."""
WEIGHTS = "weights.safetensors"
"""In a run's folder, the weights that the network of the best evaluation had when the function returned."""

LARGEST = float(torch.finfo(torch.float32).max)
"""Of a score and of its negative: runs keep float32, where more is infinite."""


class Call(NamedTuple):
    """Which evaluation."""

    index: int
    epochs: int
    seed: int


class Outcome(NamedTuple):
    """What it gave."""

    score: float
    """NaN where it failed."""
    seconds: float
    error: str
    figures: dict[str, Any]
    """All but the score that the function gave."""


def read(folder: Path) -> list[dict[str, Any]]:
    """The evaluations of a run's folder; a line that a kill cut short is left out. Empty where no function scored."""
    path, found = folder / FILE, []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            row = json.loads(line)
            str(row["architecture"])
            Call(int(row["index"]), int(row["epochs"]), int(row["seed"]))
            Outcome(float(row["score"] or 0.0), float(row["seconds"]), str(row["error"]), dict(row["figures"]))
        except (ValueError, KeyError, TypeError):
            continue
        found.append(row)
    return found


def weights(folder: Path) -> tuple[str, dict[str, Tensor]] | None:
    """The architecture of the best evaluation, in words, and the weights its network had then; None where none are kept."""
    path = folder / WEIGHTS
    if not path.is_file():
        return None
    refuse_unreadable(path)
    try:
        with safe_open(path, framework="pt") as file:
            return (file.metadata() or {})["arch"], {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError) as error:
        raise UserError(f"'{path}' is not a whole file of weights ({error}).") from None


def outcome(value: Any, seconds: float, error: str, needs: Sequence[str] = ()) -> Outcome:
    """What a function returned as an outcome; one without a finite score or a figure of `needs` has failed, and says why."""
    figures = dict(value) if isinstance(value, dict) else {"score": value}
    lacks = isinstance(value, dict) and "score" not in value
    score = figures.pop("score", None)
    if error:
        return Outcome(math.nan, seconds, error, {})
    if not is_number(score):
        given = f"a dict without 'score' ({', '.join(figures) or 'empty'})" if lacks else repr(score)
        return Outcome(math.nan, seconds, f"the function returned {given}, which is no number", _clean(figures))
    if not abs(score) <= LARGEST:  # Also where it is NaN.
        why = (
            f"more than {LARGEST:.1e} or its negative"
            if not isinstance(score, float) or math.isfinite(score)
            else score
        )
        return Outcome(math.nan, seconds, f"the function returned {why}", _clean(figures))
    clean = _clean(figures)
    lacking = next((name for name in needs if not is_number(clean.get(name))), None)
    if lacking is not None:
        why = f"the function returned no number '{lacking}' beside its score ({', '.join(figures) or 'nothing'})"
        return Outcome(math.nan, seconds, why, clean)
    return Outcome(float(score), seconds, "", clean)


def _clean(figure: Any) -> Any:
    """A figure without numbers that JSON, or a column of numbers, cannot hold."""
    if isinstance(figure, dict):
        return {name: _clean(inner) for name, inner in figure.items()}
    lost = isinstance(figure, float) and not math.isfinite(figure)
    return None if lost or (is_number(figure) and abs(figure) > sys.float_info.max) else figure


def is_number(value: Any) -> bool:
    """Whether a value is one; true and false are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)
