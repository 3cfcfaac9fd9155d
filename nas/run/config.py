"""What a search is asked to do: the configuration of a run, kept with it."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field, fields
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from controller.models import legacy
from search_spaces import UserError

LEADERS_SHARE = 0.25
"""The largest share of a run's evaluations that retrains leaders: the rest searches. Retraining more was worth no more in
simulated choices (`runs/leaders.sh choices`)."""


_MOST = 10**15
"""Of counts and budgets: no search is that long, and PyTorch's whole numbers overflow a little above it."""


def check_number(name: str, value: float | None) -> None:
    """Raise `UserError` for a count or a budget called `name` that is not above zero, or without end; None is none given."""
    if value is None:
        return
    if not value > 0:
        raise UserError(f"{name} is {value}; it takes a number above zero.")
    if math.isinf(value):
        raise UserError(f"{name} is {value}; it takes a number. Left out it limits nothing.")
    if value > _MOST:
        raise UserError(f"{name} is {value}; it takes a number up to {_MOST:,}.")


def leader_trainings(leaders: int) -> int:
    """The trainings by which successive halving tells so many leaders apart: one of each in every round, until one is left."""
    trainings = 0
    while leaders > 1:
        trainings, leaders = trainings + leaders, (leaders + 1) // 2
    return trainings


@dataclass(frozen=True)
class RunConfig:
    """A run's configuration. Raises `UserError` for a count or a budget that is not above zero.

    A search ends with the first of its budgets that is used up; one that is None does not limit it.
    """

    task: str = "digits"
    controller: str = "transfer_bo"
    evaluator: str | None = None
    """One of the user's own, as `FILE.py:Class`; None: what the task's name says."""
    prior: str = "shipped"
    """`shipped`, `none`, or the file of a prior."""
    controller_options: dict[str, str] = field(default_factory=dict)
    training_options: dict[str, str] = field(default_factory=dict)
    """Of the evaluator that trains; empty for tasks of tables."""
    seeds: int = 1
    """Searches side by side."""
    first_seed: int = 0
    batch: int = 1
    """Architectures that each seed evaluates in a step."""
    evals: int | None = None
    """Budget: evaluations of each seed."""
    simulated_seconds: float | None = None
    """Budget: of each seed, as the task's cost column counts them."""
    minutes: float | None = None
    """Budget: of wall clock on this machine, all sessions together."""
    leaders: int | None = 0
    """How many of the best are trained again with other seeds by the last evaluations (`nas.run.leaders`), 0 or 1 for none;
    None: as many as the budget bears."""

    ending_seconds: float = 0.0
    """Of `minutes`, what the final training and all that follows are expected to take: the search ends so much earlier."""

    planned: str = ""
    """Settings of the training by commas that `minutes` said, and not the user (`nas.run.stages`)."""

    comparison: bool = False
    """End with a comparison of the network found with simpler models (`nas.run.simpler`), where it trains on images."""
    aim: str = ""
    """Several objectives by commas, the task's score first (`nas.tasks.aims`); empty: the score alone."""
    proxy: str = ""
    """Zero-cost proxies by commas that the search knows beforehand (`nas.tasks.proxies`); empty: none."""
    proxy_as: str = "score"
    """What `proxy` is: a `feature` of the controller's models, or a `filter` of its candidates. As the score it is a setting of
    the training."""
    latency_command: str = ""
    """What measures a network on a device, for a constraint on its latency; empty: this machine does."""
    latencies: dict[str, float] = field(default_factory=dict)
    """Milliseconds by architecture, as measured before the search for such a constraint."""

    def __post_init__(self) -> None:
        for name in ("seeds", "batch", "evals", "simulated_seconds", "minutes"):
            check_number(f"--{name.replace('_', '-')}", getattr(self, name))
        self._check_leaders()

    def _check_leaders(self) -> None:
        if self.leaders is None:
            return
        if self.leaders < 0:
            raise UserError(f"--leaders is {self.leaders}; it takes 0 (none) or more.")
        needed = leader_trainings(self.leaders)
        if self.evals is not None and needed > LEADERS_SHARE * self.evals:
            raise UserError(
                f"--leaders {self.leaders} takes {needed} of the {self.evals} evaluations; it may take a quarter of them. "
                f"Ask for fewer leaders, or for --evals {math.ceil(needed / LEADERS_SHARE)}."
            )

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> RunConfig:
        """The inverse of `to_json`; also of what version 0.1 stored. Raises `UserError` for a key that is not known."""
        given: dict[str, Any] = legacy.run_config(json.loads(text))
        known = {f.name for f in fields(cls)}
        unknown = sorted(given.keys() - known)
        if unknown:
            raise UserError(f"The run was configured with '{unknown[0]}', which this version of nas does not know.")
        # Earlier versions took a budget without end, which limits nothing.
        given = {name: None if value == math.inf else value for name, value in given.items()}
        types = get_type_hints(cls)
        wrong = [name for name, value in given.items() if not _is_of(value, types[name])]
        if wrong:
            raise UserError(
                f"The run was configured with {given[wrong[0]]!r} for '{wrong[0]}', which takes no such value."
            )
        return cls(**given)


def _is_of(value: Any, declared: Any) -> bool:
    """Whether a value read from JSON is of a field's type."""
    if get_origin(declared) is UnionType:
        return any(_is_of(value, one) for one in get_args(declared))
    if get_origin(declared) is dict:
        return isinstance(value, dict) and all(_is_of(one, get_args(declared)[1]) for one in value.values())
    allowed = (int, float) if declared is float else declared
    # True is an int to Python.
    return isinstance(value, allowed) and isinstance(value, bool) == (declared is bool)
