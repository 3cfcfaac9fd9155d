"""From `--task` and `--evaluator` to the evaluator of a run."""

from __future__ import annotations

from nas import component_checks, plugins, tasks
from nas.export.device import Device
from nas.run import priors
from nas.run.config import RunConfig
from nas.tasks import aims
from nas.tasks.network_bound import Measurements, Networks
from nas.types import Evaluator
from search_spaces import UserError

_TRAIN = "train"
_SUPERNET = priors.SUPERNET


def find(config: RunConfig) -> Evaluator:
    """What scores a run's architectures. Raises `UserError` for a name that leads nowhere, or that does not go with the task."""
    found = _scoring(config)
    return aims.several(config.aim, found, _measurements(config)) if config.aim else found


def _measurements(config: RunConfig) -> Measurements:
    return Measurements(Device(config.latency_command), config.latencies)


def _scoring(config: RunConfig) -> Evaluator:
    asked = config.evaluator
    if "objective" in config.training_options:
        if asked is not None:
            raise UserError(f"--evaluator is '{asked}', and --objective scores by a function; say one of them.")
        return _bounded("function", config)
    if asked == "ask_tell":
        raise UserError(
            f"The scores of '{config.task}' are told from outside; go on in Python by nas.Search(..., folder=...)."
        )
    if asked == _SUPERNET:
        _refuse_without_images(config.task)
        made, prior = (
            plugins.load("evaluator", _SUPERNET).of(config.task, **config.training_options),
            priors.of_weights(config.prior),
        )
        return made if prior is None else made.from_prior(prior)
    if asked is None or asked in plugins.names("evaluator"):
        if asked is not None:
            _refuse_by_task(asked, config.task)
        return tasks.find(config.task, _measurements(config), **config.training_options)
    return _bounded(asked, config)


def _bounded(name: str, config: RunConfig) -> Evaluator:
    """An evaluator by name, of the task without its constraints, and within them."""
    parsed = tasks.TaskName.parse(config.task)
    found = plugins.load("evaluator", name).of(str(parsed.unconstrained()), **config.training_options)
    component_checks.refuse_wrong_evaluator(found, name)
    own = found.training is None
    networks = Networks(found.space if own else found.training.final_space, found.task, as_is=own)
    return tasks.bounded(found, parsed, networks, _measurements(config))


def _refuse_without_images(task: str) -> None:
    parsed = tasks.TaskName.parse(task)
    if parsed.unconstrained().kind != "data":
        raise UserError(
            f"--evaluator {_SUPERNET} trains on images; task '{task}' {parsed.how}. Name digits, npz:FILE, folder:DIR or "
            "hf:NAME."
        )
    if parsed.constraints:
        raise UserError(
            f"--evaluator {_SUPERNET} knows no constraint, and '{parsed.constraints[0]}' is one. Leave it out, or --evaluator."
        )


def _refuse_by_task(asked: str, task: str) -> None:
    """Ours belong to kinds of tasks; `train` can be asked for too, as a word for what a dataset gets anyway."""
    kind = tasks.TaskName.parse(task).kind
    if asked != _TRAIN:
        raise UserError(
            f"--evaluator is '{asked}', which a task's name brings by itself; leave it out. It takes {_SUPERNET}, or "
            "FILE.py:Class of your own."
        )
    if kind != "data":
        raise UserError(
            f"--evaluator {_TRAIN} trains on images; task '{task}' looks its scores up. Leave --evaluator out, or name digits, "
            "npz:FILE, folder:DIR or hf:NAME."
        )
