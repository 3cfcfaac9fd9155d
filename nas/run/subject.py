"""What a run searches, kept with it: enough to show it, export it and learn from it without its data and its evaluator.

Reading it runs no code but ours: a space of somebody else's is known by its names alone, and `built` imports it only if it may.
"""

from __future__ import annotations

import sqlite3
from typing import Any, NamedTuple

from nas import plugins, tasks
from nas.evaluators.multi_objective import MultiObjective
from nas.run import step_log, store, stored_space, trials, trust
from nas.run.config import RunConfig
from nas.run.store import Run
from nas.run.stored_space import StoredSpace
from nas.tasks import TaskName
from nas.types import Evaluator
from search_spaces import ConstraintFacts, Space, Task, UserError

KEY = "subject"


class KeptAim(NamedTuple):
    """An objective of a search with several, as its run keeps it."""

    name: str
    maximize: bool
    unit: str | None = None

    @property
    def short(self) -> str:
        """The last part of its name: of a column its metric."""
        return self.name.rpartition("/")[2]


class Subject(NamedTuple):
    """What a run searches."""

    space: StoredSpace
    final_space: StoredSpace | None
    """Of the network that is trained to the end; None where nothing is trained."""
    task: Task
    description: str
    """The evaluator's."""
    constraints: tuple[str, ...] = ()
    """As the task's name has them."""
    aims: tuple[KeptAim, ...] = ()
    """The objectives, where there are several."""


def keep(run: Run, evaluator: Evaluator) -> None:
    """Keep with a run what its evaluator searches, unless it is kept already."""
    if store.get_meta(run, KEY) is None:
        store.set_meta(run, KEY, as_json(of(run.config, evaluator)))


def read(run: Run) -> Subject:
    """What a run searches. Raises `UserError` where a version that kept nothing of it wrote the run, and only its own
    evaluator could say."""
    kept = store.get_meta(run, KEY)
    if kept is None:
        return _of_earlier_version(run)
    try:
        return _from_json(kept)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"What run '{run.folder}' keeps of its task cannot be read ({error!r}).") from None


def of(config: RunConfig, evaluator: Evaluator) -> Subject:
    """What a run of a configuration keeps."""
    training = evaluator.training
    return Subject(
        stored_space.of(config, evaluator.space),
        None if training is None else stored_space.of(config, training.final_space),
        evaluator.task,
        evaluator.description,
        TaskName.parse(config.task).constraints if config.evaluator is None else (),
        tuple(KeptAim(aim.name, aim.maximize, aim.unit) for aim in evaluator.aims)
        if isinstance(evaluator, MultiObjective)
        else (),
    )


def _of_earlier_version(run: Run) -> Subject:
    config = run.config
    outside = [n for n in (config.evaluator, config.training_options.get("space")) if n and _is_outside(n)]
    if outside or config.task.startswith("hf:"):
        what = f"names '{outside[0]}', code that is not ours" if outside else f"is on '{config.task}', a download"
        raise UserError(
            f"Run '{run.folder}' is of a version that kept nothing of its task, and {what}; "
            f"`nas resume {run.folder}` asks it what is lacking."
        )
    # Of a table, of the data or of NATS-Bench's files, all of which are read without running anything.
    return of(config, tasks.find(config.task, None, **config.training_options))


def _is_outside(name: str) -> bool:
    return plugins.is_outside(name) or name in plugins.installed("space")


def shown_space(run: Run, kept: StoredSpace) -> Space:
    """The space to describe and draw a run's architectures with. It imports nothing that is not ours."""
    if kept.ours:
        return stored_space.ours(kept)
    # What outside spaces call their architectures is in the run.
    archs = step_log.history(run).archs.transpose(0, 1).flatten(0, 1).tolist()
    try:
        query = run.connection.execute("select architecture from trial order by evaluation, seed").fetchall()
    except sqlite3.DatabaseError:
        query = []
    texts = {tuple(arch): str(text) for arch, (text,) in zip(archs, query)}
    return stored_space.NamedSpace(kept.name, kept.choices, kept.decisions, kept.operations, kept.edges, texts)


def final_space(about: Subject, run: str, *, trusted: bool) -> Space:
    """The space of the network that a run hands out, to build it in.

    Args:
        run: what the run is called in errors.
        trusted: the file of a space of somebody's own may be run; else `UserError` is raised for one not run before.
    """
    kept = about.final_space or about.space
    if not kept.ours and plugins.is_outside(kept.component):
        named = [trust.locate("space", kept.component)]
        if not trusted:
            trust.refuse_unknown(run, named)
        trust.remember(named)
    return stored_space.built(kept)


def trials_of(run: Run) -> list[trials.Trial]:
    """Every evaluation of a run, the first seed's first; of a run of an earlier version worked out from its steps."""
    kept = trials.stored(run.connection)
    if kept:
        return kept
    space = shown_space(run, read(run).space)
    rows = trials.of_steps(step_log.steps(run), run.config.first_seed, space.describe)
    return sorted((t for step in rows for t in step), key=lambda t: (t.seed, t.evaluation))


def as_json(subject: Subject) -> dict[str, Any]:
    """As it is kept with a run."""
    final = subject.final_space
    return {
        "space": subject.space._asdict(),
        "final_space": None if final is None else final._asdict(),
        "task": dict(vars(subject.task)),
        "description": subject.description,
        "constraints": subject.constraints,
        "aims": [list(aim) for aim in subject.aims],
    }


def _from_json(kept: dict[str, Any]) -> Subject:
    task = kept["task"]
    if len(task["input_shape"]) != 3 or not all(
        isinstance(n, int) and n > 0 for n in (*task["input_shape"], task["num_classes"])
    ):
        raise ValueError("a size that is no whole number above zero")
    return Subject(
        stored_space.from_json(kept["space"]),
        None if kept["final_space"] is None else stored_space.from_json(kept["final_space"]),
        Task(
            str(task["name"]), tuple(task["input_shape"]), task["num_classes"], tuple(map(float, task["features"])),
            tuple(map(int, task["fidelities"])), tuple(map(float, task["constraints"])),
            # Runs of earlier versions say neither.
            bool(task.get("data_known", True)), tuple(ConstraintFacts(*facts) for facts in task.get("constraint_facts", ())),
            tuple(map(str, task.get("aims", ()))),
        ),
        str(kept["description"]),
        tuple(map(str, kept["constraints"])),
        tuple(KeptAim(str(name), bool(raised), unit) for name, raised, unit in kept.get("aims", [])),
    )  # fmt: skip
