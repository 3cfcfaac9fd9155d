"""What a run began with: a digest of its data and of its prior, what trains its networks, where its files are.

A run goes on with the same data and the same prior or not at all; it says so when something else trains its networks.
"""

from __future__ import annotations

import dataclasses
from importlib import metadata
from pathlib import Path
from typing import Any

from nas.run import priors, store
from nas.run.config import RunConfig
from nas.run.store import Run
from nas.tasks import TaskName, absolute
from nas.types import Evaluator, HasDataDigest, HasEngine
from search_spaces import UserError

KEY = "provenance"
_FILES = ("npz:", "folder:")
"""Datasets that are a path."""


def of(config: RunConfig, evaluator: Evaluator, has_prior: bool) -> dict[str, Any]:
    """What `check` compares when the run goes on, for `store.create`."""
    return {
        "version": _version(),
        "data": _digest(evaluator),
        "prior": priors.fingerprint(config.prior, config.controller) if has_prior else None,
        "engines": list(filter(None, [_engine(evaluator)])),
        "task": with_whole_path(config.task),
        "prior_file": _absolute(config.prior) if has_prior and config.prior != "shipped" else config.prior,
    }


def located(run: Run) -> RunConfig:
    """The configuration of a run with whole paths, so that it goes on from any folder."""
    kept = store.get_meta(run, KEY)
    if kept is None:
        return run.config
    return dataclasses.replace(run.config, task=kept["task"], prior=kept["prior_file"])


def check(run: Run, config: RunConfig, evaluator: Evaluator, has_prior: bool) -> list[str]:
    """Lines about what has changed since the run began.

    Raises `UserError` for other data and another prior: scores of two tasks, or proposals of two priors, are no one search.
    """
    kept, now = store.get_meta(run, KEY), of(config, evaluator, has_prior)
    if kept is None:
        return []
    if kept["data"] is not None and kept["data"] != now["data"]:
        raise UserError(
            f"The data of '{config.task}' differ from those that run '{run.folder}' began with (digest {kept['data']}, now "
            f"{now['data']}). Bring those back, name where they are by --task, or start a new run."
        )
    if kept["prior"] != now["prior"]:
        which = f"the prior that metacell {kept['version']} shipped" if config.prior == "shipped" else "another prior"
        there = f"'{config.prior}' has fingerprint {now['prior']}" if now["prior"] else "this session has none"
        raise UserError(
            f"Run '{run.folder}' began with {which}, fingerprint {kept['prior']}; {there}. `nas show` shows the run; to go on, "
            "name that prior's file by --prior, or start a new run."
        )
    engines = kept["engines"]
    if engines and now["engines"] and engines[-1] != now["engines"][0]:
        return [
            f"The networks of this run were trained by {engines[-1]}; now by {now['engines'][0]}: "
            "scores of the same architecture can differ."
        ]
    return []


def update(run: Run, config: RunConfig, evaluator: Evaluator, has_prior: bool) -> None:
    """Keep what trains the networks from now on, and where the files are now; all of it for a run of an earlier version."""
    kept, now = store.get_meta(run, KEY), of(config, evaluator, has_prior)
    if kept is not None:
        engines = kept["engines"] + [e for e in now["engines"] if e not in kept["engines"][-1:]]
        now = kept | {"engines": engines, "task": now["task"], "prior_file": now["prior_file"]}
    if now != kept:
        store.set_meta(run, KEY, now)


def is_at_a_path(task: str) -> bool:
    """Whether a task is files of the user's, which may lie elsewhere the next time."""
    name = TaskName.parse(task)
    return (
        name.kind == "nats" or (name.kind == "few_shot" and name.dataset != "digits") or name.dataset.startswith(_FILES)
    )


def with_whole_path(task: str) -> str:
    """The same task by a name that does not depend on the current folder."""
    name = TaskName.parse(task)
    if name.kind == "nats":
        return str(name._replace(table=_absolute(name.table)))
    if name.kind == "few_shot":
        return absolute(task)
    return str(name._replace(dataset=absolute(name.dataset))) if name.kind == "data" else task


def _absolute(path: str) -> str:
    return str(Path(path).absolute())


def _digest(evaluator: Evaluator) -> str | None:
    return evaluator.data_digest if isinstance(evaluator, HasDataDigest) else None


def _engine(evaluator: Evaluator) -> str | None:
    training = evaluator.training
    return training.engine if isinstance(training, HasEngine) else None


def _version() -> str:
    try:
        return metadata.version("metacell")
    except metadata.PackageNotFoundError:  # Run from its source without being installed.
        return "from source"
