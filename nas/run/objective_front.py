"""The front of a run with several objectives: the architectures that no other one is better than in all of them.

Shapes: `S` seeds, `E` evaluations, `F` points, `A` objectives.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from controller.models import pareto
from nas.run import names, step_log, subject
from nas.run.store import Run
from nas.run.subject import KeptAim
from search_spaces import representatives


class ObjectivePoint(NamedTuple):
    """What was evaluated: of architectures that compute the same and came out the same, the first."""

    arch: str
    values: tuple[float, ...]
    """Of each objective, as people read it."""
    seed: int
    evaluation: int
    """Of its seed, counted from 1."""
    on_front: bool
    """Whether no other point is at least as good in all objectives, and better in one."""


def points(run: Run) -> list[ObjectivePoint]:
    """What a run evaluated with success, all seeds together, the best first objective first; empty where the score is alone."""
    past, about = step_log.history(run), subject.read(run)
    if past.objectives is None or not about.aims:
        return []
    space = subject.shown_space(run, about.space)
    functions_SED = representatives(space, past.archs)
    found: dict[tuple[float, ...], tuple[int, int]] = {}
    for s, e in (~past.objectives.isnan().any(-1)).nonzero().tolist():
        # A table measures each architecture by itself: the same function may have other values there.
        found.setdefault((*functions_SED[s, e].tolist(), *past.objectives[s, e].tolist()), (s, e))
    places = list(found.values())
    if not places:
        return []
    value_FA = torch.stack([past.objectives[at] for at in places])
    best = pareto.non_dominated(value_FA).tolist()
    sign = [1 if aim.maximize else -1 for aim in about.aims]
    rows = []
    for (s, e), value, on in zip(places, value_FA.tolist(), best):
        name = names.of(about, space, past.archs[s, e]).arch
        read = tuple(x * k for x, k in zip(value, sign))
        rows.append(ObjectivePoint(name, read, s + run.config.first_seed, e + 1, on))
    return sorted(rows, key=lambda row: -row.values[0] * sign[0])


def brief(run: Run) -> dict[str, Any] | None:
    """What the summary of a run says of its front; None where the score is the only objective.

    `hypervolume` is that of `Front`.
    """
    aims = subject.read(run).aims
    if not aims:
        return None
    found = points(run)
    front = [{"arch": p.arch, **dict(zip([aim.name for aim in aims], p.values))} for p in found if p.on_front]
    share = Front(step_log.history(run).objectives).hypervolume
    return {"aims": [aim._asdict() for aim in aims], "networks": len(found), "front": front, "hypervolume": share}


class Front:
    """The front of a search while it goes on: what TensorBoard shows."""

    def __init__(self, past: Tensor | None):
        """Of objectives `[S, E, A]` so far; None before the first."""
        self._front: Tensor | None = None
        self._worst: Tensor | None = None
        if past is not None:
            self.add(past)

    def add(self, objectives: Tensor) -> None:
        """More of them, `[S, B, A]`."""
        new = objectives.flatten(0, 1)
        new = new[~new.isnan().any(-1)]
        if not len(new):
            return
        lowest = new.amin(0)
        self._worst = lowest if self._worst is None else torch.minimum(self._worst, lowest)
        every = new if self._front is None else torch.cat([self._front, new])
        self._front = pareto.front(every)

    @property
    def size(self) -> int:
        """Points on it that differ."""
        return 0 if self._front is None else len(self._front)

    @property
    def hypervolume(self) -> float:
        """Its share of the box between the worst and the best value of each objective so far; 0 where there is no box."""
        if self._front is None or self._worst is None:
            return 0.0
        span = self._front.amax(0) - self._worst
        return pareto.hypervolume(self._front / span, self._worst / span) if bool((span > 0).all()) else 0.0


def bound_text(aim: KeptAim, value: float) -> str:
    """A bound that the value keeps, of three digits."""
    digits = 2 - math.floor(math.log10(abs(value))) if value else 0
    rounded = (math.floor if aim.maximize else math.ceil)(value * 10.0**digits) / 10.0**digits
    return f"{aim.short}{'>=' if aim.maximize else '<='}{rounded:g}{aim.unit or ''}"


def shown(aim: KeptAim, value: float) -> str:
    """A value with its unit: counts whole, all else to five digits."""
    text = f"{value:,.0f}" if value == int(value) and abs(value) >= 1000 else f"{value:.5g}"
    return f"{text} {aim.unit}" if aim.unit else text
