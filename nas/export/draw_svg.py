"""A cell as SVG for a page: its text can be selected, and its colors are the page's, so that it reads on light and on dark."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup, escape

from nas.export.draw import APEX, LABELS, LOOKS, OTHER
from search_spaces._cells import EDGES, NODES

_STEP, _RISE = 125.0, 95.0
"""Distance of two nodes, and how high an edge with an apex of 1 bows up, in the drawing's units."""
_LEFT, _MIDDLE = 48.0, 125.0
"""Where the first node is, and how far below the top all are."""
_WIDTH, _HEIGHT = 2 * _LEFT + (NODES - 1) * _STEP, 205.0
_HALF = {0: 30.0, NODES - 1: 32.0}
"""Half of the width of a node's box, of those with a word in it; the others are square."""
_SQUARE = 14.0
_BETWEEN, _ABOVE = 9, 16
"""Characters of a label between two boxes, and on a bow."""
_LABELS = LABELS | {"avg_pool_3x3": "avg pool"}


def cell(picked: Sequence[str]) -> Markup:
    """The drawing of a cell whose edges, in the order of `EDGES`, have these operations."""
    edges = [_edge(a, b, name) for (a, b), name in zip(EDGES, picked) if name != "none"]
    parts = [line for line, _ in edges] + [text for _, text in edges] + [_node(n) for n in range(NODES)]
    what = "; ".join(f"{a} to {b}: {_LABELS.get(name, name)}" for (a, b), name in zip(EDGES, picked))
    return Markup('<svg class="cell" viewBox="0 0 {:.0f} {:.0f}" role="img" aria-label="{}">{}</svg>').format(
        _WIDTH, _HEIGHT, f"A cell of four nodes. {what}", Markup("").join(parts)
    )


def _edge(start: int, end: int, operation: str) -> tuple[Markup, Markup]:
    """The arrow and its label."""
    apex = APEX[start, end]
    lift = 0.0 if apex == 0 else (_SQUARE if apex > 0 else -_SQUARE)
    # A straight edge begins at the sides of two boxes, a bowed one above or below them.
    left, right = _LEFT + start * _STEP, _LEFT + end * _STEP
    if apex == 0:
        left, right = left + _half(start), right - _half(end)
    elif end - start < NODES - 1:
        left, right = left + 8, right - 8
    y, top = _MIDDLE - lift, _MIDDLE - _RISE * apex
    middle, bend = (left + right) / 2, 2 * top - y
    # The tip points along the curve's last piece: at its end a quadratic curve runs towards its control point.
    dx, dy = right - middle, y - bend
    length = (dx * dx + dy * dy) ** 0.5
    ux, uy = dx / length, dy / length
    stop = (right - 9 * ux, y - 9 * uy)
    tip = " ".join(f"{x:.1f},{v:.1f}" for x, v in (
        (right, y), (right - 11 * ux - 5 * uy, y - 11 * uy + 5 * ux), (right - 11 * ux + 5 * uy, y - 11 * uy - 5 * ux)
    ))  # fmt: skip
    color, line = LOOKS.get(operation, OTHER)
    color = Markup("var(--op-{}, {})").format(operation.replace("_", "-"), color)
    dashes = {"--": "8 5", ":": "2 4"}.get(line, "none")
    arrow = Markup(
        '<path d="M{:.1f} {:.1f} Q{:.1f} {:.1f} {:.1f} {:.1f}" fill="none" stroke-width="2.5" stroke-dasharray="{}" '
        'style="stroke:{}"/><polygon points="{}" style="fill:{}"/>'
    ).format(left, y, middle, bend, *stop, dashes, color, tip, color)
    label, room = _LABELS.get(operation, operation), _BETWEEN if apex == 0 else _ABOVE
    label = label if len(label) <= room else f"{label[: room - 1]}…"
    half = 3.9 * len(label) + 4
    text = Markup(
        '<rect class="behind" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="18"/>'
        '<text class="operation" x="{:.1f}" y="{:.1f}" style="fill:{}">{}</text>'
    ).format(middle - half, top - 9, 2 * half, middle, top + 4.5, color, label)
    return arrow, text


def _node(node: int) -> Markup:
    name = {0: "input", NODES - 1: "output"}.get(node, str(node))
    half, x = _half(node), _LEFT + node * _STEP
    return Markup(
        '<rect class="node" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" rx="5"/>'
        '<text class="name" x="{:.1f}" y="{:.1f}">{}</text>'
    ).format(x - half, _MIDDLE - _SQUARE, 2 * half, 2 * _SQUARE, x, _MIDDLE + 5, escape(name))


def _half(node: int) -> float:
    return _HALF.get(node, _SQUARE)
