"""What a component's settings may be, said in their types: `lr: Positive = 0.01`. `nas.settings` checks what a user gives."""

from __future__ import annotations

import math
from typing import Annotated, NamedTuple


class Range(NamedTuple):
    """What a number may be; a component's settings say it in their type, `Annotated[int, Range(1)]`."""

    least: float
    above: bool = False
    """Whether it must be above `least`."""
    below: float = math.inf

    def __contains__(self, value: object) -> bool:
        assert isinstance(value, int | float)
        return (self.least < value if self.above else self.least <= value) and value < self.below

    def __str__(self) -> str:
        least = f"above {self.least:g}" if self.above else f"of {self.least:g} or more"
        return least if self.below == math.inf else f"{least}, below {self.below:g}"


Count = Annotated[int, Range(1)]
Positive = Annotated[float, Range(0, above=True)]
Amount = Annotated[float, Range(0)]
Decay = Annotated[float, Range(0, below=1)]
NotNegative = Annotated[int, Range(0)]
