"""`nas show --front`: what a run trained as accuracy against size."""

from __future__ import annotations

from typing import Any

import click

from nas.commands import _shared
from nas.run import front, front_figure
from nas.run.front import Point
from nas.run.store import Run
from nas.terminal import printable
from nas.text import counted
from search_spaces._files import atomic_write

_PICTURE = "front.svg"


def print_front(run: Run) -> None:
    """The points that no other one dominates, the smallest first."""
    found = front.points(run)
    if not found:
        click.echo(printable(f"{run.folder}: no evaluation has succeeded yet."))
        return
    best = [point for point in found if point.on_front]
    click.echo(
        printable(
            f"{run.folder}: {counted(len(best), 'network')} of {len(found)} on the front of score against parameters; no other "
            "is as good and as small"
        )
    )
    with_latency = any(point.latency_ms is not None for point in best)
    head = ("score", "seeds", "parameters", "FLOPs", *(["latency"] if with_latency else []), "architecture")
    _shared.print_lines([head, *(_row(point, with_latency) for point in best)])
    picture = front_figure.figure(found, None)
    if picture is not None:
        try:
            with atomic_write(run.folder / _PICTURE) as partial:
                picture.savefig(partial, format="svg")
            click.echo(printable(f"drawing {run.folder / _PICTURE}"))
        except OSError:  # A run that may only be read is shown without.
            pass
    click.echo(printable(f"Take one: nas export {run.folder} --pick 'params<={best[0].parameters}' --to DIR"))


def document(run: Run) -> dict[str, Any]:
    """All points as JSON, those on the front marked."""
    return {"run": str(run.folder), "points": [point._asdict() for point in front.points(run)]}


def _row(point: Point, with_latency: bool) -> tuple[str, ...]:
    latency = "" if point.latency_ms is None else f"{'' if point.measured else '~'}{point.latency_ms:.3f} ms"
    return (
        f"{point.score:.2f}", str(point.trainings), f"{point.parameters:,}", f"{point.flops:,}",
        *([latency] if with_latency else []), point.arch,
    )  # fmt: skip
