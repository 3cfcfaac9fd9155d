"""What a run searches, kept with it: enough to show it, export it and learn from it without its data and its evaluator.

Reading it runs no code but ours: a space of somebody else's is known by its names alone, and `built` imports it only if it may.
"""

from __future__ import annotations

import inspect
import sqlite3
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from nas import plugins, tasks
from nas.run import step_log, store, trials, trust
from nas.run.config import RunConfig
from nas.run.store import Run
from nas.tasks import TaskName
from nas.types import Evaluator
from search_spaces import Space, Task, UserError, _measured, as_cell_space

KEY = "subject"


class StoredSpace(NamedTuple):
    """A space as a run keeps it."""

    component: str
    """What `plugins.load` finds it by."""
    name: str
    choices: tuple[int, ...]
    decisions: tuple[str, ...]
    operations: tuple[tuple[str, ...], ...]
    edges: tuple[tuple[int, int], ...] | None = None
    """Of a space of cells."""
    skeleton: tuple[int, int, int] | None = None
    """Channels, cells, stem stride of its network, where it is NAS-Bench-201's."""

    @property
    def ours(self) -> bool:
        """Whether the package has it."""
        return not plugins.is_outside(self.component) and self.component.replace("-", "_") in plugins.names("space")


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


@dataclass(frozen=True)
class NamedSpace:
    """A space of somebody else's by what a run keeps of it: it can be drawn and described, not built."""

    name: str
    choices: tuple[int, ...]
    decisions: tuple[str, ...]
    operations: tuple[tuple[str, ...], ...]
    edges: tuple[tuple[int, int], ...] | None
    texts: dict[tuple[int, ...], str] = field(default_factory=dict, repr=False)
    """How its own space described the architectures of the run."""

    def describe(self, arch: Tensor) -> str:
        picked = tuple(arch.tolist())
        return self.texts.get(picked) or ", ".join(names[c] for names, c in zip(self.operations, picked))

    def valid(self, archs: Tensor) -> Tensor:
        return ((archs >= 0) & (archs < torch.tensor(self.choices))).all(-1)

    def canonical(self, archs: Tensor) -> Tensor:
        return archs

    def build(self, arch: Tensor, task: Task) -> nn.Module:
        raise UserError(f"Space '{self.name}' is not loaded; it only shows what a run found.")

    def parse(self, text: str) -> Tensor:
        for arch, known in self.texts.items():
            if known == text:
                return torch.tensor(arch)
        raise UserError(f"No architecture of the run is called '{text}'.")


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
        _stored(config, evaluator.space),
        None if training is None else _stored(config, training.final_space),
        evaluator.task,
        evaluator.description,
        TaskName.parse(config.task).constraints if config.evaluator is None else (),
    )


def _stored(config: RunConfig, space: Space) -> StoredSpace:
    space = _measured.whole_of(space)  # A table of a part of it says which part, not another space.
    cells = as_cell_space(space)
    asked, of_class = config.training_options.get("space", ""), type(space)
    if of_class.__module__.startswith("search_spaces."):
        component = of_class.__module__.rpartition(".")[2]
    elif asked:
        component = asked
    else:  # That of somebody's evaluator, or one typed into a prompt.
        try:
            component = f"{inspect.getsourcefile(of_class)}:{of_class.__qualname__}"
        except TypeError:
            component = f"{of_class.__module__}:{of_class.__qualname__}"
    return StoredSpace(
        component, space.name, space.choices, space.decisions, space.operations,
        None if cells is None else cells.edges, None if cells is None else cells.skeleton,
    )  # fmt: skip


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
    return of(config, tasks.find(config.task, **config.training_options))


def _is_outside(name: str) -> bool:
    return plugins.is_outside(name) or name in plugins.installed("space")


def shown_space(run: Run, kept: StoredSpace) -> Space:
    """The space to describe and draw a run's architectures with. It imports nothing that is not ours."""
    if kept.ours:
        return _ours(kept)
    # What outside spaces call their architectures is in the run.
    archs = step_log.history(run).archs.transpose(0, 1).flatten(0, 1).tolist()
    try:
        query = run.connection.execute("select architecture from trial order by evaluation, seed").fetchall()
    except sqlite3.DatabaseError:
        query = []
    texts = {tuple(arch): str(text) for arch, (text,) in zip(archs, query)}
    return NamedSpace(kept.name, kept.choices, kept.decisions, kept.operations, kept.edges, texts)


def built_space(kept: StoredSpace) -> Space:
    """The space itself, to build networks in: of an outside one this runs its code. Raises `UserError` where it has changed."""
    if kept.ours:
        return _ours(kept)
    space = _in_its_size(plugins.load("space", kept.component)(), kept)
    if tuple(space.choices) != kept.choices:
        raise UserError(f"Space '{kept.component}' has other choices than when the run began; its networks are others.")
    return space


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
    return built_space(kept)


def _ours(kept: StoredSpace) -> Space:
    return _in_its_size(plugins.load("space", kept.component)(), kept)


def _in_its_size(space: Space, kept: StoredSpace) -> Space:
    cells = as_cell_space(space)
    return space if cells is None or kept.skeleton is None else cells.proxy(*kept.skeleton)


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
    }


def _from_json(kept: dict[str, Any]) -> Subject:
    task = kept["task"]
    if len(task["input_shape"]) != 3 or not all(
        isinstance(n, int) and n > 0 for n in (*task["input_shape"], task["num_classes"])
    ):
        raise ValueError("a size that is no whole number above zero")
    return Subject(
        _space_from_json(kept["space"]),
        None if kept["final_space"] is None else _space_from_json(kept["final_space"]),
        Task(
            str(task["name"]), tuple(task["input_shape"]), task["num_classes"], tuple(map(float, task["features"])),
            tuple(map(int, task["fidelities"])), tuple(map(float, task["constraints"])),
        ),
        str(kept["description"]),
        tuple(map(str, kept["constraints"])),
    )  # fmt: skip


def _space_from_json(kept: dict[str, Any]) -> StoredSpace:
    edges, skeleton = kept["edges"], kept["skeleton"]
    operations = tuple(tuple(map(str, names)) for names in kept["operations"])
    choices, decisions = tuple(map(int, kept["choices"])), tuple(map(str, kept["decisions"]))
    if not len(choices) == len(decisions) == len(operations) or tuple(map(len, operations)) != choices:
        raise ValueError("choices, decisions and operations that do not fit together")
    return StoredSpace(
        str(kept["component"]), str(kept["name"]), choices, decisions, operations,
        None if edges is None else tuple((int(a), int(b)) for a, b in edges),
        None if skeleton is None else (int(skeleton[0]), int(skeleton[1]), int(skeleton[2])),
    )  # fmt: skip
