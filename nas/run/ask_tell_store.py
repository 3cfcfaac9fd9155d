"""The run of a search that is driven from outside: made, opened again, and read.

Shapes: `D` decisions.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from controller import Results, State
from controller.candidates import pending as pending_groups
from controller.candidates.pending import Group
from nas.run import priors, step_log, store, stored_space, subject
from nas.run.config import RunConfig
from nas.run.store import Run
from nas.run.subject import KeptAim
from nas.types import Defaults, Evaluate, TrainingEvaluator
from search_spaces import Space, Task, UserError

EVALUATOR = "ask_tell"
"""What stands for the evaluator in the configuration of such a run."""
PENDING = "pending"
"""Kept with a run: what was asked for and not told yet."""
_ASKED = ("evaluator", "task", "controller", "controller_options", "first_seed", "prior", "aim")
"""Of the configuration, what must be the same to go on."""


class Stored(NamedTuple):
    """How a run stands."""

    state: State
    """The controller's."""
    steps: list[tuple[Group, Results]]
    """All that was told, in order."""
    pending: list[Group]


def open_or_create(
    folder: Path, config: RunConfig, state: State, space: Space, task: Task, aims: tuple[KeptAim, ...]
) -> tuple[Run, bool]:
    """The run in a folder, and whether it was there before."""
    if (folder / store.FILE).is_file():
        return store.open_run(folder, write=True), True
    kept = subject.of(config, _Outside(space, task))._replace(aims=aims)
    try:
        return store.create(folder, config, state, {subject.KEY: subject.as_json(kept)}), False
    except OSError as error:
        raise UserError(f"No run can be made in '{folder}': {error.strerror or error}.") from None


def read(run: Run, config: RunConfig, begun: State, space: Space) -> Stored:
    """How a run stands. Raises `UserError` where it began with something else than `config`, and where it is damaged.

    Args:
        begun: the controller's state before anything was told.
    """
    for name in _ASKED:
        kept, asked = getattr(run.config, name), getattr(config, name)
        if kept != asked:
            raise UserError(
                f"Run '{run.folder}' began with {name} {kept!r}, and is opened with {asked!r}; say the same, or take another "
                "folder."
            )
    kept, asked = subject.read(run).space, stored_space.from_json(stored_space.of(config, space)._asdict())
    for name in ("name", "decisions", "operations"):
        if getattr(kept, name) != getattr(asked, name):
            raise UserError(
                f"Run '{run.folder}' is of space '{kept.name}', and is opened with '{asked.name}', whose {name} is another; take "
                "another folder."
            )
    state, steps = step_log.state(run, begun), []
    priors.refuse_other(run.folder, config.prior, begun, state)
    for proposal, results, _ in step_log.steps(run):
        group = Group.of(proposal)
        if not bool(space.valid(group.archs).all()):
            raise UserError(f"Run '{run.folder}' holds an architecture that is not in space '{space.name}'.")
        steps.append((group, results))
    return Stored(state, steps, pending_groups.from_json(store.get_meta(run, PENDING) or [], space))


@contextmanager
def closed_on_error(run: Run) -> Iterator[None]:
    """Lets go of the folder where something is raised, so that it can be opened again."""
    try:
        yield
    except BaseException:
        run.close()
        raise


@dataclass(frozen=True)
class _Outside:
    """What stands for an evaluator where scores come from outside: enough to show the run."""

    space: Space
    task: Task
    defaults = Defaults(budget=32, batch=1)
    training: TrainingEvaluator | None = None
    description = "score: as it was told from outside"

    def load(self, seeds: Tensor) -> Evaluate:
        raise UserError(
            "The scores of this run are told from outside; go on with nas.Search(..., folder=...) in Python."
        )

    def report(self, archs: Tensor) -> Tensor | None:
        return None
