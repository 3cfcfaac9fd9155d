"""A run's row in TensorBoard's table of hyperparameters: its settings, and what it came to."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nas import tables, tasks
from nas.run import (
    choice,
    front,
    front_figure,
    objective_figure,
    objective_front,
    session,
    step_log,
    store,
    subject,
    trained_network,
)
from nas.run.session import Setup
from nas.run.store import Run
from nas.run.tensorboard import TensorBoardLog, pixels
from search_spaces import Space, UserError, _ops

_KEY = "hparams"


def write_results(run: Run, setup: Setup) -> None:
    """Log what the run came to, once; again when it has got more budget."""
    found = results(run, setup)
    if found and store.get_meta(run, _KEY) != found:
        winner = trained_network.load(run.folder)
        loss = [] if winner is None else winner.metrics.get("loss", [])
        evaluations = step_log.history(run).score.shape[1]
        TensorBoardLog.results(run.folder, found, evaluations, _front(run), loss)
        store.set_meta(run, _KEY, found)


def _front(run: Run) -> Tensor | None:
    """Accuracy against size, or the objectives, as an image; None where sizes are not known, or are one."""
    past, about = step_log.history(run), subject.read(run)
    if about.aims:
        picture = objective_figure.figure(objective_front.points(run), about.aims)
        return None if picture is None else pixels(picture)
    found = choice.handed_out(run, past, session.best(run.config, past))
    space = subject.shown_space(run, about.final_space or about.space)
    try:
        points = front.points(run)
        figure = front_figure.figure(points, front.find(points, space, found.archs[choice.top(run, past, found)]))
    except UserError:
        return None
    return None if figure is None else pixels(figure)


def results(run: Run, setup: Setup) -> dict[str, float]:
    """Score and test score, means over seeds; seconds; parameters of the network that is handed out. Empty without a success."""
    past = step_log.history(run)
    found = choice.handed_out(run, past, session.best(run.config, past))
    score = found.score[~found.score.isnan()]
    if not len(score):
        return {}
    values = {
        "score": score.double().mean().item(),
        "seconds": past.wall + choice.wall(run, past),
        "simulated_seconds": past.cost.double().sum(1).mean().item(),
    }
    reports = [value for value in store.get_meta(run, "report") or [] if value is not None]
    if reports:
        values["test_score"] = sum(reports) / len(reports)
    parameters = _parameters(run, setup, found.archs[choice.top(run, past, found)])
    if parameters is not None:
        values["parameters"] = parameters
    return {name: round(value, 4) for name, value in values.items()}


def _parameters(run: Run, setup: Setup, arch: Tensor) -> float | None:
    """Weights of the network of `arch` `[D]`: that of the final training, or the one that a table measured. None: not known."""
    evaluator = setup.evaluator
    if (handed_out := trained_network.load(run.folder)) is not None:  # It need not be the one that the search found.
        return float(trained_network.parameters(handed_out))
    if evaluator.training is None:
        # An evaluator of somebody's own may name its task as it likes.
        return _measured(evaluator.task.name, arch, evaluator.space) if run.config.evaluator is None else None
    try:
        with torch.random.fork_rng(devices=[]):
            network = evaluator.training.final_space.build(arch, evaluator.task)
    except Exception:  # A space's own code may raise anything, and the run is over: the table has a gap then.
        return None
    return float(sum(weight.numel() for weight in network.parameters()))


def _measured(task: str, arch: Tensor, space: Space) -> float | None:
    name = tasks.TaskName.parse(task)
    table = tables.find(name.table) if name.kind == "table" else None
    column = f"{name.dataset}/params"
    if table is None or column not in table.columns or table.columns[column].unit != "million":
        return None
    value = table.by_index(column, space.choices)[_ops.index(arch, space.choices)].item()
    return None if math.isnan(value) else 1e6 * value
