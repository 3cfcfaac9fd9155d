"""The search for settings: an Optuna study in a SQLite file, worked on by one or more processes, and gone on with after a stop.

A trial is settings and their value. Which settings a trial has is a function of the seed, its number and the trials before it:
with one process a study that was stopped ends as one that was not.
"""

from __future__ import annotations

import importlib
import itertools
import json
import multiprocessing
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from filelock import FileLock

from nas.tune.objectives import Objective, Pruned
from nas.tune.ranges import Range, as_text
from search_spaces import UserError

FILE = "study.sqlite"
_NAME, _ASKED, _STOPPED, _ERROR = "settings", "asked", "stopped", "error"
_LOCK = "study.lock"
Method = Literal["bayesian", "random", "grid"]


@dataclass(frozen=True)
class Plan:
    """What is searched, and how."""

    objective: Objective
    ranges: dict[str, Range]
    first: dict[str, Any] | None
    """The settings of the first trial: the learner's own. None: there is none such."""
    method: Method
    trials: int
    seed: int
    pruner: Literal["median", "none"]
    asked: dict[str, Any]
    """All of it as JSON knows it; only the same goes on in a folder."""


class Trial(NamedTuple):
    """One that was tried."""

    number: int
    settings: dict[str, Any]
    value: float | None
    """None for one that failed; of one that was given up, the last value."""
    state: str
    """`complete`, `pruned`, `fail`."""
    error: str = ""
    """Of one that failed: why."""


def work(folder: Path, plan: Plan, jobs: int, tell: Callable[[Trial], None]) -> list[Trial]:
    """Try settings until there are as many trials as planned; all of them.

    Raises `UserError` for the folder of another study, and where its file cannot be read or written.
    """
    with _storage_errors(folder):
        study = _open(folder, plan)
        _check_asked(folder, study, plan)
        _revive(study)
        if study.trials == [] and plan.first is not None and plan.method != "grid":
            study.enqueue_trial(plan.first)
        if jobs == 1:
            _worker(folder, study, plan, tell)
        else:
            _workers(folder, plan, jobs)
        return _ended(study)


def _workers(folder: Path, plan: Plan, jobs: int) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_quiet_worker, args=(folder, plan), daemon=True) for _ in range(jobs)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if any(worker.exitcode for worker in workers):
        raise UserError("A process that tried settings has ended with an error; the same command goes on.")


@contextmanager
def _storage_errors(folder: Path) -> Iterator[None]:
    """Says in a line why the study's file cannot be read or written."""
    try:
        yield
    except Exception as error:  # Optuna's and SQLAlchemy's own, around that of SQLite.
        found = _sqlite_error(error)
        if found is None:
            raise
        file, what = folder / FILE, str(found)
        advice = next((advice for words, advice in _ADVICE.items() if words in what), "")
        raise UserError(f"The study '{file}' cannot be used: {what}. {advice or _ANEW}") from None


def _sqlite_error(error: BaseException | None) -> sqlite3.Error | None:
    """What SQLite said, among the causes of an error."""
    while error is not None:
        found = getattr(error, "orig", error)
        if isinstance(found, sqlite3.Error):
            return found
        error = error.__cause__ or error.__context__
    return None


_ANEW = "Name another --out, or delete the file to begin anew."
_ADVICE = {
    "is full": "Free some space; the same command goes on.",
    "readonly": "Make it writable, or name another --out.",
    "unable to open": "Make its folder writable, or name another --out.",
    "is locked": "Another process works on it; the same command goes on when that has ended.",
}
"""What would do, by what SQLite says."""


def _ended(study: Any) -> list[Trial]:
    """Its trials that have ended, in order."""
    states = _optuna().trial.TrialState
    found: list[Trial] = []
    for t in _kept(study):
        if t.state in (states.COMPLETE, states.PRUNED):
            value = t.value if t.state == states.COMPLETE else max(t.intermediate_values.values(), default=None)
            found.append(Trial(len(found), t.params, value, t.state.name.lower()))
        elif t.state == states.FAIL:
            found.append(
                Trial(len(found), t.params, None, "fail", t.user_attrs.get(_ERROR, "Its value is not a number."))
            )
    return found


def best(found: list[Trial]) -> Trial:
    """The complete one with the highest value, the first of equals. Raises `UserError` where there is none."""
    whole = [t for t in found if t.state == "complete" and t.value is not None]
    if not whole:
        why = f"; the last: {found[-1].error}" if found and found[-1].error else ""
        raise UserError(f"No trial has ended with a value; try other settings{why}")
    return max(whole, key=lambda t: (t.value or 0.0, -t.number))


def _quiet_worker(folder: Path, plan: Plan) -> None:
    torch.set_num_threads(1)
    try:
        with _storage_errors(folder):
            _worker(folder, _open(folder, plan), plan, lambda trial: None)
    except KeyboardInterrupt:  # Of the terminal, which the first process answers.
        raise SystemExit(1) from None
    except UserError as error:
        print(f"nas: {error}", file=sys.stderr)
        raise SystemExit(1) from None


