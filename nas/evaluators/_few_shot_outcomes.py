"""What the evaluations of a search for a few-shot backbone came to, and their file in a run's folder."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

FILE = "few_shot.jsonl"
"""In a run's folder, a line for each evaluation."""


class Outcome(NamedTuple):
    """Of one backbone."""

    score: float
    """Accuracy on episodes of validation classes in percent; NaN where training failed."""
    seconds: float
    error: str = ""


def append(folder: Path, index: int, outcome: Outcome) -> None:
    """Add the evaluation of the architecture of an index to the file."""
    row: dict[str, Any] = {"index": index, **outcome._asdict()}
    row["score"] = None if math.isnan(outcome.score) else outcome.score
    with (folder / FILE).open("a", encoding="utf-8") as file:
        # The line break comes first, so that a line cut short by a kill does not spoil the next.
        file.write("\n" + json.dumps(row))


def read(folder: Path) -> dict[int, Outcome]:
    """The evaluations of a run's folder; a line that a kill cut short is left out."""
    path, found = folder / FILE, {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            row = json.loads(line)
            score = math.nan if row["score"] is None else float(row["score"])
            found[int(row["index"])] = Outcome(score, float(row["seconds"]), str(row["error"]))
        except (ValueError, KeyError, TypeError):
            continue
    return found
