"""Accuracy against size of all that a run evaluated, as a figure that reads at the size of a card of TensorBoard."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from nas.run.front import Point

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DECADE = 6.0
"""Sizes that differ by more than this factor get a logarithmic axis."""
_LOWEST = 10
"""Percentile of the scores at which the vertical axis begins: what failed to learn would press all that matters into a line."""


def figure(points: Sequence[Point], picked: Point | None) -> Figure | None:
    """The figure; None where there are not two sizes.

    Args:
        points: as `nas.run.front` gives them.
        picked: the one that is handed out, in a circle; None: it is not known.
    """
    import numpy
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter, MaxNLocator

    known = [point for point in points if not math.isnan(point.score)]
    sizes = [point.parameters for point in known]
    if len(set(sizes)) < 2:
        return None
    drawn = Figure(figsize=(4.4, 3.0), dpi=160, layout="constrained")
    axes = drawn.add_subplot()
    on = sorted((point.parameters, point.score) for point in known if point.on_front)
    axes.scatter(sizes, [point.score for point in known], s=16, color="#8a94a3", alpha=0.6, linewidths=0)
    axes.step(*zip(*on), where="post", marker="o", markersize=5, color="#0072B2")
    if picked is not None:
        axes.scatter(
            [picked.parameters],
            [picked.score],
            s=110,
            facecolors="none",
            edgecolors="#d1495b",
            linewidths=1.8,
            zorder=3,
        )
    if max(sizes) > _DECADE * min(sizes) > 0:
        axes.set_xscale("log")
    else:
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    scores = [point.score for point in known]
    low, best = float(numpy.percentile(scores, _LOWEST)), max(scores)
    room = max(0.08 * (best - low), 0.05)
    axes.set_ylim(low - room, best + room)
    axes.set_xlabel("parameters")
    axes.set_ylabel("score")
    axes.grid(color="#e4e6ea")
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return drawn
