"""Portfolio: what was best elsewhere, by mean normalised rank over source tasks; the least that transfer must beat."""

from __future__ import annotations

from dataclasses import dataclass

from controller.candidates.fixed_order import FixedOrder

__all__ = ["Portfolio"]


@dataclass(frozen=True)
class Portfolio(FixedOrder):
    """Tries what was best on other tasks, best first, and learns nothing. Without a prior: random, without repeats."""
