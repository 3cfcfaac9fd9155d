"""One sitting of a run: from what was asked to steps in the store, from wherever it stood until its budget is spent."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from controller import Controller, Prior, Step
from nas import plugins, settings, tables, tasks
from nas.loop import search
from nas.run import budget, incumbent, priors, store, trained_network
from nas.run.budget import Progress
from nas.run.incumbent import Best
from nas.run.store import History, Run
from nas.run.tensorboard import Monitor
from nas.types import Evaluator
from search_spaces import UserError

DEFAULTS: dict[str, Any] = {
    "task": "digits",
    "controller": "in_context",
    "prior": "shipped",
    "settings": {},
    "data": {},
    "seeds": 1,
    "first_seed": 0,
    "batch": 1,
    "evals": None,
    "seconds": None,
    "minutes": None,
}
"""What a search is asked when nothing is said; the keys are the run's `asked`."""


class Setup(NamedTuple):
    """What `asked` names, loaded."""

    evaluator: Evaluator
    controller: Controller
    seeds: Tensor
    """int64 `[S]`."""
    prior: Prior | None


def prepare(asked: dict[str, Any]) -> Setup:
    """Load the evaluator and the controller. Raises `UserError` for a name or a setting that does not exist."""
    for key in ("seeds", "batch", "evals", "seconds", "minutes"):
        if asked[key] is not None and not asked[key] > 0:
            raise UserError(f"--{key} is {asked[key]}; it takes a number above zero.")
    evaluator = tasks.find(asked["task"], **asked["data"])
    controller = plugins.load("controller", asked["controller"])
    given = settings.typed(asked["controller"], controller, asked["settings"])
    seeds = torch.arange(asked["seeds"]) + asked["first_seed"]
    return Setup(evaluator, controller(space=evaluator.space, **given), seeds, priors.find(asked))


def begin(folder: Path, asked: dict[str, Any], setup: Setup) -> Run:
    """A new run in `folder`, its state before the first step stored."""
    state = setup.controller.begin(setup.evaluator.task, setup.seeds, setup.prior)
    return store.create(folder, asked, state)


def go_on(run: Run, setup: Setup) -> Iterator[Progress]:
    """Search until the budget is spent; each step is stored before it is yielded."""
    asked = run.asked
    state = store.state(run, setup.controller.begin(setup.evaluator.task, setup.seeds, setup.prior))
    past = store.history(run)
    if budget.spent(asked, past):
        return
    training = setup.evaluator.training
    if training is not None:
        training.cache_to(run.folder)
    before = tables.column_read_counts()
    monitor = Monitor(run.folder, setup.controller, past.score.shape[1])
    steps, mark = None, time.perf_counter()
    while not budget.spent(asked, past):
        batch = asked["batch"] if asked["evals"] is None else min(asked["batch"], asked["evals"] - past.score.shape[1])
        if steps is None or batch < asked["batch"]:
            evaluate = setup.evaluator.load(setup.seeds)
            steps = search(setup.controller, evaluate, state, batch)
        step = next(steps)
        wall, mark = (
            time.perf_counter() - mark,
            time.perf_counter(),
        )  # Storing and drawing the step before are its time too.
        store.append(run, past.steps, step, state, wall)
        state = step.state
        past = _extend(past, step, wall)
        found = best(asked, past)
        monitor.log(past.score.shape[1], step.results.score, past.cost.sum(1), found, state)
        yield Progress(past.score.shape[1], found, past.wall, past.cost.double().sum(1).min().item())
    store.note(
        run,
        "columns_read",
        dict(Counter(store.noted(run, "columns_read") or {}) + tables.column_read_counts() - before),
    )
    found = best(asked, past)
    winner = found.archs[incumbent.top(found)]
    monitor.finish(asked, found.score, training.training_loss(winner) if training is not None else [])


def best(asked: dict[str, Any], past: History) -> Best:
    """The best of each seed within what was asked."""
    return incumbent.best(past.archs, past.score, incumbent.within(past.cost, asked["seconds"]), past.epochs)


def summary(run: Run, setup: Setup) -> dict[str, Any]:
    """The JSON document of a run."""
    past = store.history(run)
    rows: list[dict[str, Any]] = [
        {"seed": seed, "arch": None, "score": None, "report": None, "at": None, "epochs": None}
        for seed in setup.seeds.tolist()
    ]
    if past.steps:
        found = best(run.asked, past)
        reports = store.noted(run, "report") or [None] * len(rows)
        epochs = [None] * len(rows) if found.epochs is None else found.epochs.tolist()
        over = store.over(run)
        columns = rows, found.archs, found.score.tolist(), found.at.tolist(), reports, epochs
        for row, arch, score, at, report, after in zip(*columns):
            if not math.isnan(score):
                described = setup.evaluator.space.describe(arch)
                row |= {"arch": described, "score": round(score, 4), "report": report, "at": at, "epochs": after}
                if over is not None:
                    row["over"] = [round(x, 4) for x in over[row["seed"] - setup.seeds[0].item(), at - 1].tolist()]
    return {
        "run": str(run.folder),
        "task": run.asked["task"],
        "controller": run.asked["controller"],
        "seeds": run.asked["seeds"],
        "evaluations": past.score.shape[1],
        "finished": budget.spent(run.asked, past),
        "cost_seconds": round(past.cost.double().sum(1).mean().item(), 3) if past.steps else 0.0,
        "wall_seconds": round(past.wall, 3),
        "columns_read": store.noted(run, "columns_read") or {},
        "best": rows,
    }


def write_report(run: Run, setup: Setup) -> None:
    """Read the report column of each seed's best, once, and keep it with the run; with it the best network, trained."""
    if store.noted(run, "report") is not None:
        return
    found = best(run.asked, store.history(run))
    succeeded = ~found.score.isnan()
    if not succeeded.any():
        return
    values = setup.evaluator.report(found.archs[succeeded])
    if values is None:
        return
    if setup.evaluator.training is not None:
        network = setup.evaluator.training.final_network(found.archs[incumbent.top(found)])
        trained_network.keep(run.folder, network)
    reports = torch.full_like(found.score, torch.nan).masked_scatter(succeeded, values.float())
    store.note(run, "report", [None if math.isnan(v) else round(v, 4) for v in reports.tolist()])


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
