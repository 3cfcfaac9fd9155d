"""`nas show --front`: what a run trained as accuracy against size, or by its objectives where it has several."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from nas.commands import _shared
from nas.run import front, front_figure, objective_figure, objective_front, subject
from nas.run.front import Point
from nas.run.store import Run
from nas.run.subject import KeptAim
from nas.terminal import printable
from nas.text import counted
from search_spaces._files import atomic_write

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PICTURE = "front.svg"


def print_front(run: Run) -> None:
    """The points that no other one dominates, the smallest first; with several objectives the best first objective first."""
    if aims := subject.read(run).aims:
        _print_objectives(run, aims)
        return
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
    _draw(run, front_figure.figure(found, None))
    click.echo(printable(f"Take one: nas export {run.folder} --pick 'params<={best[0].parameters}' --to DIR"))


def document(run: Run) -> dict[str, Any]:
    """All points as JSON, those on the front marked."""
    if aims := subject.read(run).aims:
        names = [aim.name for aim in aims]
        rows = [p._asdict() | {"values": dict(zip(names, p.values, strict=True))} for p in objective_front.points(run)]
        return {"run": str(run.folder), "aims": [aim._asdict() for aim in aims], "points": rows}
    return {"run": str(run.folder), "points": [point._asdict() for point in front.points(run)]}


def _print_objectives(run: Run, aims: tuple[KeptAim, ...]) -> None:
    found = objective_front.points(run)
    if not found:
        click.echo(printable(f"{run.folder}: no evaluation has succeeded yet."))
        return
    best = [point for point in found if point.on_front]
    click.echo(printable(f"{run.folder}: {counted(len(best), 'network')} of {len(found)} on the front of {line(aims)}"))
    rows = [(*map(objective_front.shown, aims, point.values), str(point.evaluation), point.arch) for point in best]
    _shared.print_lines([(*(aim.short for aim in aims), "evaluation", "architecture"), *rows])
    _draw(run, objective_figure.figure(found, aims))
    bound = objective_front.bound_text(aims[1], best[len(best) // 2].values[1])
    click.echo(printable(f"Take one: nas export {run.folder} --pick '{bound}' --to DIR"))


def line(aims: tuple[KeptAim, ...]) -> str:
    """What is wanted, in words."""
    return ", ".join(f"{'highest' if aim.maximize else 'lowest'} {aim.name}" for aim in aims)


def _draw(run: Run, picture: Figure | None) -> None:
    if picture is None:
        return
    try:
        with atomic_write(run.folder / _PICTURE) as partial:
            picture.savefig(partial, format="svg")
        click.echo(printable(f"drawing {run.folder / _PICTURE}"))
    except OSError:  # A run that may only be read is shown without.
        pass


def _row(point: Point, with_latency: bool) -> tuple[str, ...]:
    latency = "" if point.latency_ms is None else f"{'' if point.measured else '~'}{point.latency_ms:.3f} ms"
    return (
        f"{point.score:.2f}", str(point.trainings), f"{point.parameters:,}", f"{point.flops:,}",
        *([latency] if with_latency else []), point.arch,
    )  # fmt: skip
