"""Options: those that `nas search` and `nas forecast` share, and how one keeps the name it had in an earlier version."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from controller.models import legacy
from nas import plugins
from nas.commands import _default_space, _kinds
from nas.evaluators import function
from nas.run import session, stages, verified
from nas.run.config import RunConfig
from nas.run.session import Setup
from nas.tasks import TaskName, absolute, fitted_size
from nas.training.metrics import METRIC_NAMES
from nas.types import HasMemory
from search_spaces import UserError, as_cell_space

Command = TypeVar("Command", bound=Callable[..., Any])


class Option(click.Option):
    """An option that also answers to names which neither its help nor its errors show."""

    def __init__(self, *args: Any, also: tuple[str, ...] = (), **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._shown = copy.copy(self)
        self.opts = [*self.opts, *also]

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        return click.Option.get_help_record(self._shown, ctx)

    def get_error_hint(self, ctx: click.Context | None) -> str:
        return click.Option.get_error_hint(self._shown, ctx)  # pyright: ignore[reportArgumentType]


def option(*names: str, **attributes: Any) -> Callable[[Command], Command]:
    """`click.option`, with `also`: names of earlier versions."""
    return click.option(*names, cls=Option, **attributes)


_SEARCH = (
    click.option("--task", default=RunConfig.task, show_default=True, help="What to search for: `nas tasks` lists them."),
    option(
        "--constraint", "constraint", also=("--limit",), multiple=True,
        help="Constraint: params<=20k, flops<=5M or latency<=2ms of the network that is handed out, or soft by a table, as "
        "nasbench201-hardware/fpga/latency<=q30.",
    ),
    click.option(
        "--aim", default="", metavar="NAMES",
        help="Several objectives by commas, the score first, as accuracy,params or accuracy,nasbench201-hardware/pixel3/latency. "
        "NAME:max raises a figure. `nas show RUN --front` lists what is best.",
    ),
    click.option(
        "--latency-command", default="", metavar="COMMAND",
        help="Measures latency<= on a device: it gets the path of an ONNX file and prints milliseconds. By default this machine.",
    ),
    click.option(
        "--controller", show_default=f"{RunConfig.controller}, or multi_fidelity_bo for whole pipelines",
        help="How to search: a name of `nas components`, or FILE.py:Class of your own.",
    ),
    click.option(
        "--space", help="Where to search, on data that is trained on: a name, or FILE.py:Class of your own.",
    ),
    click.option(
        "--metric", type=click.Choice(list(METRIC_NAMES)),
        help="What the score is, on data that is trained on; by default accuracy.",
    ),
    click.option(
        "--proxy", metavar="NAME",
        help="A zero-cost proxy as naswot, at initialization and without training: the score, on images, or as --proxy-as says. "
        "On a table a column, as TABLE/COLUMN.",
    ),
    click.option(
        "--proxy-as", type=click.Choice(["score", "feature", "filter"]), default="score", show_default=True,
        help="What --proxy is: what the search raises; a feature of the models of bayesian and transfer_bo; or a filter: of four "
        "proposals the one with the highest proxy is evaluated. The latter two take several by commas.",
    ),
    click.option(
        "--evaluator",
        help="What scores: supernet (weights that all cells share, on images), or FILE.py:Class of your own; by default what the "
        "task says.",
    ),
    click.option(
        "--objective", metavar="FILE.py:FUNCTION",
        help="What scores: a function of your own, evaluate(network, task, epochs, seed) or of fewer of these, which returns a "
        "number or a dict with 'score'.",
    ),
    click.option("--timeout", type=float, help="Of --objective: seconds after which an evaluation is ended, and has failed."),
    click.option("--workers", type=int, help="Of --objective: evaluations at once, each in a process of its own; 1 by default."),
    click.option("--ray", metavar="auto|local|ADDRESS", help="Of --objective: evaluate on a Ray cluster, --workers at once."),
    click.option(
        "--prior", default=RunConfig.prior, show_default=True,
        help="What was learned across tasks: shipped, none, or a file of `nas meta-train`.",
    ),
    click.option("--seeds", default=1, show_default=True, help="Searches side by side, each with its own seed."),
    click.option("--first-seed", default=0, show_default=True, type=_kinds.SEED, help="The first of the seeds."),
    click.option("--evals", type=int, help="Budget: evaluations of each seed."),
    option(
        "--simulated-seconds", also=("--seconds",), type=float,
        help="Budget: seconds of each seed, as the task's cost column counts them.",
    ),
    option("--minutes", also=("--wall-minutes",), type=float, help="Budget: minutes of wall clock on this machine."),
    click.option(
        "--leaders", type=int,
        help="On data that is trained on, the last evaluations retrain so many of the best with other seeds to tell them apart; "
        "0: none. By default 2 to 8, by the budget.",
    ),
    click.option(
        "--comparison/--no-comparison", default=True,
        help="On data that is trained on, end with a comparison of the network found with simpler models.",
    ),
    click.option("--batch", type=int, help="Architectures that a seed evaluates at once; by default the task's."),
    option(
        "--controller-option", "-c", "controller_options", also=("--set",), multiple=True, metavar="NAME=VALUE",
        help="A setting of the controller.",
    ),
    option(
        "--training-option", "-t", "training_options", also=("--with",), multiple=True, metavar="NAME=VALUE",
        help="A setting of the training, as epochs=5.",
    ),
)  # fmt: skip

_CONTROLLERS = {"pipeline": "multi_fidelity_bo"}
"""What searches a space, where another than the default searches it better."""


def search_options(command: Command) -> Command:
    """What a search can be asked, as options; the command hands their values to `configure`."""
    for add in reversed(_SEARCH):
        command = add(command)
    return command


def configure(
    *, task: str, constraint: tuple[str, ...], controller: str | None, controller_options: tuple[str, ...],
    training_options: tuple[str, ...], batch: int | None, evals: int | None, leaders: int | None, space: str | None,
    evaluator: str | None, ray: str | None = None, objective: str | None = None, timeout: float | None = None,
    workers: int | None = None, comparison: bool = True, metric: str | None = None, proxy: str | None = None,
    proxy_as: str = "score", **rest: Any,
) -> tuple[RunConfig, Setup]:  # fmt: skip
    """The configuration that `search_options` ask for, complete with the task's own batch and budget; and what it names."""
    options, training = pairs(controller_options, "--controller-option"), pairs(training_options, "--training-option")
    if space is not None:
        training["space"] = space
    if metric is not None:
        training["metric"] = metric
    known_proxy = _proxy(proxy, proxy_as, task, training)
    task = _objective(task, training, objective=objective, timeout=timeout, workers=workers, ray=ray)
    asked = {"controller": controller, "evaluator": evaluator, "proxy": proxy}
    asked |= {name: rest.get(name) for name in ("aim", "minutes", "prior")}
    training |= _default_space.named(task, asked, training)
    if "space" in training:
        training["space"] = plugins.absolute(training["space"])
    if training.get("teacher", "wide") != "wide":
        training["teacher"] = _absolute(training["teacher"])
    if controller is None:
        controller = _CONTROLLERS.get(training.get("space", ""), RunConfig.controller)
    config = RunConfig(
        task=str(TaskName.parse(absolute(task)).constrained(constraint)),
        controller=plugins.absolute(legacy.controller(controller)),
        controller_options=legacy.settings_asked_for(controller, options),
        training_options=training,
        evaluator=None if evaluator is None else plugins.absolute(evaluator),
        batch=1 if batch is None else batch,
        evals=evals,
        proxy=known_proxy,
        proxy_as=proxy_as,
        **rest,
    )
    setup = session.load(config)
    _refuse_sizes(config, setup)
    if setup.evaluator.training is None:
        if leaders:
            raise UserError(
                f"--leaders is {leaders}; task '{task}' {TaskName.parse(task).how}, and leaders are cells that are trained on "
                "images. Leave it out."
            )
        leaders = 0
    if isinstance(setup.evaluator, HasMemory) and (leaders or 0) > 1:
        raise UserError(
            f"--leaders is {leaders}; scores by shared weights and by trainings do not compare. Leave it out, or --evaluator."
        )
    latencies = verified.latencies_of(setup.evaluator)
    if config.latency_command and not latencies:
        raise UserError(
            f"--latency-command is '{config.latency_command}', and nothing asks for a latency; add "
            "--constraint 'latency<=2ms' or --aim accuracy,latency."
        )
    warm = setup.prior is not None
    config = dataclasses.replace(config, batch=stages.batch(config, setup.evaluator) if batch is None else batch)
    timed = stages.timed(dataclasses.replace(config, comparison=comparison), setup.evaluator, warm=warm)
    if timed:
        planned = ",".join(name for name in timed if name not in training)
        config = dataclasses.replace(config, training_options=timed | training, planned=planned, latencies=latencies)
        setup = session.load(config)
    unlimited = evals is None and config.simulated_seconds is None and config.minutes is None
    complete = dataclasses.replace(
        config,
        evals=setup.evaluator.defaults.budget if unlimited else evals,
        # With several objectives no single best is told apart, unless that is asked for.
        leaders=(0 if config.aim else setup.evaluator.defaults.leaders) if leaders is None else leaders,
        comparison=comparison and setup.evaluator.training is not None,
        latencies=latencies,
        training_options=config.training_options | fitted_size.options_of(setup.evaluator, TaskName.parse(config.task)),
    )
    return complete, setup