def _worker(folder: Path, study: Any, plan: Plan, tell: Callable[[Trial], None]) -> None:
    states = _optuna().trial.TrialState
    while True:
        # One process at a time: the number of a trial decides what it draws, and how many are left.
        with FileLock(folder / _LOCK):
            kept = _kept(study)
            begun = [t for t in kept if t.state != states.WAITING]
            grid = _grid(plan)
            if len(begun) >= min(plan.trials, len(grid) or plan.trials):
                return
            if grid and len(begun) == len(kept):
                study.enqueue_trial(grid[len(begun)])
            study.sampler = _sampler(plan, len(begun))
            trial = study.ask(_distributions(plan))

        def report(step: int, value: float, trial: Any = trial) -> bool:
            trial.report(value, step)
            return trial.should_prune()

        try:
            value = plan.objective.value(as_text(trial.params), report)
        except Pruned:
            study.tell(trial, state=states.PRUNED)
        except Exception as error:  # Settings may lead anywhere, as into a matrix that has no inverse.
            plan.objective.check_data()  # Where it raises, no settings are to blame: `_revive` has the trial tried again.
            kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
            trial.set_user_attr(_ERROR, f"{kind}{error}".partition("\n")[0])
            study.tell(trial, state=states.FAIL)
        else:
            study.tell(trial, value) if value == value else study.tell(trial, state=states.FAIL)
        tell(_ended(study)[-1])


def _revive(study: Any) -> None:
    """Trials whose process was stopped are tried again, with the same settings; they count once."""
    states, stopped = _optuna().trial.TrialState, list(study.user_attrs.get(_STOPPED, []))
    for t in study.trials:
        if t.state == states.RUNNING:
            study.set_user_attr(_STOPPED, stopped := [*stopped, t.number])
            study.enqueue_trial(t.params)
            study.tell(t.number, state=states.FAIL)


def _kept(study: Any) -> list[Any]:
    """Its trials without those that were stopped and are tried again."""
    stopped = set(study.user_attrs.get(_STOPPED, []))
    return [t for t in study.trials if t.number not in stopped]


def _open(folder: Path, plan: Plan) -> Any:
    optuna = _optuna()
    storage = f"sqlite:///{(folder / FILE).resolve()}"
    pruner = optuna.pruners.NopPruner() if plan.pruner == "none" else optuna.pruners.MedianPruner()
    return optuna.create_study(
        storage=storage, study_name=_NAME, direction="maximize", load_if_exists=True, pruner=pruner
    )


def _sampler(plan: Plan, number: int) -> Any:
    """What draws the settings of the trial of that number."""
    optuna = _optuna()
    seed = (plan.seed * 1_000_003 + number) % 2**32  # Another for each trial, the same after a stop.
    if plan.method != "bayesian":
        return optuna.samplers.RandomSampler(seed=seed)
    # `constant_liar`: of settings that are tried at this moment, it takes a poor value for granted, and looks elsewhere.
    return optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True, n_startup_trials=5)


def _distributions(plan: Plan) -> dict[str, Any]:
    d = _optuna().distributions
    found = {}
    for name, r in plan.ranges.items():
        if r.values is not None:
            found[name] = d.CategoricalDistribution(r.values)
        else:
            kind = d.IntDistribution if isinstance(r.low, int) else d.FloatDistribution
            found[name] = kind(r.low, r.high, log=r.log)
    return found


def _grid(plan: Plan) -> list[dict[str, Any]]:
    """All combinations, in an order drawn by the seed, so that a part of a grid has some of everything; empty without a grid."""
    if plan.method != "grid":
        return []
    found = [dict(zip(plan.ranges, c)) for c in itertools.product(*(r.values or () for r in plan.ranges.values()))]
    return [found[i] for i in torch.randperm(len(found), generator=torch.Generator().manual_seed(plan.seed)).tolist()]


def _check_asked(folder: Path, study: Any, plan: Plan) -> None:
    now, known = json.dumps(plan.asked, sort_keys=True), study.user_attrs.get(_ASKED)
    if known is not None and _but_digest(known) != _but_digest(now):
        raise UserError(f"'{folder}' has a search for settings that was begun with {known}; name another --out.")
    # Studies of versions that kept no digest have none to differ from.
    if known is not None and _digest(known) not in ("", _digest(now)):
        raise UserError(
            f"'{folder}' has a search for settings that was begun with other contents of its tables or files, or by a version "
            "that held other tasks apart; name another --out."
        )
    study.set_user_attr(_ASKED, now)


def _objective(asked: str) -> dict[str, Any]:
    found = json.loads(asked).get("objective")
    return found if isinstance(found, dict) else {}


def _digest(asked: str) -> str:
    return _objective(asked).get("digest", "")


def _but_digest(asked: str) -> dict[str, Any]:
    return json.loads(asked) | {"objective": {k: v for k, v in _objective(asked).items() if k != "digest"}}


def _optuna() -> Any:
    try:
        optuna = importlib.import_module("optuna")
    except ImportError:
        raise UserError("nas tune needs Optuna: pip install 'metacell[tpe]'.") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
