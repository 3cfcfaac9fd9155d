"""Worst: the worst architecture first. No search but a bound, for figures: its prior is the task's own objective column."""

from __future__ import annotations

from dataclasses import dataclass

from controller.candidates.fixed_order import FixedOrder

__all__ = ["Worst"]


@dataclass(frozen=True)
class Worst(FixedOrder):
    """Tries the task's architectures from the worst up. Without a prior it knows nothing: a random order."""

    ranking_source = "task"
    worst_first = True
