"""`nas components`: what there is to search with, ours and other packages'."""

from __future__ import annotations

import inspect
from dataclasses import fields, is_dataclass
from typing import Any

import click

from nas import plugins
from nas.commands import _shared
from nas.meta import metanas
from search_spaces import UserError


@click.command()
@click.option("--kind", type=click.Choice(plugins.KINDS), help="Of one kind alone.")
@click.option("--settings", is_flag=True, help="With each component's settings and their defaults.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def command(kind: str | None, settings: bool, as_json: bool) -> None:
    """List the search spaces, controllers, meta-learners and evaluators, with a line on each.

    Ours, and those that other installed packages offer by entry points.

    \b
    Example:
      nas components --kind controller --settings
    """
    found = [row for k in ([kind] if kind else plugins.KINDS) for row in _components(k)]
    if as_json:
        _shared.print_json(found)
        return
    rows: list[tuple[str, ...]] = [("kind", "name", "from", "what it is")]
    for row in found:
        rows.append((row["kind"], row["name"], row["from"], row["summary"]))
        if settings:
            rows += [("", f"  {name}={default}", "", "") for name, default in row["settings"].items()]
    _shared.print_lines(rows)


def _components(kind: str) -> list[dict[str, Any]]:
    entries = plugins.installed(kind)
    own = [_row(kind, name, "metacell") for name in plugins.names(kind)]
    if kind == "meta-learner":  # It learns from images where the others learn from tables, so it is not in their room.
        own = sorted([*own, _described(kind, metanas.NAME, "metacell", metanas.MetaNas)], key=lambda row: row["name"])
    return own + [
        _row(kind, name, entry.dist.name if entry.dist else entry.module) for name, entry in sorted(entries.items())
    ]


def _row(kind: str, name: str, package: str) -> dict[str, Any]:
    try:
        component = plugins.load(kind, name)
    except UserError as error:  # Another package's that cannot be imported must not hide the rest.
        return {"kind": kind, "name": name, "from": package, "summary": str(error), "settings": {}}
    return _described(kind, name, package, component)


def _described(kind: str, name: str, package: str, component: Any) -> dict[str, Any]:
    summary = (inspect.getdoc(component) or "").splitlines() or [""]
    known = fields(component) if is_dataclass(component) and kind != "evaluator" else ()
    shown = {f.name: _default(f) for f in known if f.init and f.name not in _GIVEN and not f.name.startswith("_")}
    return {"kind": kind, "name": name, "from": package, "summary": summary[0], "settings": shown}


_GIVEN = ("space", "task", "sets")
"""Fields that a search or a training fills in; they are no settings."""


def _default(field: Any) -> Any:
    value = field.default
    return value if isinstance(value, int | float | str | bool) else None
