"""An architecture as a drawing: `text` for the terminal, `figure` for files. Cells are graphs, widths are bars.

A space whose decisions are the six edges of a four-node cell is drawn as that; a space whose options are all named `width_N`
as widths; any other as the list of its decisions. Edges differ in color, line and label, so that color is not needed.
"""

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from search_spaces import Space, as_cell_space
from search_spaces._cells import EDGE_NAMES, EDGES, NODES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LABELS = {
    "skip_connect": "skip",
    "nor_conv_1x1": "conv 1x1",
    "nor_conv_3x3": "conv 3x3",
    "avg_pool_3x3": "avg pool 3x3",
}
SHORT_LABELS = {
    "skip_connect": "skip",
    "nor_conv_1x1": "1x1",
    "nor_conv_3x3": "3x3",
    "avg_pool_3x3": "pool",
    "none": "-",
}
"""Where there is little room: a card of TensorBoard, a line of a terminal."""
LOOKS = {
    "skip_connect": ("#7f7f7f", "--"),
    "nor_conv_1x1": ("#E69F00", "-"),
    "nor_conv_3x3": ("#0072B2", "-"),
    "avg_pool_3x3": ("#009E73", ":"),
}
"""Color and line of an operation; the colors are Okabe and Ito's, which color-blind readers tell apart."""
OTHER = ("#000000", "-")
# The long edge and the two of length two bow to different sides, so that no two edges or labels cross.
APEX = {(0, 1): 0.0, (1, 2): 0.0, (2, 3): 0.0, (0, 2): 0.55, (1, 3): -0.55, (0, 3): 1.0}
"""How far an edge bows up, in units of the distance of two nodes."""
_HALF_WIDTH = 0.065
"""Of an inner node's box, in the same units."""
_BAR = 40
"""Characters of the widest bar: with its labels it fits a terminal of 80."""


def operations(space: Space, arch: Tensor) -> list[str]:
    """The options' names that `arch` `[D]` picks, decision by decision."""
    return [names[choice] for names, choice in zip(space.operations, arch.tolist())]


def text(space: Space, arch: Tensor, bar: str = "█") -> str:
    """A few lines that draw `arch` `[D]`, without color; `bar` is what bars are made of."""
    picked, cell = operations(space, arch), cell_of(space, arch)
    rest = [f"{decision}={option}" for decision, option in decisions_of(space, arch)] if cell is not None else []
    if cell is not None:
        return "\n".join(
            [_cell_text(cell), *textwrap.wrap(", ".join(rest), 100, initial_indent="  ", subsequent_indent="  ")]
        )
    widths = _widths(picked)
    if widths:
        unit = _BAR / max(widths)
        return "\n".join(f"stage {i}  {bar * round(w * unit)} {w}" for i, w in enumerate(widths))
    room = max(map(len, space.decisions))
    return "\n".join(f"{decision:<{room}}  {name}" for decision, name in zip(space.decisions, picked))


def cell_of(space: Space, arch: Tensor) -> list[str] | None:
    """The six operations of a four-node cell, where decisions of `arch` `[D]` are its edges; else None."""
    at = _edges_at(space)
    return None if at is None else [operations(space, arch)[place] for place in at]


def decisions_of(space: Space, arch: Tensor) -> list[tuple[str, str]]:
    """The decisions of `arch` `[D]` that `cell_of` does not show, with what they pick: `width` and `16` of `width=16`."""
    at = _edges_at(space) or []
    pairs = enumerate(zip(space.decisions, operations(space, arch)))
    return [(decision, name.removeprefix(f"{decision}=")) for place, (decision, name) in pairs if place not in at]


def _edges_at(space: Space) -> list[int] | None:
    """Which decisions are the edges of a four-node cell, in the order of `EDGES`."""
    cells = as_cell_space(space)
    if cells is not None and cells.edges == EDGES:
        return list(range(len(EDGES)))
    for prefix in ("", "cell "):  # A space that is known by its names alone; a pipeline.
        names = [f"{prefix}{edge}" for edge in EDGE_NAMES]
        if set(names) <= set(space.decisions):
            return [space.decisions.index(name) for name in names]
    return None


