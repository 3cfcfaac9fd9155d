"""A bound on a figure of the network that is handed out: how it is written, and its value of any architecture.

Parameters and FLOPs are counted, latencies predicted from about ten measurements (`nas.export.latency_model`).
Shapes: `D` decisions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from nas.export.device import Device
from nas.export.latency_model import LatencyModel
from search_spaces import ConstraintFacts, HasCost, HasLoads, Space, Task, UserError, representatives
from search_spaces._network_costs import answer_cost

_COUNTS = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9}
_TIMES = {"us": 1e-3, "µs": 1e-3, "ms": 1.0, "s": 1e3}
"""In milliseconds."""
_UNITS = {"params": _COUNTS, "flops": _COUNTS, "latency": _TIMES}
FIGURES = tuple(_UNITS)
_EXAMPLES = {"params": "params<=20k", "flops": "flops<=5M", "latency": "latency<=2ms"}
_WORDS = {"params": "parameters", "flops": "FLOPs", "latency": "ms"}


class Measurements(NamedTuple):
    """Where latencies are measured, and what was measured before."""

    device: Device = field(default_factory=Device)
    known: Mapping[str, float] = {}
    """Milliseconds by architecture, as its space describes it: a model made of them again is the same. Empty: measured now."""


class Networks(NamedTuple):
    """What a bound as `params<=20k` is on."""

    space: Space
    task: Task
    as_is: bool = False
    """Whether the network of an architecture is that which is built of it, as a function of somebody's own sees it. False: that
    of the one which is trained for all that compute the same."""


@dataclass(frozen=True)
class NetworkConstraint:
    """At most `bound` of a figure of the final network."""

    text: str
    """As the task's name has it."""
    figure: str
    bound: float
    """Parameters, multiply-accumulates or milliseconds."""
    space: Space
    """Of the final network."""
    task: Task
    model: LatencyModel | None = None
    """Of `latency`."""
    device: Device = field(default_factory=Device)
    as_is: bool = False
    """As `Networks` has it, of parameters and FLOPs."""

    penalty_weight = 0.0

    @property
    def label(self) -> str:
        if self.model is None:
            return f"{_WORDS[self.figure]} of the final network"
        return (
            f"latency in ms (predicted from {len(self.model.measured)} measurements; each as predicted from the others is off by "
            f"{self.model.error:.0%} in the median, a quarter by more than {self.model.upper_error:.0%})"
        )

    @property
    def digest(self) -> str:
        return self.text

    @property
    def facts(self) -> ConstraintFacts:
        """Of latencies that a command measures, nobody says on what."""
        here = self.figure == "latency" and not self.device.command
        return ConstraintFacts(self.figure, "cpu" if here else None)

    @property
    def counted(self) -> bool:
        """Whether the figure of thousands of architectures is known at once; else each network is built."""
        return isinstance(self.space, HasLoads if self.figure == "latency" else HasCost)

    def values(self, archs: Tensor, space: Space | None = None) -> Tensor:
        """Of the network of each of `archs` `[..., D]`, float64 `[...]`."""
        if self.model is not None:
            return self.model.predict(self.space, archs, self.task)
        built = archs if self.as_is else representatives(self.space, archs)
        parameters, flops = answer_cost(self.space, built, self.task)
        return (parameters if self.figure == "params" else flops).double()

    def measure(self, arch: Tensor) -> float:
        """The figure of `arch` `[D]`: of a latency what is measured now."""
        if self.figure != "latency":
            return self.values(arch[None]).item()
        return self.device.milliseconds(self.space, representatives(self.space, arch), self.task)

    def shown(self, value: float) -> str:
        """A value with its unit."""
        return f"{value:.3g} ms" if self.figure == "latency" else f"{value:,.0f} {_WORDS[self.figure]}"


@dataclass(frozen=True)
class Keeps:
    """Which architectures keep all of some constraints."""

    constraints: tuple[NetworkConstraint, ...]

    def __call__(self, archs: Tensor) -> Tensor:
        """Of `archs` `[..., D]`, bool `[...]`."""
        within = torch.ones(archs.shape[:-1], dtype=torch.bool)
        for constraint in self.constraints:
            within &= constraint.values(archs) <= constraint.bound
        return within


def parse(text: str) -> tuple[str, float]:
    """The figure and the bound of a constraint. Raises `UserError` for a unit or a number that is none."""
    figure, _, value = text.partition("<=")
    units = _UNITS[figure]
    match = re.fullmatch(r"([-+0-9.eE]*?[0-9.])([^\W\d]*)", value)
    if not match or match[2] not in units:
        takes = ", ".join(filter(None, units))
        takes += "; or none" * ("" in units)
        raise UserError(f"Constraint '{text}' takes a number and a unit ({takes}), as {_EXAMPLES[figure]}.")
    try:
        bound = float(match[1]) * units[match[2]]
    except ValueError:
        raise UserError(f"Constraint '{text}' has '{match[1]}' for a number, as {_EXAMPLES[figure]} has.") from None
    if not 0 < bound < float("inf"):
        raise UserError(f"Constraint '{text}' is on {match[1]}; it takes a finite number above zero.")
    return figure, bound
