"""One session of a run: from its configuration to steps in the store, from wherever it stood until its budget is spent."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from controller import Controller, Prior, SelectsInTheEnd, State, Step
from controller.candidates import checks, pending
from controller.models import legacy
from nas import loop, plugins, settings, tables
from nas.evaluators.constrained import Constrained
from nas.run import (
    asynchronous,
    budget,
    choice,
    comparison,
    database,
    evaluators,
    final_trainings,
    incumbent,
    learner_defaults,
    priors,
    provenance,
    stages,
    step_log,
    store,
    subject,
    trials,
    trust,
)
from nas.run.budget import Progress
from nas.run.config import RunConfig
from nas.run.incumbent import Best
from nas.run.objective_front import Front
from nas.run.step_log import History
from nas.run.store import Run
from nas.run.tensorboard import TensorBoardLog
from nas.tasks import proxies
from nas.tasks.proxies import Proxy
from nas.types import Concurrent, Evaluator, HasMemory, KeepsFiles, Memory, TakesPrior
from search_spaces import UserError

_COLUMNS_READ = "columns_read"
_PENDING = "pending"


class Setup(NamedTuple):
    """What a configuration names, loaded."""

    evaluator: Evaluator
    controller: Controller
    seeds: Tensor
    """int64 `[S]`."""
    prior: Prior | None

    @property
    def has_prior(self) -> bool:
        """Whether anything begins with a prior: the controller, or the evaluator's weights."""
        return self.prior is not None or (isinstance(self.evaluator, TakesPrior) and self.evaluator.prior is not None)


def load(config: RunConfig) -> Setup:
    """Load the evaluator and the controller. Raises `UserError` for a name or an option that does not exist."""
    evaluator = evaluators.find(config)
    controller = plugins.load("controller", config.controller)
    options = legacy.settings(config.controller, config.controller_options)
    given = settings.typed(config.controller, controller, options)
    seeds = torch.arange(config.seeds) + config.first_seed
    prior = priors.find(config.prior, config.controller, config.evaluator)
    made = proxies.controller_on(
        evaluator, controller, given, config.controller, prior, Proxy(config.proxy, config.proxy_as)
    )
    return Setup(evaluator, made, seeds, prior)


def start(folder: Path, config: RunConfig, setup: Setup) -> Run:
    """A new run in `folder`, its state before the first step stored, and with it all that shows and resumes it."""
    config = learner_defaults.recorded(config)
    if config.minutes is not None:
        config = dataclasses.replace(config, ending_seconds=sum(stages.expected(config, setup.evaluator).values()))
    if isinstance(
        setup.controller, SelectsInTheEnd
    ):  # Not in `begin`: what an earlier version let pass can still be resumed.
        setup.controller.selects_after(config.batch)
    origins = _origins(config)
    training = setup.evaluator.training
    about = {
        "components": {kind: origin._asdict() for kind, origin in origins.items()} or None,
        "data": None if training is None else list(training.data_notes),
        subject.KEY: subject.as_json(subject.of(config, setup.evaluator)),
        provenance.KEY: provenance.of(config, setup.evaluator, setup.has_prior),
    }
    # What it cannot read is refused here, and not after a run was made that could never go on.
    begun = loop.load(setup.evaluator, setup.seeds)
    kept = {k: v for k, v in about.items() if v is not None}
    run = store.create(folder, config, initial_state(setup), kept, begun.memory)
    trust.remember(trust.outside(config))
    return run


def go_on(run: Run, setup: Setup, config: RunConfig) -> list[str]:
    """Check that a run can go on with what was loaded by `config`, its own with files where they are now: lines on what changed.

    Raises `UserError` for other data and another prior; nothing is written then.
    """
    lines = changed_components(run) + provenance.check(run, config, setup.evaluator, setup.has_prior)
    subject.keep(run, setup.evaluator)
    provenance.update(run, config, setup.evaluator, setup.has_prior)
    _keep_rows(run, setup)
    return lines


def _keep_rows(run: Run, setup: Setup) -> None:
    """The evaluations of a run of a version that kept none as rows are written as such."""
    if len(trials.stored(run.connection)) < step_log.history(run).score.numel():
        rows = list(trials.of_steps(step_log.steps(run), run.config.first_seed, setup.evaluator.space.describe))
        with database.transaction(run.connection):
            trials.replace(run.connection, rows)


