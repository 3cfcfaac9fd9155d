"""`nas runs`: what there is."""

from __future__ import annotations

import time

import click
from rich.console import Console
from rich.table import Table

from nas import session, store
from nas.commands import _shared


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def command(as_json: bool) -> None:
    """List the runs under ./runs (or NAS_RUNS).

    \b
    Example:
      nas runs
    """
    rows = []
    for folder in store.runs_in(_shared.runs_root()):
        with store.open_run(folder) as run:
            rows.append(_row(run))
    if as_json:
        _shared.print_json(rows)
        return
    if not rows:
        click.echo(f"There are no runs in {_shared.runs_root()}; `nas search` makes one.")
        return
    table = Table(box=None, header_style="bold")
    for heading in ("run", "task", "controller", "seeds", "evaluations", "best", "state"):
        table.add_column(heading, overflow="fold")
    for row in rows:
        best = "-" if row["best_score"] is None else f"{row['best_score']:.3f}"
        state = "finished" if row["finished"] else "stopped"
        table.add_row(*(str(row[k]) for k in ("run", "task", "controller", "seeds", "evaluations")), best, state)
    Console().print(table)


def _row(run: store.Run) -> dict:
    past = store.history(run)
    score = past.score[~past.score.isnan()]
    return {
        "run": str(run.folder),
        "task": run.asked["task"],
        "controller": run.asked["controller"],
        "seeds": run.asked["seeds"],
        "evaluations": past.score.shape[1],
        "best_score": round(score.max().item(), 4) if len(score) else None,
        "finished": session.spent(run.asked, past),
        "created": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(store.noted(run, "created"))),
    }
