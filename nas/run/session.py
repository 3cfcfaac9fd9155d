"""One session of a run: from its configuration to steps in the store, from wherever it stood until its budget is spent."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from controller import Controller, Prior, State, Step
from controller.models import legacy
from nas import plugins, settings, tables, tasks
from nas.loop import search
from nas.run import budget, choice, incumbent, priors, store, test_place
from nas.run.budget import Progress
from nas.run.config import RunConfig
from nas.run.incumbent import Best
from nas.run.store import History, Run
from nas.run.tensorboard import TensorBoardLog
from nas.types import Evaluator


class Setup(NamedTuple):
    """What a configuration names, loaded."""

    evaluator: Evaluator
    controller: Controller
    seeds: Tensor
    """int64 `[S]`."""
    prior: Prior | None


def load(config: RunConfig) -> Setup:
    """Load the evaluator and the controller. Raises `UserError` for a name or an option that does not exist."""
    if config.evaluator is None:
        evaluator = tasks.find(config.task, **config.training_options)
    else:
        evaluator = plugins.load("evaluator", config.evaluator).of(config.task, **config.training_options)
    controller = plugins.load("controller", config.controller)
    options = legacy.settings(config.controller, config.controller_options)
    given = settings.typed(config.controller, controller, options)
    seeds = torch.arange(config.seeds) + config.first_seed
    prior = priors.find(config.prior, config.controller)
    return Setup(evaluator, controller(space=evaluator.space, **given), seeds, prior)


def start(folder: Path, config: RunConfig, setup: Setup) -> Run:
    """A new run in `folder`, its state before the first step stored."""
    origins = _origins(config)
    run = store.create(folder, config, initial_state(setup))
    if setup.evaluator.training is not None:
        store.set_meta(run, "data", list(setup.evaluator.training.data_notes))
    if origins:
        store.set_meta(run, "components", {kind: origin._asdict() for kind, origin in origins.items()})
    return run


def _origins(config: RunConfig) -> dict[str, plugins.Origin]:
    """Where the components came from that are not ours, by kind."""
    named = {
        "controller": config.controller,
        "space": config.training_options.get("space"),
        "evaluator": config.evaluator,
    }
    found = {kind: plugins.origin(kind, name) for kind, name in named.items() if name is not None}
    return {kind: origin for kind, origin in found.items() if origin is not None}


def changed_components(run: Run) -> list[str]:
    """A line for each component from outside whose source is no longer that which the run began with."""
    then, now = store.get_meta(run, "components") or {}, _origins(run.config)
    return [
        f"The {kind} '{was['name']}' has changed since the run began: {was['source']} has another content now. "
        "What was proposed before came from the earlier one."
        for kind, was in then.items()
        if kind not in now or now[kind].sha256 != was["sha256"]
    ]


def initial_state(setup: Setup) -> State:
    """The controller's state before the first step."""
    return setup.controller.begin(setup.evaluator.task, setup.seeds, setup.prior)


def resume(run: Run, setup: Setup) -> Iterator[Progress]:
    """Search from wherever the run stands until its budget is spent; each step is stored before it is yielded."""
    config = run.config
    state = store.state(run, initial_state(setup))
    past = store.history(run)
    if budget.spent(config, past):
        return
    training = setup.evaluator.training
    if training is not None:
        training.cache_to(run.folder)
    before = tables.column_read_counts()
    log = TensorBoardLog(run.folder, setup.controller, past.score.shape[1])
    steps, mark = None, time.perf_counter()
    while not budget.spent(config, past):
        batch = budget.next_batch(config, past)
        if steps is None or batch < config.batch:
            evaluate = setup.evaluator.load(setup.seeds)
            steps = search(setup.controller, evaluate, state, batch)
        step = next(steps)
        now = time.perf_counter()  # What storing and drawing the step before took counts as this step's time.
        wall, mark = now - mark, now
        store.append(run, past.steps, step, state, wall)
        state = step.state
        past = _extend(past, step, wall)
        found = best(config, past)
        log.step(past.score.shape[1], step.results.score, past.cost.sum(1), found, state)
        yield Progress(past.score.shape[1], found, past.wall, past.cost.double().sum(1).min().item())
    read = Counter(store.get_meta(run, "columns_read") or {}) + tables.column_read_counts() - before
    store.set_meta(run, "columns_read", dict(read))
    found = best(config, past)
    winner = found.archs[incumbent.top(found)]
    log.finish(config, found.score, training.training_loss(winner) if training is not None else [])


def best(config: RunConfig, past: History) -> Best:
    """The best of each seed within the run's budget."""
    return incumbent.best(past.archs, past.score, incumbent.within(past.cost, config.simulated_seconds), past.epochs)


def summary(run: Run, setup: Setup) -> dict[str, Any]:
    """The JSON document of a run."""
    past = store.history(run)
    rows: list[dict[str, Any]] = [
        {"seed": seed, "arch": None, "score": None, "report": None, "found_at": None, "epochs": None}
        for seed in setup.seeds.tolist()
    ]
    if past.steps:
        found = choice.handed_out(run, past, best(run.config, past))
        reports = store.get_meta(run, "report") or [None] * len(rows)
        epochs = [None] * len(rows) if found.epochs is None else found.epochs.tolist()
        ratio = store.constraint_ratio(run)
        rest = [a | b for a, b in zip(test_place.of_each(run, len(rows)), choice.of_each(run, past))]
        columns = rows, found.archs, found.score.tolist(), found.at.tolist(), reports, epochs, rest
        for row, arch, score, at, report, after, more in zip(*columns):
            if not math.isnan(score):
                described = setup.evaluator.space.describe(arch)
                row |= {"arch": described, "score": round(score, 4), "report": report, "found_at": at, "epochs": after}
                row |= more
                if ratio is not None:
                    at_best = ratio[row["seed"] - setup.seeds[0].item(), at - 1]
                    row["constraint_ratio"] = [round(x, 4) for x in at_best.tolist()]
    return {
        "run": str(run.folder),
        "task": run.config.task,
        "controller": run.config.controller,
        "seeds": run.config.seeds,
        "evaluations": past.score.shape[1],
        "leader_trainings": choice.trainings(run, past),
        "finished": budget.spent(run.config, past),
        "cost_seconds": round(past.cost.double().sum(1).mean().item(), 3) if past.steps else 0.0,
        "wall_seconds": round(past.wall + choice.wall(run, past), 3),
        "columns_read": store.get_meta(run, "columns_read") or {},
        "data": store.get_meta(run, "data") or [],
        "best": rows,
    }


def top_row(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Of the rows of `summary` that have an architecture, that of the search whose architecture is handed out."""
    return max(rows, key=lambda row: (row["epochs"] or 0, choice.row_mean(row)))


def _extend(past: History, step: Step, wall: float) -> History:
    (archs, epochs, _), (score, cost, _) = step.proposal, step.results
    if not past.steps:
        return History(archs, score, cost, wall, 1, epochs)
    return History(
        torch.cat([past.archs, archs], 1),
        torch.cat([past.score, score], 1),
        torch.cat([past.cost, cost], 1),
        past.wall + wall,
        past.steps + 1,
        None if past.epochs is None or epochs is None else torch.cat([past.epochs, epochs], 1),
    )
