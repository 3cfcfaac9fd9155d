"""The charts of a run's page as SVG: the search, and accuracy against size. Their text keeps its size on narrow screens.

Shapes: `S` seeds, `E` evaluations.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup
from torch import Tensor

from nas.run import incumbent
from nas.run.front import Point

_WIDTH, _HEIGHT = 440.0, 280.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 52.0, 14.0, 12.0, 44.0
"""Margins, with room for the numbers of the axes."""
_SPREAD = 2.5
"""The vertical axis reaches so many times as far below the median as the best is above it: what failed to learn would press all
that matters into a line. What lies below is drawn at the axis as a triangle."""
_DECADE = 6.0
"""Sizes that differ by more than this factor get a logarithmic axis."""
_SEEDS_DRAWN = 8
"""More lines than this say less than their mean."""


@dataclass(frozen=True)
class _Axes:
    """Where values lie in a chart."""

    x: tuple[float, float]
    y: tuple[float, float]
    log: bool = False

    def place(self, x: float, y: float) -> tuple[float, float]:
        across = self._share(*map(math.log, (*self.x, x))) if self.log else self._share(*self.x, x)
        up = self._share(*self.y, min(max(y, self.y[0]), self.y[1]))
        return _LEFT + across * (_WIDTH - _LEFT - _RIGHT), _HEIGHT - _BOTTOM - up * (_HEIGHT - _TOP - _BOTTOM)

    @staticmethod
    def _share(low: float, high: float, value: float) -> float:
        return (value - low) / (high - low)


def search_curve(score: Tensor, epochs: Tensor | None = None, name: str = "validation accuracy, %") -> Markup | None:
    """Every evaluation and the best so far, of scores `[S, E]`; None where none succeeded."""
    known = score[~score.isnan()]
    if not len(known):
        return None
    S, E = score.shape
    axes = _Axes((0.5, E + 0.5), _vertical(known.tolist()))
    parts = [_frame(axes, "evaluation", name, _whole, _plain)]
    parts += [_dots(axes, ((e + 1, y) for row in score.tolist() for e, y in enumerate(row)), "dot")]
    best = incumbent.best_so_far(score, epochs)
    for row in best[:_SEEDS_DRAWN].tolist() if S > 1 else []:
        parts.append(_steps(axes, row, "seed"))
    parts.append(_steps(axes, best.nanmean(0).tolist(), "best"))
    return _svg(parts, f"Scores of {S * E} evaluations and the best so far, which ends at {best.nanmean(0)[-1]:.2f}")


def front(points: Sequence[Point], picked: Point | None, name: str = "validation accuracy, %") -> Markup | None:
    """Accuracy against parameters: all that was evaluated, the front, and the network that is handed out; None for one point."""
    sizes, known = [p.parameters for p in points], [p.score for p in points if not math.isnan(p.score)]
    if len(set(sizes)) < 2 or not known:
        return None
    log = max(sizes) > _DECADE * min(sizes) > 0
    room = (max(sizes) / min(sizes)) ** 0.05 if log else 0.05 * (max(sizes) - min(sizes))
    ends = (min(sizes) / room, max(sizes) * room) if log else (min(sizes) - room, max(sizes) + room)
    axes = _Axes(ends, _vertical(known), log)
    on = sorted((p.parameters, p.score) for p in points if p.on_front)
    parts = [_frame(axes, "parameters of the network", name, _large, _plain)]
    if len(on) > 1:
        parts.append(_line(axes, _stairs(on), "best"))
    parts.append(_dots(axes, ((p.parameters, p.score) for p in points if not p.on_front), "dot"))
    parts.append(_dots(axes, on, "on"))
    if picked is not None:
        x, y = axes.place(picked.parameters, picked.score)
        parts.append(Markup('<circle class="picked" cx="{:.1f}" cy="{:.1f}" r="8"/>').format(x, y))
    return _svg(parts, f"Accuracy against parameters of {len(points)} architectures, {len(on)} of them on the front")


def _vertical(values: list[float]) -> tuple[float, float]:
    ranked = sorted(values)
    best, median = ranked[-1], ranked[len(ranked) // 2]
    low = max(ranked[0], median - _SPREAD * max(best - median, 0.5))
    room = max(0.06 * (best - low), 0.05)
    return low - room, best + room


def _frame(axes: _Axes, below: str, beside: str, across: Callable[[float], str], up: Callable[[float], str]) -> Markup:
    """Grid lines, their numbers and the names of the axes."""
    parts = []
    for value in _ticks(*axes.y):
        _, y = axes.place(axes.x[0], value)
        parts.append(Markup(
            '<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/><text class="end" x="{}" y="{:.1f}">{}</text>'
        ).format(_LEFT, _WIDTH - _RIGHT, y, y, _LEFT - 6, y + 4, up(value)))  # fmt: skip
    for value in _decades(*axes.x) if axes.log else _ticks(*axes.x):
        x, _ = axes.place(value, axes.y[0])
        if text := across(value):
            parts.append(Markup(
                '<line class="grid" x1="{:.1f}" x2="{:.1f}" y1="{}" y2="{}"/><text class="mid" x="{:.1f}" y="{}">{}</text>'
            ).format(x, x, _TOP, _HEIGHT - _BOTTOM, x, _HEIGHT - _BOTTOM + 16, text))  # fmt: skip
    middle = (_TOP + _HEIGHT - _BOTTOM) / 2
    parts.append(Markup(
        '<text class="mid axis" x="{}" y="{}">{}</text><text class="mid axis" transform="translate(13 {}) rotate(-90)">{}</text>'
    ).format((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 8, below, middle, beside))  # fmt: skip
    return Markup("").join(parts)


def _dots(axes: _Axes, values: Iterable[tuple[float, float]], kind: str) -> Markup:
    parts = []
    for x, y in values:
        if math.isnan(y):
            continue
        across, up = axes.place(x, y)
        mark = f'<circle class="{kind}" cx="{across:.1f}" cy="{up:.1f}" r="4"/>'
        if y < axes.y[0]:
            mark = f'<path class="{kind}" d="M{across - 4:.1f} {up - 7:.1f}h8l-4 7z"/>'
        parts.append(Markup(mark))
    return Markup("").join(parts)


def _steps(axes: _Axes, best: list[float], kind: str) -> Markup:
    known = [(e, y) for e, y in enumerate(best, 1) if not math.isnan(y)]
    return _line(axes, _stairs(known), kind)


def _stairs(values: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """From each value along to the next one's place, then up to it."""
    corners = [corner for (x, y), (to, up) in pairwise(values) for corner in ((x, y), (to, y), (to, up))]
    return [*corners, *values[-1:]]