def figure(space: Space, arch: Tensor, *, card: bool = False) -> Figure:
    """A matplotlib figure that draws `arch` `[D]`; the caller saves it. With `card` its text reads at a third of the width."""
    # Here and not above: a search that only prints needs no matplotlib, which takes long to import.
    from matplotlib.figure import Figure

    picked, cell = operations(space, arch), cell_of(space, arch)
    drawn = Figure(figsize=(4.4, 2.6), dpi=160) if card else Figure(figsize=(7.2, 3.2))
    drawn.set_layout_engine("constrained")
    axes = drawn.add_subplot()
    if cell is not None:
        _cell_figure(axes, cell, card=card)
    else:
        _bars_figure(axes, picked)
    if not card:
        axes.set_title(textwrap.fill(space.describe(arch), 110), fontsize=7, family="monospace", color="#555555")
    return drawn


def _widths(picked: list[str]) -> list[int] | None:
    return [int(p.removeprefix("width_")) for p in picked] if all(p.startswith("width_") for p in picked) else None


def _name(node: int) -> str:
    return {0: "input", NODES - 1: "output"}.get(node, f"node {node}")


def _cell_text(picked: list[str]) -> str:
    """Each node and the sum that makes it: `node 2 = conv 3x3(input) + skip(node 1)`."""
    lines = []
    for node in range(1, NODES):
        terms = [
            f"{LABELS.get(operation, operation)}({_name(start)})"
            for (start, end), operation in zip(EDGES, picked)
            if end == node and operation != "none"
        ]
        lines.append(f"  {_name(node):<6} = {' + '.join(terms) if terms else '0'}")
    return "\n".join(lines)


def _cell_figure(axes: Axes, picked: list[str], *, card: bool) -> None:
    labels, larger = (SHORT_LABELS, 1.3) if card else (LABELS, 1.0)
    for (start, end), operation in zip(EDGES, picked):
        if operation != "none":
            _edge(axes, start, end, operation, labels.get(operation, operation), 8.5 * larger)
    for node in range(NODES):
        ends = node in (0, NODES - 1)
        axes.text(
            node, 0, _name(node) if ends else str(node), ha="center", va="center", fontsize=10 * larger, zorder=3,
            bbox={"boxstyle": "round,pad=0.4", "facecolor": "#e8e8e8" if ends else "white", "edgecolor": "#333333"},
        )  # fmt: skip
    axes.set_xlim(-0.3, NODES - 0.7)
    axes.set_ylim(-0.7, 1.1)
    axes.axis("off")


def _edge(axes: Axes, start: int, end: int, operation: str, label: str, fontsize: float) -> None:
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.path import Path

    color, line = LOOKS.get(operation, OTHER)
    apex = APEX[start, end]
    side, lift = (
        (_HALF_WIDTH, 0.0) if apex == 0 else (0.06 if end - start < NODES - 1 else 0.0, math.copysign(0.1, apex))
    )
    left, right = start + side * _stretch(start, apex), end - (side + 0.01) * _stretch(end, apex)
    bend = ((left + right) / 2, 2 * apex - lift)
    # The arrow is a path of its own, along the curve's last piece: on the dashed curve its head would be dashed too.
    nearly = (right + 0.06 * (bend[0] - right), lift + 0.06 * (bend[1] - lift))
    curve = Path([(left, lift), bend, (right, lift)], [Path.MOVETO, Path.CURVE3, Path.CURVE3])
    head = Path([nearly, (right, lift)])
    for path, style, dashes in ((curve, "-", line), (head, "-|>", "-")):
        axes.add_patch(
            FancyArrowPatch(path=path, arrowstyle=style, mutation_scale=16, color=color, ls=dashes, lw=2.0, zorder=1)
        )
    axes.text(
        (left + right) / 2, apex, label, ha="center", va="center", fontsize=fontsize, color=color,
        zorder=2, bbox={"boxstyle": "round,pad=0.12", "facecolor": "white", "edgecolor": "none"},
    )  # fmt: skip


def _stretch(node: int, apex: float) -> float:
    """The ends of the cell have wider boxes."""
    return 2.3 if apex == 0 and node in (0, NODES - 1) else 1.0


def _bars_figure(axes: Axes, picked: list[str]) -> None:
    widths = _widths(picked)
    heights = widths or [1] * len(picked)
    bars = axes.bar(np.arange(len(picked)), heights, color="#0072B2", width=0.7)
    axes.bar_label(bars, labels=[str(w) for w in widths] if widths else picked, padding=2, fontsize=10)
    axes.set_xticks(np.arange(len(picked)), [f"stage {i}" for i in range(len(picked))])
    axes.set_ylabel("channels" if widths else "")
    axes.margins(y=0.15)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
