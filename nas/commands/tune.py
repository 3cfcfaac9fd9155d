"""`nas tune`: the settings of a learner, searched for on validation classes or tasks."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import torch

from nas import plugins
from nas.commands import _few_shot_options, _options, _shared
from nas.commands._kinds import SEED, GivenPath
from nas.few_shot import named
from nas.few_shot import run as few_shot_run
from nas.meta import held_apart, task_distribution
from nas.run.lock import lock
from nas.settings import typed
from nas.terminal import printable
from nas.text import counted
from nas.tune import objectives, ranges, settings_file, study
from nas.tune.objectives import Objective
from nas.tune.study import Plan, Trial
from search_spaces import UserError

BEST = "best.json"
"""In the folder: the file that `nas few-shot` and `nas meta-train` take."""
_SHOWN = 5

_SEARCH = (
    click.option(
        "--setting", "ranges_", multiple=True, metavar="NAME=VALUES",
        help="What is searched: lr=1e-4..1e-2:log, inner_steps=1..5 or tasks=4,8,16; may be repeated.",
    ),
    click.option(
        "--method", type=click.Choice(["bayesian", "random", "grid"]), default="bayesian", show_default=True,
        help="bayesian: the tree-structured Parzen estimator of Optuna.",
    ),
    click.option("--trials", type=click.IntRange(1), default=20, show_default=True, help="Settings that are tried."),
    click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Processes that try settings."),
    click.option("--tune-seed", type=SEED, default=0, show_default=True, help="Of the settings that are tried."),
    click.option("--out", "folder", type=GivenPath(path_type=Path, file_okay=False), help="Folder. Default: runs/tune-LEARNER."),
    click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else."),
)  # fmt: skip


def _search_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for add in reversed(_SEARCH):
        command = add(command)
    return command


@click.group()
def command() -> None:
    """Search the settings of a learner: on a grid, at random or Bayesian, by what is neither trained nor tested on.

    A search goes on where it was stopped. Its best settings are OUT/best.json, which `nas few-shot --settings` or
    `nas meta-train --settings` takes.

    \b
    Example:
      nas tune few-shot --learner maml --setting inner_lr=0.05..1:log --trials 2 --steps 10 --arch 16:16:0:0:stride
    """


@command.command()
@_few_shot_options.learning
@click.option("--steps", type=click.IntRange(1, 2**24 - 1), default=200, show_default=True, help="Of each training.")
@click.option(
    "--pruner", type=click.Choice(["median", "none"]), default="median", show_default=True,
    help="median: give up a training whose validation accuracy lies below the median of earlier ones.",
)  # fmt: skip
@_search_options
def few_shot(pruner: Any, folder: Path | None, **asked: Any) -> None:
    """Tune a few-shot learner by its accuracy on validation classes.

    \b
    Example:
      nas tune few-shot --learner maml --setting inner_lr=0.05..1:log --trials 2 --steps 10 --arch 16:16:0:0:stride
    """
    search = {n: asked.pop(n) for n in ("ranges_", "method", "trials", "jobs", "tune_seed", "as_json")}
    config = _few_shot_options.config(**asked)
    given = config.options
    setup = few_shot_run.prepare(config)  # What cannot be is refused before a folder is made.
    config, problem = setup.config, setup.learner.problem

    def make(options: dict[str, str]) -> None:
        tried = dataclasses.replace(config, options=config.options | options)
        few_shot_run.make_learner(tried, problem.backbone.input_shape, problem.classes)

    component = named.component(config.learner)
    again, objective = _few_shot_options.words(config.data, asked), objectives.FewShot(config)
    _tune("few-shot", config.learner, component, objective, pruner, folder, given, again, make, **search)


@command.command()
@click.option("--learner", default="maml", show_default=True, help="How to learn: a meta-learner.")
@click.option("--learner-option", "-l", "options", multiple=True, metavar="NAME=VALUE", help="A setting that stays.")
@click.option("--split", default="everything", show_default=True, help="What is held out, as for nas meta-train.")
@click.option(
    "--validate", default="own201", show_default=True,
    help="The family of tasks that validates. Nothing of its tables and datasets is trained on.",
)  # fmt: skip
@click.option("--evals", type=click.IntRange(1), default=30, show_default=True, help="Evaluations of a search.")
@click.option("--searches", type=click.IntRange(1), default=10, show_default=True, help="Of each task.")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Of the weights and of every batch.")
@_search_options
def meta_train(
    learner: str, options: tuple[str, ...], split: str, validate: str, evals: int, searches: int, seed: int,
    folder: Path | None, **search: Any,
) -> None:  # fmt: skip
    """Tune a meta-learner by searches of tasks of a family that it was not trained on.

    \b
    Example:
      nas tune meta-train --learner reptile --setting inner_steps=1..20 --trials 2 --evals 10 --split shipped
    """
    name, given = plugins.settled("meta-learner", learner), _options.pairs(options, "--learner-option")
    component = plugins.load("meta-learner", name)
    objective = objectives.MetaTrain(name, split, validate, given, evals, searches, seed)
    rest, apart = objective.tasks()  # A split or a family that there is not is refused before a folder is made.
    lists = [text.removeprefix("encoder=").split(",") for text in search["ranges_"] if text.startswith("encoder=")]
    for encoder in lists[0] if lists else [given.get("encoder")]:
        held_apart.check_encoder(name, encoder, split, apart)
    digest = task_distribution.digest(rest._replace(tasks=(*rest.tasks, *apart)))
    objective = dataclasses.replace(objective, digest=f"{digest} {plugins.sha256('meta-learner', name) or ''}".strip())

    def make(options: dict[str, str]) -> None:
        component(rest, **typed(name, component, given | options))

    again = ["--split", split, *(["--seed", str(seed)] if seed else [])]
    _tune("meta-train", name, component, objective, "none", folder, given, again, make, **search)


def _tune(
    kind: str, learner: str, component: type, objective: Objective, pruner: Any, folder: Path | None, fixed: dict[str, str],
    again: list[str], make: Callable[[dict[str, str]], None], ranges_: tuple[str, ...], method: Any, trials: int, jobs: int,
    tune_seed: int, as_json: bool,
) -> None:  # fmt: skip
    searched = ranges.parse(component, learner, ranges_)
    if twice := searched.keys() & fixed.keys():
        raise UserError(
            f"Setting {min(twice)} stays by --learner-option and is searched by --setting; say one of them."
        )
    if method == "grid" and (interval := next((n for n, r in searched.items() if r.values is None), None)):
        raise UserError(
            f"--method is grid, and --setting {interval} is an interval; a grid takes lists, as {interval}=A,B,C."
        )
    for tried in ranges.listed(searched):
        make(tried)
    asked = {"objective": dataclasses.asdict(objective), "ranges": searched, "method": method, "seed": tune_seed}  # pyright: ignore
    first = ranges.defaults(component, searched)
    plan = Plan(objective, searched, first, method, trials, tune_seed, pruner, asked | {"pruner": pruner})
    short = component.__name__ if plugins.is_outside(learner) else learner  # A file's path would be folders.
    folder = folder or _shared.runs_root() / f"tune-{short}"
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)  # More add up gradients in another order each time.
    with lock(folder, "study"):
        if not as_json:
            click.echo(
                f"Tuning {learner} in {printable(str(folder))}: {counted(trials, 'trial')}, {method}; {objective.what}"
            )
        found = study.work(folder, plan, jobs, (lambda _: None) if as_json else _say)
        best = study.best(found)
        about = {"value": best.value, "what": objective.what, "trials": len(found), "method": method}
        settings_file.write(folder / BEST, settings_file.Tuned(kind, learner, best.settings, about))
    if as_json:
        _shared.print_json({"best": best._asdict(), "file": str(folder / BEST), "trials": [t._asdict() for t in found]})
        return
    ranked = sorted((t for t in found if t.state == "complete"), key=lambda t: -(t.value or 0.0))
    click.echo("best:")
    for trial in ranked[:_SHOWN]:
        _say(trial)
    kept = [word for name, value in fixed.items() for word in ("--learner-option", f"{name}={value}")]
    use = shlex.join(["nas", kind, "--settings", str(folder / BEST), *again, *kept])
    click.echo(printable(f"The best settings are {folder / BEST}: {use}"))


def _say(trial: Trial) -> None:
    said = ", ".join(f"{n}={v:.4g}" if isinstance(v, float) else f"{n}={v}" for n, v in trial.settings.items())
    value = "failed" if trial.value is None else f"{trial.value:.3f}"
    click.echo(f"  trial {trial.number:>3}  {value:>8}{' given up' if trial.state == 'pruned' else ''}  {said}")
    if trial.error:
        click.echo(f"             {printable(trial.error)}")