def _origins(config: RunConfig) -> dict[str, plugins.Origin]:
    """Where the components came from that are not ours, by kind."""
    named = {
        "controller": config.controller,
        "space": config.training_options.get("space"),
        "evaluator": config.evaluator,
    }
    found = {kind: plugins.origin(kind, name) for kind, name in named.items() if name is not None}
    known = {kind: origin for kind, origin in found.items() if origin is not None}
    if (objective := config.training_options.get("objective")) is not None:
        named = trust.locate("objective", objective)
        known["objective"] = plugins.Origin(named.name, named.path, named.sha256)
    return known


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
    state = setup.controller.begin(setup.evaluator.task, setup.seeds, setup.prior)
    checks.state(setup.controller, state, len(setup.seeds))
    return state


def resume(run: Run, setup: Setup) -> Iterator[Progress]:
    """Search from wherever the run stands until its budget is spent; each step is stored before it is yielded."""
    config, begun = run.config, initial_state(setup)
    state, memory = step_log.state(run, begun), _memory(run, setup)
    priors.refuse_other(run.folder, config.prior, begun, state)
    past = step_log.history(run)
    if past.steps:
        _refuse_strangers(run, setup.evaluator, past.archs)
    training = setup.evaluator.training
    # Also where nothing is left to search: the report may have been stopped, and goes on from these files.
    if training is None and isinstance(setup.evaluator, KeepsFiles):
        setup.evaluator.cache_to(run.folder)
    if training is not None:
        training.cache_to(run.folder)
    if budget.spent(config, past):
        return
    before, earlier = tables.column_read_counts(), Counter(store.get_meta(run, _COLUMNS_READ) or {})
    kept = dict(earlier)
    with TensorBoardLog(run.folder, setup.controller, past.score.shape[1]) as log:
        log.settings(config)
        front = Front(past.objectives)
        steps, mark, waiting = None, time.perf_counter(), None
        while not budget.spent(config, past):
            batch = budget.next_batch(config, past)
            if steps is None or batch < config.batch:
                steps = _steps(run, setup, state, memory, past, batch)
            step, waiting = next(steps)
            now = time.perf_counter()  # What storing and drawing the step before took counts as this step's time.
            wall, mark = now - mark, now
            read = dict(earlier + tables.column_read_counts() - before)
            # With the step: a session that is killed counts too. Only when it has changed, which is once in most sessions.
            meta, kept = {_COLUMNS_READ: read} if read != kept else {}, read
            meta |= {_PENDING: pending.as_json(waiting)} if waiting is not None else {}
            cut = batch < config.batch
            describe = setup.evaluator.space.describe
            step_log.append(run, past.steps, step, state, wall, describe, memory_before=memory, cut=cut, meta=meta)
            state, memory = step.state, step.memory
            past = _extend(past, step, wall)
            found = best(config, past)
            log.step(past.score.shape[1], step.results.score, past.cost.sum(1), found, state)
            if step.results.objectives is not None:
                front.add(step.results.objectives)
                log.front(past.score.shape[1], front)
            yield Progress(past.score.shape[1], found, past.wall, past.cost.double().sum(1).min().item())
        found = best(config, past)
        winner = found.archs[incumbent.top(found)]
        loss = training.training_loss(winner) if training is not None else []
        log.finish(found.score, loss, past.score.shape[1], state)


def _refuse_strangers(run: Run, evaluator: Evaluator, archs: Tensor) -> None:
    """Raise `UserError` where some of the `archs` `[S, E, D]` of a run are not in the space of its search."""
    if bool(evaluator.space.valid(archs).all()):
        return
    whole = evaluator.inner.space if isinstance(evaluator, Constrained) else evaluator.space
    if bool(whole.valid(archs).all()):
        raise UserError(
            f"Run '{run.folder}' holds an architecture that breaks its constraint, as that is counted now: FLOPs count twice "
            "where a network answers by an image and its mirror image. Start a new run."
        )
    raise UserError(f"Run '{run.folder}' holds an architecture that is not in space '{evaluator.space.name}'.")


def _memory(run: Run, setup: Setup) -> Memory:
    """The evaluator's, where the run stands."""
    evaluator = setup.evaluator
    return step_log.memory(run, evaluator.begin(setup.seeds)) if isinstance(evaluator, HasMemory) else None


