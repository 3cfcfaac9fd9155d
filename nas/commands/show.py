"""`nas show`: one run, its best cell and how it got there."""

from __future__ import annotations

from collections import Counter

import click
import torch
from rich.console import Console
from torch import Tensor

from nas import evaluation_file
from nas.commands import _front_shown, _shared
from nas.export import draw
from nas.run import (
    choice,
    comparison,
    finish,
    incumbent,
    report,
    step_log,
    store,
    subject,
    test_accuracy,
    trained_network,
)
from nas.run.choice import Leader
from nas.run.names import Name
from nas.run.noise import Noise
from nas.run.store import Run
from nas.run.summary import summary, top_row
from nas.tasks import TaskName
from nas.terminal import encodable, printable
from nas.text import counted, evaluations_text
from search_spaces import Space, Task
from search_spaces._files import atomic_write

_BLOCKS, _ASCII = "▁▂▃▄▅▆▇█", "_.-=#"
"""Levels of the trajectory, lowest first."""
_WIDTH = 60
_PIPELINE = "pipeline"
"""The space whose evaluations are levels of compute."""
_REASONS = 3
"""Of failed evaluations that are named: the commonest."""


@click.command()
@click.argument("run")
@click.option(
    "--front",
    "of_front",
    is_flag=True,
    help="Show score against size of all that was evaluated instead, or the front of --aim.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def command(run: str, of_front: bool, as_json: bool) -> None:
    """Show a run: its best cell drawn here and as PNG and SVG, the trajectory, what it cost.

    It reads the run's folder alone, wherever that is, and runs no code that the run names.

    \b
    Example:
      nas show runs/digits-evolution-1
    """
    with store.open_run(_shared.run_folder(run)) as opened:
        if of_front:
            _shared.print_json(_front_shown.document(opened)) if as_json else _front_shown.print_front(opened)
        elif as_json:
            _shared.print_json(summary(opened))
        else:
            print_run(opened)


def print_run(run: Run) -> None:
    """Print what a run came to; draw its best cell into the run's folder, where that can be written."""
    console = Console(highlight=False, soft_wrap=True, markup=False)
    document = summary(run)
    past = step_log.history(run)
    seeds = f"{document['seeds']} seed{'s' * (document['seeds'] > 1)}"
    unfinished = "" if document["finished"] else ", not finished"
    console.print(printable(str(run.folder)), style="bold", end="")
    console.print(
        printable(
            f"  {document['task']} with {document['controller']}, {seeds}, "
            f"{evaluations_text(document['evaluations'], document['leader_trainings'])}{unfinished}"
        )
    )
    rows = [row for row in document["best"] if row["arch"] is not None]
    if not rows:
        console.print("No evaluation has succeeded yet." if document["evaluations"] else "No evaluation is done yet.")
        _print_failures(console, run)
        _print_how_to_go_on(console, run, document)
        return
    about = subject.read(run)
    space = subject.shown_space(run, about.space)
    top = top_row(rows)
    arch = past.archs[top["seed"] - run.config.first_seed, top["found_at"] - 1]
    console.print(printable(draw.text(space, arch, encodable("█", "#"))))
    console.print(f"best    {printable(Name(top['arch'], top['proposed_as']).sentence())}")
    console.print(printable(about.description))
    console.print(
        f"score   {top['score']:.3f} at evaluation {top['found_at']}{_after(top, about.task, about.space.component == _PIPELINE)}"
        + _over_seeds(rows, "score")
    )
    if top.get("provisional"):
        console.print(
            "        provisional, of a mixture or of weights under training, and not what the architecture scores: the search "
            "ended before it had such a score"
        )
    _print_choice(console, top)
    for line in choice.diverged_lines(run):
        console.print(line)
    # Of a network that was trained to the end the line below says the same, with its interval.
    if top["report"] is not None and (len(rows) > 1 or trained_network.load(run.folder) is None):
        console.print(f"test    {top['report']:.3f}" + _over_seeds(rows, "report") + _place(top))
    for line in _constraint_lines(about.constraints, top):
        console.print(printable(line))
    if document["objectives"] is not None:
        front = document["objectives"]["front"]
        folder = printable(str(run.folder))
        named = printable(_front_shown.line(about.aims))
        share = f"{document['objectives']['hypervolume']:.3f} of the box between the worst and the best of each"
        console.print(f"front   {counted(len(front), 'network')} for {named}: nas show {folder} --front")
        if document["objectives"]["hypervolume"]:  # Else there is no box: all have one value of an objective.
            console.print(f"volume  {share} (hypervolume)")
    _print_trained(console, run)
    _print_comparison(run)
    console.print(f"so far  {_sparkline(past)} (best score after each evaluation)")
    training, wall = document["cost_seconds"], document["wall_seconds"]
    evaluations = evaluation_file.read(run.folder)
    told = run.config.evaluator == "ask_tell"  # Whoever drove the search timed it.
    looked_up = TaskName.parse(about.task.name).kind in ("table", "nats")
    by_table = " as the table says," if looked_up and not evaluations and not told else ""
    what = "evaluation" if evaluations else "training"
    console.print(f"cost    {training:.1f} s of {what} a seed,{by_table} {wall:.1f} s of wall clock")
    _print_failures(console, run)
    folder = printable(str(run.folder))
    curves = f"curves: tensorboard --logdir {printable(str(run.folder.parent))}"
    if _draw(run, space, arch):
        console.print(f"drawing {folder}/best.png, best.svg; {curves}")
    else:
        console.print(f"drawing not written, as {folder} cannot be; {curves}")
    if (run.folder / report.FILE).is_file():
        console.print(f"page    {folder}/{report.FILE}")
    _print_how_to_go_on(console, run, document)


def _print_failures(console: Console, run: Run) -> None:
    """Why evaluations by an objective function failed: how many, and the commonest reasons."""
    reasons = Counter(row["error"] for row in evaluation_file.read(run.folder) if row["error"])
    if reasons:
        listed = "; ".join(f"{reason} ({count})" for reason, count in reasons.most_common(_REASONS))
        console.print(printable(f"failed  {reasons.total()}: {listed}"))


def _print_how_to_go_on(console: Console, run: Run, document: dict) -> None:
    if not document["finished"]:
        folder = printable(str(run.folder))
        told = run.config.evaluator == "ask_tell"
        console.print(f"Go on:  {f'nas.Search(..., folder={folder!r}) in Python' if told else f'nas resume {folder}'}")


def _draw(run: Run, space: Space, arch: Tensor) -> bool:
    """Whether the drawing of the best cell could be written."""
    figure = draw.figure(space, arch)
    try:
        for suffix in ("png", "svg"):
            # Beside it, then renamed: a link of that name in a folder from elsewhere is replaced, not followed.
            with atomic_write(run.folder / f"best.{suffix}") as partial:
                figure.savefig(partial, dpi=150, format=suffix)
    except OSError:
        return False
    return True


def _place(row: dict) -> str:
    """Where the best stands by test in its whole space, if that is known."""
    if "test_rank" not in row:
        return ""
    rank = f"rank {row['test_rank']:,} of {row['test_functions']:,} functions"
    return f"; {row['test_regret']:.3f} below the best of the space, {rank}"


def _constraint_lines(texts: tuple[str, ...], top: dict) -> list[str]:
    """How far the best is below each bound; of one that is measured at the end, by that."""
    lines = []
    for text, ratio in zip(texts, top.get("constraint_ratio", [])):
        measured = top.get("measured_ratio", {}).get(text)
        share = ratio if measured is None else measured
        what = "" if measured is None or not text.startswith("latency") else f" as measured, {ratio:.1%} as predicted"
        broken = "; no network that was evaluated keeps it" if measured is not None and measured > 1 else ""
        lines.append(f"constraint {text}: the best is at {share:.1%} of the bound{what}{broken}")
    return lines


_FORMATS = {"network.pt2": "a torch.export program", "network.onnx": "an ONNX file"}
"""What a format of an export is called. One that fails, or whose package is missing, is left out."""


def _print_trained(console: Console, run: Run) -> None:
    winner = trained_network.load(run.folder)
    if winner is None:
        return
    interval, *compared = test_accuracy.sentences(winner)
    page = printable(str(run.folder / finish.PAGE))
    of = " of the export, the plain ResNet," if comparison.plain_handed_out(run) else ""
    console.print(f"test accuracy{of} {winner.metrics['test_accuracy']:.2f}%, {interval} {page}")
    for sentence in compared:
        console.print(printable(sentence))
    folder = finish.exported(run)
    if folder is not None:
        files = ["network.py and its weights"]
        files += [what for name, what in _FORMATS.items() if (folder / name).is_file()]
        console.print(
            f"network {printable(str(folder))}: {', '.join(files)}; nas predict "
            f"{printable(str(run.folder))} IMAGES names the class of image files"
        )


def _print_comparison(run: Run) -> None:
    """What simpler models of the same images come to."""
    made = comparison.read(run)
    if made is not None:
        _shared.print_lines(comparison.table(made))
        for line in comparison.lines(made):
            click.echo(printable(line))


def _print_choice(console: Console, top: dict) -> None:
    """How sure the choice is, where it was made by training."""
    if top.get("noise") is None:
        return
    leaders = [Leader(**leader) for leader in top["leaders"]]
    if len(leaders) > 1:
        means = ", ".join(f"{leader.mean:.2f} ({len(leader.scores)})" for leader in leaders)
        console.print(f"leaders mean score over training seeds (how many): {means}; the first is handed out")
    console.print(f"noise   {Noise(**top['noise']).sentence()}")


def _after(row: dict, task: Task, levels: bool) -> str:
    """How long the best was trained, where that was not the task's whole length.

    Args:
        levels: lengths are levels of compute and not epochs.
    """
    own = task.fidelities
    if not own or row["epochs"] in (None, own[-1]):
        return ""
    if levels:
        return f", at level {row['epochs']} of compute; the levels are {', '.join(map(str, own))}"
    return f", after {row['epochs']} of {own[-1]} epochs"


def _over_seeds(rows: list[dict], key: str) -> str:
    if len(rows) == 1:
        return ""
    values = torch.tensor([row[key] for row in rows], dtype=torch.float64)
    return f"; over {len(rows)} seeds {values.mean():.3f} {encodable('±', '+-')} {values.std():.3f}"


def _sparkline(past: step_log.History) -> str:
    best = incumbent.best_so_far(past.candidates, past.epochs).nanmean(0)
    best = best[~best.isnan()]
    picked = best[torch.linspace(0, len(best) - 1, min(_WIDTH, len(best))).long()]
    blocks = encodable(_BLOCKS, _ASCII)
    span = (picked.max() - picked.min()).clamp_min(1e-12)
    levels = ((picked - picked.min()) / span * (len(blocks) - 1)).round().long()
    return f"{best[0]:.2f} {''.join(blocks[i] for i in levels)} {best[-1]:.2f}"
