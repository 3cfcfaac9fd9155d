"""`nas search`: a run from nothing to its end."""

from __future__ import annotations

from pathlib import Path

import click

from controller.transfer_bo import InContext
from nas.commands import _shared, show
from nas.meta import forecast, task_similarity
from nas.meta.forecast import Forecast
from nas.run import session, store
from nas.tasks import constraints
from search_spaces import UserError


@click.command()
@click.option("--task", default="digits", show_default=True, help="What to search for: `nas tasks` lists them.")
@click.option("--limit", multiple=True, help="Soft limit, as nasbench201-hardware/fpga/latency<=q30.")
@click.option("--controller", default=session.DEFAULTS["controller"], show_default=True, help="How to search.")
@click.option(
    "--prior",
    default="shipped",
    show_default=True,
    help="What was learned across tasks: shipped, none, or a file of `nas meta-train`.",
)
@click.option("--seeds", default=1, show_default=True, help="Searches side by side, each with its own seed.")
@click.option("--first-seed", default=0, show_default=True, help="The first of the seeds.")
@click.option("--evals", type=int, help="Budget: evaluations of each seed.")
@click.option(
    "--seconds", type=float, help="Budget: simulated seconds of each seed, as the task's cost column has them."
)
@click.option("--minutes", type=float, help="Budget: minutes of this machine.")
@click.option("--batch", type=int, help="Architectures that a seed evaluates at once.")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="A setting of the controller.")
@click.option("--with", "data", multiple=True, metavar="NAME=VALUE", help="A setting of the training, as epochs=5.")
@click.option("--name", help="The run's name; by default made of task and controller.")
@click.option("--dry-run", is_flag=True, help="Say what the prior expects of the search, and do not search.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def command(
    task: str,
    limit: tuple[str, ...],
    controller: str,
    prior: str,
    seeds: int,
    first_seed: int,
    evals: int | None,
    seconds: float | None,
    minutes: float | None,
    batch: int | None,
    settings: tuple[str, ...],
    data: tuple[str, ...],
    name: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Search for the best architecture of a task; on a data set, train it fully and export it.

    The run goes to runs/NAME: Ctrl-C stops it, `nas resume` goes on, `nas show` shows it.

    \b
    Example:
      nas search --task own201/digits --controller evolution --evals 50
    """
    task = constraints.name(task, limit)
    asked = session.DEFAULTS | {
        "task": task,
        "controller": controller.replace("-", "_"),
        "prior": prior,
        "settings": _shared.pairs(settings, "--set"),
        "data": _shared.pairs(data, "--with"),
        "seeds": seeds,
        "first_seed": first_seed,
        "evals": evals,
        "seconds": seconds,
        "minutes": minutes,
        "batch": 1 if batch is None else batch,
    }
    setup = session.prepare(asked)
    if batch is None:
        asked["batch"] = setup.evaluator.defaults.batch
    if evals is None and seconds is None and minutes is None:
        asked["evals"] = setup.evaluator.defaults.budget
    if dry_run:
        found = _forecast(asked, setup)
        _shared.print_json(found._asdict()) if as_json else click.echo(_words(found))
        return
    folder = _folder(name, task, controller)
    with session.begin(folder, asked, setup) as run:
        if not as_json:
            click.echo(f"Searching {task} with {controller}, {_budget(asked)}; the run is {folder}")
            click.echo(setup.evaluator.description)
        _shared.work(run, setup, quiet=as_json)
        if as_json:
            _shared.print_json(session.summary(run, setup))
        else:
            show.tell(run, setup)
            if isinstance(setup.controller, InContext) and setup.prior is not None:
                last = store.state(run, setup.controller.begin(setup.evaluator.task, setup.seeds, setup.prior))
                click.echo(task_similarity.sentence(setup.controller, last))


def _forecast(asked: dict, setup: session.Setup) -> Forecast:
    """What the prior expects. Raises `UserError` without a prior: only one has expectations."""
    if setup.prior is None:
        raise UserError(
            "--dry-run asks a prior what it expects; this search has none to ask. Take --controller in_context and its prior."
        )
    return forecast.forecast(asked, setup, setup.prior)


def _words(found: Forecast) -> str:
    """A forecast in a few lines."""
    stops = "" if found.simulated == found.evaluations else f" ({found.simulated} simulated: what follows adds to it)"
    when = "not within them" if found.ahead is None else f"from evaluation {found.ahead} on"
    scale = (
        f"put on the scale of the scores of {', '.join(found.scales)}"
        if found.scales
        else "in deviations: the score is no plain accuracy, or no table of accuracies on this space is at hand"
    )
    counted = (
        f"{_shared.duration(found.task_seconds)} as the task counts it" if found.task_seconds else "none by the task"
    )
    return "\n".join(
        [
            f"Expected of {found.evaluations} evaluations{stops}: {found.gain:+.2f} {found.unit} over the plain ResNet cell, "
            f"80% interval {found.low:+.2f} to {found.high:+.2f}; ahead of it {when}; "
            f"the cell found is among the best {1 - found.beaten:.2%} of the space.",
            f"Got from searching {found.drawn} tasks drawn from a prior that knows {found.known} tasks, {scale}; "
            "a task unlike those may differ. The score is the search's own, the best of many small networks trained once: "
            "what is left of the gain after the final training, on test, is less.",
            f"Time: {counted}, about {_shared.duration(found.here_seconds)} here; {found.how}.",
        ]
    )


def _folder(name: str | None, task: str, controller: str) -> Path:
    if name is None:
        return _shared.free_name(task, controller)
    return Path(name) if len(Path(name).parts) > 1 else _shared.runs_root() / name


def _budget(asked: dict) -> str:
    parts = [f"{asked['evals']} evaluations" if asked["evals"] else ""]
    parts += [f"{asked['seconds']:g} simulated seconds" if asked["seconds"] else ""]
    parts += [f"{asked['minutes']:g} minutes" if asked["minutes"] else ""]
    return " or ".join(filter(None, parts)) + (f", {asked['seeds']} seeds" if asked["seeds"] > 1 else "")