def _steps(
    run: Run, setup: Setup, state: State, memory: Memory, past: History, batch: int
) -> Iterator[tuple[Step, list[pending.Group] | None]]:
    """The steps of a search, and what is still evaluated after each; None where steps wait for all of theirs."""
    evaluator, config = setup.evaluator, run.config
    if isinstance(evaluator, Concurrent) and evaluator.concurrency > 1 and config.batch == 1 and config.seeds == 1:
        waiting = pending.from_json(store.get_meta(run, _PENDING) or [], evaluator.space)
        yield from asynchronous.steps(
            setup.controller, evaluator, state, waiting, past, config.first_seed, config.evals
        )
    else:
        evaluate = loop.load(evaluator, setup.seeds).evaluate
        for step in loop.search(setup.controller, evaluate, state, batch, memory=memory):
            yield step, None


def extend(run: Run, setup: Setup, **budgets: float | None) -> tuple[Run, list[str]]:
    """The run with more budget, with more evaluations as if it had had them from the start; and what its user should know.

    Args:
        budgets: `evals`, `simulated_seconds` or `minutes`, all sessions together; None: as it was.

    Raises `UserError` for a budget that is used up already.
    """
    given = {name: value for name, value in budgets.items() if value is not None}
    if not given:
        return run, []
    past, lines = step_log.history(run), []
    config = budget.extended(run.config, past, given)
    if "minutes" in given:
        stages.refuse_no_end(config, setup.evaluator, past.wall)
    if config.minutes is not None and not config.ending_seconds:  # It began without a time, so none was set aside.
        config = dataclasses.replace(config, ending_seconds=sum(stages.expected(config, setup.evaluator).values()))
    # They are of the best so far; the new best is read and trained anew.
    for key in ("report", comparison.KEY, comparison.PLAN, comparison.SHARES, comparison.SEARCHED, choice.DIVERGED):
        store.set_meta(run, key, None)
    last = past.score.shape[1] % run.config.batch
    if last and not step_log.undo_cut(run) and past.steps:
        lines.append(
            f"The last step of this run was cut to {last} of {run.config.batch} evaluations, and its version did not keep the "
            "state before it: the search goes on, but not as one that had this budget from the start."
        )
    return store.set_config(run, config), lines


def lengthen(run: Run, setup: Setup, config: RunConfig) -> tuple[Run, Setup]:
    """A run that got other minutes, with final trainings that take their share of them, and what it names then.

    Args:
        config: its own, with files where they are now.
    """
    spent = step_log.history(run).wall
    options = stages.lengthened(run.config, setup.evaluator, spent, warm=setup.prior is not None)
    if not options:
        return run, setup
    final_trainings.forget(run)  # Of less compute than those to come.
    setup = load(dataclasses.replace(config, training_options=config.training_options | options))
    planned = ",".join(dict.fromkeys([*filter(None, run.config.planned.split(",")), *options]))
    longer = dataclasses.replace(run.config, training_options=run.config.training_options | options, planned=planned)
    ending = sum(stages.expected(longer, setup.evaluator).values())
    about = subject.read(run)._replace(description=setup.evaluator.description)
    store.set_meta(run, subject.KEY, subject.as_json(about))
    return store.set_config(run, dataclasses.replace(longer, ending_seconds=ending)), setup


def best(config: RunConfig, past: History) -> Best:
    """The best of each seed within the run's budget."""
    return incumbent.best(
        past.archs, past.candidates, incumbent.within(past.cost, config.simulated_seconds), past.epochs
    )


def _extend(past: History, step: Step, wall: float) -> History:
    (archs, epochs), (score, cost) = step.proposal[:2], step.results[:2]
    new, objectives = step.results.provisional, step.results.objectives
    if not past.steps:
        return History(archs, score, cost, wall, 1, epochs, new, objectives)
    return History(
        torch.cat([past.archs, archs], 1),
        torch.cat([past.score, score], 1),
        torch.cat([past.cost, cost], 1),
        past.wall + wall,
        past.steps + 1,
        None if past.epochs is None or epochs is None else torch.cat([past.epochs, epochs], 1),
        step_log.together([past.provisional, new], [past.score, score]),
        None if past.objectives is None or objectives is None else torch.cat([past.objectives, objectives], 1),
    )