def _proxy(proxy: str | None, use: str, task: str, training: dict[str, str]) -> str:
    """The proxies that a search knows beforehand, empty for none; one that is the score is a setting of the training."""
    if proxy is None:
        if use != "score":
            raise UserError(f"--proxy-as is '{use}', and no --proxy says of what; add --proxy naswot.")
        return ""
    if use != "score":
        return proxy
    if TaskName.parse(task).unconstrained().kind == "table":
        raise UserError(
            f"--proxy is '{proxy}', and task '{task}' has its scores in a table; say --proxy-as feature or --proxy-as filter."
        )
    training["proxy"] = proxy
    return ""


def _absolute(teacher: str) -> str:
    """The same teacher from any folder."""
    return plugins.absolute(teacher) if plugins.is_outside(teacher) else str(Path(teacher).expanduser().absolute())


def _refuse_sizes(config: RunConfig, setup: Setup) -> None:
    """Where networks have one size alone, one that is asked for would change nothing."""
    # Not where the evaluator is made: what an earlier version let pass can still be resumed.
    sizes = [name for name in config.training_options if name.removeprefix("final_") in ("channels", "cells")]
    ours = config.evaluator is None or not plugins.is_outside(config.evaluator)
    if ours and sizes and setup.evaluator.training is not None and as_cell_space(setup.evaluator.space) is None:
        raise UserError(
            f"--training-option {sizes[0]} changes nothing: networks of space '{setup.evaluator.space.name}' have the size that "
            "the architecture says. Leave it out; epochs and examples make the training shorter."
        )


def _objective(task: str, training: dict[str, str], **given: Any) -> str:
    """Add what is said of an objective function to the settings of the evaluator; the task's name, which then may be any."""
    said = {name: str(value) for name, value in given.items() if value is not None}
    if "objective" not in said and "objective" not in training:
        if said:
            raise UserError(f"--{next(iter(said))} is of --objective FILE.py:FUNCTION; say both or none.")
        return task
    training.update(said)
    training["objective"] = function.absolute(training["objective"])
    context = click.get_current_context(silent=True)
    unsaid = context is not None and context.get_parameter_source("task") is ParameterSource.DEFAULT
    return function.TASK if unsaid else task


def pairs(texts: tuple[str, ...], name: str) -> dict[str, str]:
    """`('lr=0.1',)` to `{'lr': '0.1'}`; `name` is that of the option."""
    for text in texts:
        if "=" not in text:
            raise UserError(f"{name} is '{text}'; it takes NAME=VALUE.")
    return dict(text.split("=", 1) for text in texts)
