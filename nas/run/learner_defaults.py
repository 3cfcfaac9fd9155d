"""Settings of few-shot learners that a search has by default: its run names them, as defaults change from version to version."""

from __future__ import annotations

import dataclasses

from nas.run.config import RunConfig

_TASK, _LEARNER = "few_shot:", "prototypical"
"""How such a task begins; the learner of a search that names none."""


def recorded(config: RunConfig) -> RunConfig:
    """The configuration of a new run, which names what later versions may have other defaults for."""
    if not config.task.startswith(_TASK):
        return config
    from nas.few_shot import named  # Not above: a search of a table needs no learner.

    return _with(config, named.recorded(_learner(config)))


def as_read(config: RunConfig) -> RunConfig:
    """The configuration of a stored run, with what an earlier version meant where it names none."""
    if not config.task.startswith(_TASK):
        return config
    from nas.few_shot import named

    learner = _learner(config)
    return _with(config, named.former(learner)) if learner.replace("-", "_") in named.names() else config


def _learner(config: RunConfig) -> str:
    return config.training_options.get("learner", _LEARNER)


def _with(config: RunConfig, defaults: dict[str, str]) -> RunConfig:
    return dataclasses.replace(config, training_options=defaults | config.training_options)