def _line(axes: _Axes, corners: Sequence[tuple[float, float]], kind: str) -> Markup:
    places = " ".join(f"{x:.1f},{y:.1f}" for x, y in (axes.place(*corner) for corner in corners))
    return Markup('<polyline class="{}" points="{}"/>').format(kind, places)


def _svg(parts: list[Markup], what: str) -> Markup:
    return Markup('<svg class="chart" viewBox="0 0 {:.0f} {:.0f}" role="img" aria-label="{}">{}</svg>').format(
        _WIDTH, _HEIGHT, what, Markup("").join(parts)
    )


def _ticks(low: float, high: float) -> list[float]:
    from matplotlib.ticker import MaxNLocator  # Not above: a search of a table that is not finished draws nothing.

    return [float(v) for v in MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(low, high) if low <= v <= high]


def _decades(low: float, high: float) -> list[float]:
    from matplotlib.ticker import LogLocator

    return [float(v) for v in LogLocator(subs=(1.0, 2.0, 5.0)).tick_values(low, high) if low <= v <= high]


def _plain(value: float) -> str:
    return f"{value:g}"


def _whole(value: float) -> str:
    return f"{value:g}" if value == round(value) else ""


def _large(value: float) -> str:
    return f"{value / 1e6:g}M" if value >= 1e6 else f"{value / 1e3:g}k" if value >= 1e3 else f"{value:g}"
