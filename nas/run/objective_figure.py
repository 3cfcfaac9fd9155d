"""The front of a run with several objectives as a figure: the first objective against each of the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nas.run.objective_front import ObjectivePoint
from nas.run.subject import KeptAim

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DECADE = 6.0
"""Values that differ by more than this factor get a logarithmic axis."""
_LOWEST = 10
"""Percentile of the first objective at which its axis begins: what failed to learn would press all that matters into a line."""


def figure(points: Sequence[ObjectivePoint], aims: Sequence[KeptAim]) -> Figure | None:
    """The figure, a panel for each objective but the first; None without a point."""
    import numpy
    from matplotlib.figure import Figure

    if not points:
        return None
    drawn = Figure(figsize=(4.4 * (len(aims) - 1), 3.0), dpi=160, layout="constrained")
    first = [point.values[0] for point in points]
    for at, axes in enumerate(drawn.subplots(1, len(aims) - 1, squeeze=False)[0], 1):
        values = [point.values[at] for point in points]
        axes.scatter(values, first, s=16, color="#8a94a3", alpha=0.6, linewidths=0)
        on = [point for point in points if point.on_front]
        # With a third objective, a point of the front may look worse in a panel of two.
        axes.scatter([p.values[at] for p in on], [p.values[0] for p in on], s=30, color="#0072B2", zorder=3)
        if max(values) > _DECADE * min(values) > 0:
            axes.set_xscale("log")
        low, high = float(numpy.percentile(first, _LOWEST if aims[0].maximize else 0)), max(first)
        room = max(0.08 * (high - low), 1e-3)
        axes.set_ylim(low - room, high + room)
        unit = f" ({aims[at].unit})" if aims[at].unit else ""
        axes.set_xlabel(f"{aims[at].short}{unit}, {'higher' if aims[at].maximize else 'lower'} is better")
        axes.set_ylabel(aims[0].short)
        axes.grid(color="#e4e6ea")
        axes.set_axisbelow(True)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    return drawn
