"""`nas runs`: what there is."""

from __future__ import annotations

import time

import click

from nas.commands import _shared
from nas.run import lock, session, step_log, store
from nas.run.summary import overview
from search_spaces import UserError


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def command(as_json: bool) -> None:
    """List the runs under ./runs (or NAS_RUNS). A folder that cannot be read as a run is passed over with a line.

    \b
    Example:
      nas runs
    """
    rows, passed_over = [], []
    for folder in store.runs_in(_shared.runs_root()):
        try:
            with store.open_run(folder) as run:
                rows.append(_row(run))
        except UserError as error:  # One run that cannot be read must not hide the others.
            passed_over.append(str(error))
    _shared.say_passed_over(passed_over)
    if as_json:
        _shared.print_json(rows)
        return
    if not rows:
        click.echo(f"There are no runs in {_shared.runs_root()}; `nas search` makes one.")
        return
    lines = [("task", "controller", "seeds", "evaluations", "leader trainings", "best", "state", "run")]
    for row in rows:
        best = "-" if row["best_score"] is None else f"{row['best_score']:.3f}"
        counts = str(row["seeds"]), str(row["evaluations"]), str(row["leader_trainings"])
        lines.append((row["task"], row["controller"], *counts, best, row["state"], row["run"]))
    _shared.print_lines(lines)


def _row(run: store.Run) -> dict:
    past = step_log.history(run)
    score = session.best(run.config, past).score if past.steps else past.score
    score = score[~score.isnan()]
    row = overview(run, past)
    return row | {
        "best_score": round(score.max().item(), 4) if len(score) else None,
        "state": "running" if lock.is_taken(run.folder) else "finished" if row["finished"] else "stopped",
        "created": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(store.get_meta(run, "created"))),
    }
