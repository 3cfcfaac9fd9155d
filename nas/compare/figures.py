"""The figures of a comparison, SVG and PNG, the same bytes for the same numbers.

Lines carry their names at their ends; colors are Okabe & Ito's, which color-blind readers tell apart, and line styles differ
too. A panel is a task, or a family where there are many tasks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nas.compare import curves, statistics
from nas.compare.summary import TrialSummary
from nas.tasks import TaskName
from search_spaces._files import atomic_write

_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7F7F7F")
_STYLES = ("-", "--", ":")
_FLOOR = 1e-3
"""Normalised regret below which a curve is drawn as if at the optimum."""
_MOST_TASKS = 6
"""More tasks than this share a panel by family: two rows of three panels fit a page."""


class Look(NamedTuple):
    color: str
    style: str


def draw(summaries: list[TrialSummary], folder: Path) -> list[Path]:
    """`regret`, `reached`, `profile`, `improvement`, and where known `report`, `test_regret`, `seconds`; the files made."""
    if not summaries:
        return []
    panels = _panels(summaries)
    controllers = list(dict.fromkeys(c.spec.controller for c in summaries))
    looks = {c: Look(_COLORS[i % 8], _STYLES[i // 8 % 3]) for i, c in enumerate(controllers)}
    plain: Any = {
        # A fixed salt: matplotlib's identifiers would otherwise differ from run to run.
        "svg.hashsalt": "metacell",
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
    with matplotlib.rc_context(plain):
        drawn = {
            "regret": _lines(panels, looks, curves.regret, "evaluations", "regret (1: median of the space)", log=True),
            "reached": _lines(panels, looks, curves.reached, "evaluations", "share that found the best 0.1%"),
            "profile": _lines(
                panels, looks, curves.profile, "normalised score t", "share of runs with score ≥ t", scale="linear"
            ),
            "report": _lines(panels, looks, curves.reported, "evaluations", "test score of the best found"),
            "test_regret": _lines(
                panels, looks, curves.test_regret, "evaluations", "test score below the best of the space"
            ),
            "seconds": _lines(
                panels, looks, curves.by_seconds, "simulated seconds", "regret (1: median of the space)", log=True
            ),
            "improvement": _matrix(panels, controllers),
        }
        return [path for name, figure in drawn.items() if figure for path in _save(figure, folder / name)]


def _panels(summaries: list[TrialSummary]) -> dict[str, dict[str, list[TrialSummary]]]:
    """Panel to controller to summaries."""
    by_task = len({c.spec.task for c in summaries}) <= _MOST_TASKS
    panels: dict[str, dict[str, list[TrialSummary]]] = {}
    for summary in summaries:
        name = _without_table(summary.spec.task) if by_task else summary.family
        panels.setdefault(name, {}).setdefault(summary.spec.controller, []).append(summary)
    return panels


def _without_table(task: str) -> str:
    name = TaskName.parse(task)
    return str(name).removeprefix(f"{name.table}/")


def _lines(
    panels: dict[str, dict[str, list[TrialSummary]]], looks: dict[str, Look],
    curve: Callable[[list[TrialSummary]], curves.Curve | None],
    x_label: str, y_label: str, *, log: bool = False, scale: str = "log",
) -> Figure | None:  # fmt: skip
    """One curve a controller in each panel; None where no controller has one."""
    curves = {
        panel: {name: found for name, summaries in members.items() if (found := curve(summaries)) is not None}
        for panel, members in panels.items()
    }
    curves = {panel: members for panel, members in curves.items() if members}
    if not curves:
        return None
    figure, axes = _grid(len(curves))
    for k, (ax, (panel, members)) in enumerate(zip(axes, curves.items())):
        ax.set_title(panel, fontsize=9, loc="left", fontweight="bold")
        ax.set_xscale(scale)
        if log:
            ax.set_yscale("log")
            ax.set_ylim(_FLOOR, 1.2)
        for name, (x, y, low, high) in members.items():
            if log and not (y < 1.2).any():
                continue
            ax.plot(x, numpy.maximum(y, _FLOOR) if log else y, looks[name].style, color=looks[name].color, lw=1.6)
            if low is not None and high is not None:
                ax.fill_between(x, low, high, color=looks[name].color, alpha=0.15, lw=0)
        _name_ends(ax, {n: c[1][-1] for n, c in members.items()}, looks, log)
        ax.set_xlabel(x_label if k >= len(curves) - 3 else "")
        ax.set_ylabel(y_label if k % 3 == 0 else "")
        ax.grid(alpha=0.25, lw=0.5)
    return figure


def _name_ends(ax: Axes, ends: dict[str, Any], looks: dict[str, Look], log: bool) -> None:
    """Names beside the lines' ends, moved apart where they would overlap; those off the axis stay unnamed."""
    bottom, top = ax.get_ylim()
    put = numpy.log10 if log else float
    low, high = put(bottom), put(top)
    places = {
        n: (put(max(y, _FLOOR) if log else y) - low) / (high - low) for n, y in ends.items() if not log or y < top
    }
    order = sorted(places, key=lambda n: (places[n], n))
    heights = _spread([places[n] for n in order], 0.075)
    for name, y, height in zip(order, (places[n] for n in order), heights):
        ax.annotate(
            _short(name), (1, y), (1.04, height), xycoords="axes fraction", textcoords="axes fraction", fontsize=8, va="center",
            color=looks[name].color, arrowprops={"arrowstyle": "-", "color": looks[name].color, "lw": 0.6, "shrinkA": 0},
            annotation_clip=False,
        )  # fmt: skip


