"""Oracle: the best architecture first. No search but a bound, for figures: its prior is the task's own objective column."""

from __future__ import annotations

from dataclasses import dataclass

from controller.candidates.fixed_order import FixedOrder

__all__ = ["Oracle"]


@dataclass(frozen=True)
class Oracle(FixedOrder):
    """Tries the task's architectures from the best down. Without a prior it knows nothing: a random order."""

    ranking_source = "task"
