"""`nas show`: one run, its best cell and how it got there."""

from __future__ import annotations

import click
import torch
from rich.console import Console

from nas.commands import _shared
from nas.export import draw
from nas.run import finish, incumbent, session, store, test_accuracy, trained_network
from nas.run.choice import Leader
from nas.run.noise import Noise
from nas.run.session import Setup
from nas.run.store import Run
from nas.tasks import TaskName

_BLOCKS = "▁▂▃▄▅▆▇█"
_WIDTH = 60


@click.command()
@click.argument("run")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def command(run: str, as_json: bool) -> None:
    """Show a run: its best cell drawn here and as PNG and SVG, the trajectory, what it cost.

    \b
    Example:
      nas show runs/digits-evolution-1
    """
    with store.open_run(_shared.run_folder(run)) as opened:
        setup = session.load(opened.config)
        if as_json:
            _shared.print_json(session.summary(opened, setup))
        else:
            print_run(opened, setup)


def print_run(run: Run, setup: Setup) -> None:
    """Print what a run came to; draw its best cell into the run's folder."""
    console = Console(highlight=False, soft_wrap=True)
    document = session.summary(run, setup)
    past = store.history(run)
    seeds = f"{document['seeds']} seed{'s' * (document['seeds'] > 1)}"
    unfinished = "" if document["finished"] else ", not finished"
    console.print(
        f"[bold]{run.folder}[/]  {document['task']} with {document['controller']}, {seeds}, "
        f"{document['evaluations']} evaluations{_retrained(document)}{unfinished}"
    )
    rows = [row for row in document["best"] if row["arch"] is not None]
    if not rows:
        console.print("No evaluation has succeeded yet.")
        return
    top = session.top_row(rows)
    arch = setup.evaluator.space.parse(top["arch"])
    console.print(draw.text(setup.evaluator.space, arch))
    console.print(f"best    {top['arch']}")
    console.print(setup.evaluator.description)
    console.print(
        f"score   {top['score']:.3f} at evaluation {top['found_at']}{_after(top, setup)}" + _over_seeds(rows, "score")
    )
    _print_choice(console, top)
    if top["report"] is not None:
        console.print(f"test    {top['report']:.3f}" + _over_seeds(rows, "report") + _place(top))
    for text, ratio in zip(TaskName.parse(run.config.task).constraints, top.get("constraint_ratio", [])):
        console.print(f"constraint {text}: the best is at {ratio:.1%} of the bound")
    _print_trained(console, run)
    console.print(f"path    {_sparkline(past)}")
    simulated, wall = document["cost_seconds"], document["wall_seconds"]
    console.print(f"cost    {simulated:.1f} simulated seconds a seed, {wall:.1f} s of wall clock")
    figure = draw.figure(setup.evaluator.space, arch)
    for suffix in ("png", "svg"):
        figure.savefig(run.folder / f"best.{suffix}", dpi=150)
    console.print(f"picture {run.folder / 'best.png'}, best.svg; curves: tensorboard --logdir {run.folder.parent}")
    if not document["finished"]:
        console.print(f"Go on:  nas resume {run.folder}")


def _place(row: dict) -> str:
    """Where the best stands by test in its whole space, if that is known."""
    if "test_rank" not in row:
        return ""
    rank = f"rank {row['test_rank']:,} of {row['test_functions']:,} functions"
    return f"; {row['test_regret']:.3f} below the best of the space, {rank}"


def _print_trained(console: Console, run: Run) -> None:
    winner = trained_network.load(run.folder)
    if winner is None:
        return
    interval, compared = test_accuracy.sentences(winner)
    console.print(
        f"test accuracy {winner.metrics['test_accuracy']:.2f}%, {interval} {run.folder / finish.PAGE}", markup=False
    )
    console.print(compared, markup=False)
    folder = finish.exported(run)
    if folder is not None:
        console.print(
            f"network {folder}: network.py and its weights, a torch.export program; load them as network.py says"
        )


def _retrained(document: dict) -> str:
    """How many trainings told the leaders apart, where any did."""
    return f" and {document['leader_trainings']} to tell the leaders apart" if document["leader_trainings"] else ""


def _print_choice(console: Console, top: dict) -> None:
    """How sure the choice is, where it was made by training."""
    if top.get("noise") is None:
        return
    leaders = [Leader(**leader) for leader in top["leaders"]]
    if len(leaders) > 1:
        means = ", ".join(f"{leader.mean:.2f} ({len(leader.scores)})" for leader in leaders)
        console.print(f"leaders mean score over training seeds (how many): {means}; the first is handed out")
    console.print(f"noise   {Noise(**top['noise']).sentence()}")


def _after(row: dict, setup: Setup) -> str:
    """How long the best was trained, where that was not the task's whole length."""
    own = setup.evaluator.task.fidelities
    return f", after {row['epochs']} of {own[-1]} epochs" if own and row["epochs"] not in (None, own[-1]) else ""


def _over_seeds(rows: list[dict], key: str) -> str:
    if len(rows) == 1:
        return ""
    values = torch.tensor([row[key] for row in rows], dtype=torch.float64)
    return f"; over {len(rows)} seeds {values.mean():.3f} ± {values.std():.3f}"


def _sparkline(past: store.History) -> str:
    best = incumbent.best_so_far(past.score, past.epochs).nanmean(0)
    best = best[~best.isnan()]
    picked = best[torch.linspace(0, len(best) - 1, min(_WIDTH, len(best))).long()]
    span = (picked.max() - picked.min()).clamp_min(1e-12)
    levels = ((picked - picked.min()) / span * (len(_BLOCKS) - 1)).round().long()
    return f"{best[0]:.2f} {''.join(_BLOCKS[i] for i in levels)} {best[-1]:.2f}"