def _spread(places: list[float], gap: float) -> list[float]:
    """Ascending places at least `gap` apart and within 0 and 1, as near as may be to where they were."""
    gap = min(gap, 1 / max(len(places) - 1, 1))
    # Isotonic regression by pooling adjacent violators: without the gaps, places only have to ascend.
    blocks: list[list[float]] = []
    for k, place in enumerate(places):
        blocks.append([place - k * gap])
        while len(blocks) > 1 and numpy.mean(blocks[-2]) > numpy.mean(blocks[-1]):
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    apart = [float(numpy.mean(block)) for block in blocks for _ in block]
    room = 1 - gap * (len(places) - 1)
    return [min(max(place, 0.0), room) + k * gap for k, place in enumerate(apart)]


def _matrix(panels: dict[str, dict[str, list[TrialSummary]]], controllers: list[str]) -> Figure | None:
    """The probability that the row's controller ends above the column's, in percent."""
    if len(controllers) < 2:
        return None
    figure, axes = _grid(len(panels), square=True)
    for ax, (panel, members) in zip(axes, panels.items()):
        names = [c for c in controllers if c in members]
        percent = numpy.full((len(names), len(names)), numpy.nan)
        for i, j in _pairs(len(names)):
            ours, theirs = (numpy.stack([c.best[:, -1] for c in members[names[k]]]) for k in (i, j))
            percent[i, j] = 100 * statistics.probability_of_improvement(ours, theirs)
            ink = "white" if abs(percent[i, j] - 50) > 40 else "black"
            ax.text(j, i, f"{percent[i, j]:.0f}", ha="center", va="center", fontsize=7, color=ink)
        ax.imshow(percent, cmap="PuOr_r", vmin=-20, vmax=120)
        ax.set_title(panel, fontsize=9, loc="left", fontweight="bold")
        shown = [_short(name) for name in names]
        ax.set_xticks(range(len(names)), shown, rotation=60, ha="right", fontsize=7)
        ax.set_yticks(range(len(names)), shown, fontsize=7)
    return figure


def _short(name: str) -> str:
    """A controller's name with a trained prior by its folder alone: whole paths leave no room for what is drawn."""
    return re.sub(r"(?<=prior=)(?:[^:]*/)?([^:/]+)/prior\.safetensors", r"\1", name)


def _pairs(count: int) -> Iterator[tuple[int, int]]:
    return ((i, j) for i in range(count) for j in range(count) if i != j)


def _grid(count: int, *, square: bool = False) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels, at most three a row."""
    columns = min(count, 3)
    rows = -(-count // columns)
    figure = Figure(figsize=(4.2 * columns, (3.6 if square else 2.7) * rows), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for ax in axes[count:]:
        ax.set_axis_off()
    return figure, axes


def _save(figure: Figure, stem: Path) -> list[Path]:
    paths = []
    # Without date and version the same numbers give the same bytes.
    for suffix, without in (("svg", {"Date": None, "Creator": None}), ("png", {"Software": None})):
        paths.append(stem.with_suffix(f".{suffix}"))
        with atomic_write(paths[-1]) as beside:
            figure.savefig(beside, format=suffix, dpi=110, metadata=without)
    return paths
