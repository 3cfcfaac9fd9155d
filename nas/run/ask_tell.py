"""A search that is driven from outside: it is asked for architectures and told their scores, in any order and in parts.

Whoever asks trains where and how he likes. With a folder it is a run: stored after each call, shown by `nas show` and `nas
trials`, and gone on with by making the same `Search` again.
Shapes: `B` architectures, `D` decisions.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from controller import Results, Step
from controller.candidates import pending as pending_groups
from controller.candidates.pending import Group
from controller.models import legacy
from nas import plugins, settings
from nas.run import priors, step_log, store, subject
from nas.run.config import RunConfig
from nas.types import Architecture, Defaults, Evaluate, TrainingEvaluator
from search_spaces import Space, Task, UserError

EVALUATOR = "ask_tell"
"""What stands for the evaluator in the configuration of such a run."""
_UNKNOWN = ((3, 32, 32), 10)
"""The shape and the classes of a task that nobody described: those of CIFAR-10, as for tables."""
_PENDING = "pending"


class Told(NamedTuple):
    """An evaluation that was told."""

    architecture: Architecture
    score: float
    """NaN where it failed."""
    seconds: float


class Search:
    """One search by any controller. Calls of `ask` and `tell` alternate as you like.

    Args:
        space: a space, or the name of one (`nas components`), or `FILE.py:Class`.
        controller: a name, or `FILE.py:Class`.
        task: what is known of the problem; a text is its name.
        folder: where it is stored; there it goes on if it was stored before. None: in memory alone.
        seed: of the search.
        prior: `shipped`, `none` or a file of `nas meta-train`.
        options: settings of the controller.

    Raises `UserError` for a name or a setting that does not exist, and for a folder that holds another search.

    Example:
        s = Search("nasbench201", controller="evolution")
        for architecture in s.ask(4):
            s.tell(architecture, train(architecture.build(s.task)))
    """

    def __init__(
        self,
        space: Space | str,
        controller: str = "transfer_bo",
        *,
        task: Task | str = "my task",
        folder: Path | str | None = None,
        seed: int = 0,
        prior: str = "shipped",
        options: dict[str, Any] | None = None,
    ):
        self.space: Space = plugins.load("space", space)() if isinstance(space, str) else space
        self.task = task if isinstance(task, Task) else Task(task, *_UNKNOWN, data_known=False)
        texts = {
            name: str(value).lower() if isinstance(value, bool) else str(value)
            for name, value in (options or {}).items()
        }
        name = plugins.absolute(legacy.controller(controller))
        of_class = plugins.load("controller", name)
        self.controller = of_class(space=self.space, **settings.typed(name, of_class, legacy.settings(name, texts)))
        self._config = RunConfig(
            task=self.task.name,
            controller=name,
            evaluator=EVALUATOR,
            prior=prior,
            controller_options=texts,
            first_seed=seed,
        )
        self._seed = seed
        self._state = self.controller.begin(self.task, torch.tensor([seed]), priors.find(prior, name))
        self._pending: list[Group] = []
        self._told: list[Told] = []
        self._steps = 0
        self._mark = time.perf_counter()
        self._run = None if folder is None else self._open(Path(folder))

    def ask(self, count: int = 1) -> list[Architecture]:
        """The next `count` architectures to evaluate; none of them is pending. Raises `UserError` where all are."""
        if count < 1:
            raise UserError(f"ask takes how many architectures, 1 or more, not {count}.")
        known = [t.score for t in self._told if not math.isnan(t.score)]
        seconds = [t.seconds for t in self._told]
        mean, cost = _mean(known, 0.0), _mean(seconds, 1.0)
        group = pending_groups.ask(self.controller, self._state, self._pending, count, mean, cost, self._seed)
        self._pending.append(group)
        self._keep_pending()
        return self._named(group)

    def tell(
        self,
        architectures: Architecture | str | Tensor | Sequence[Architecture | str | Tensor],
        scores: float | Sequence[float | None] | None,
        seconds: float | Sequence[float] = 0.0,
    ) -> None:
        """What evaluating some architectures gave, asked for or not; the higher the better. None or NaN: it failed.

        Args:
            architectures: what `ask` gave, their texts, or rows `[D]`.
            scores: a number each.
            seconds: what each took; one number is of each.

        Raises `UserError` for an architecture that is not in the space and for numbers that are none; nothing is told then.
        """
        one = isinstance(architectures, (Architecture, str)) or (
            torch.is_tensor(architectures) and architectures.dim() == 1
        )
        given = [self._read(a) for a in ([architectures] if one else architectures)]  # pyright: ignore
        values = _numbers("score", [scores] if one or scores is None else scores, len(given), failing=True)  # pyright: ignore
        times = [seconds] * len(given) if isinstance(seconds, (int, float)) else list(seconds)
        times = _numbers("number of seconds", times, len(given))
        left = list(range(len(given)))
        # What was asked for at once is learned at once: each group makes the controller's state another, at least once.
        for group in [*self._pending]:
            keys = group.work()
            mine = {keys.index(given[at].key): at for at in left if given[at].key in keys}
            if mine:
                rows = sorted(mine)
                left = [at for at in left if at not in mine.values()]
                self._drop(group, rows)
                self._learn(group.rows(rows), [values[mine[row]] for row in rows], [times[mine[row]] for row in rows])
        for at in left:
            self._learn(given[at].group, [values[at]], [times[at]])

    def expect(self, architectures: Sequence[Architecture | str | Tensor]) -> None:
        """Know of architectures that somebody else is evaluating: they are pending, as if they had been asked for here."""
        for given in architectures:
            self._pending.append(self._read(given).group)
        if architectures:
            self._keep_pending()

    @property
    def pending(self) -> list[Architecture]:
        """What was asked for and not told yet."""
        return [a for group in self._pending for a in self._named(group)]

    @property
    def told(self) -> list[Told]:
        """All evaluations so far, in the order in which they were told."""
        return [*self._told]

    @property
    def best(self) -> Told | None:
        """The evaluation with the highest score, of equal ones the first; None before one has succeeded."""
        return max((t for t in self._told if not math.isnan(t.score)), key=lambda t: t.score, default=None)

    def close(self) -> None:
        """Let go of the folder, so that another process may go on."""
        if self._run is not None:
            self._run.close()
            self._run = None

    def __enter__(self) -> Search:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _learn(self, group: Group, scores: list[float], seconds: list[float]) -> None:
        results = Results(torch.tensor([scores]), torch.tensor([seconds]))
        before = self._state
        self._state = self.controller.learn(before, group.proposal(), results)
        self._told += [Told(*row) for row in zip(self._named(group), scores, seconds)]
        now = time.perf_counter()
        wall, self._mark = now - self._mark, now
        if self._run is not None:
            step = Step(group.proposal(), results, self._state)
            meta = {_PENDING: pending_groups.as_json(self._pending)}
            step_log.append(self._run, self._steps, step, before, wall, self.space.describe, meta=meta)
        self._steps += 1

    def _drop(self, group: Group, rows: list[int]) -> None:
        at = next(i for i, other in enumerate(self._pending) if other is group)
        left = [row for row in range(len(group.archs)) if row not in rows]
        self._pending[at : at + 1] = [group.rows(left)] if left else []

    def _named(self, group: Group) -> list[Architecture]:
        epochs = [None] * len(group.archs) if group.epochs is None else group.epochs.tolist()
        return [Architecture.of(self.space, arch, e) for arch, e in zip(group.archs, epochs)]

    def _read(self, given: Architecture | str | Tensor) -> _Given:
        epochs = given.epochs if isinstance(given, Architecture) else None
        if isinstance(given, str):
            arch = self.space.parse(given)
        else:
            arch = torch.as_tensor(given.indices if isinstance(given, Architecture) else given)
        if (
            arch.shape != (len(self.space.choices),)
            or arch.is_floating_point()
            or not bool(self.space.valid(arch[None]).all())
        ):
            raise UserError(f"{arch.tolist()} is no architecture of space '{self.space.name}'.")
        return _Given(Group(arch.long()[None], None if epochs is None else torch.tensor([epochs])))

    def _open(self, folder: Path) -> store.Run:
        if not (folder / store.FILE).is_file():
            about = {subject.KEY: subject.as_json(subject.of(self._config, _Outside(self.space, self.task)))}
            return store.create(folder, self._config, self._state, about)
        run = store.open_run(folder, write=True)
        try:
            self._go_on(run)
        except BaseException:
            run.close()
            raise
        return run

    def _go_on(self, run: store.Run) -> None:
        kept, asked = run.config, self._config
        for name in ("evaluator", "task", "controller", "controller_options", "first_seed", "prior"):
            if getattr(kept, name) != getattr(asked, name):
                raise UserError(
                    f"Run '{run.folder}' began with {name} {getattr(kept, name)!r}, and is opened with "
                    f"{getattr(asked, name)!r}; say the same, or take another folder."
                )
        self._state = step_log.state(run, self._state)
        for proposal, results, _ in step_log.steps(run):
            group = Group(proposal.archs[0], None if proposal.epochs is None else proposal.epochs[0])
            if not bool(self.space.valid(group.archs).all()):
                raise UserError(f"Run '{run.folder}' holds an architecture that is not in space '{self.space.name}'.")
            self._told += [
                Told(*row) for row in zip(self._named(group), results.score[0].tolist(), results.cost[0].tolist())
            ]
            self._steps += 1
        self._pending = pending_groups.from_json(store.get_meta(run, _PENDING) or [], self.space)

    def _keep_pending(self) -> None:
        if self._run is not None:
            store.set_meta(self._run, _PENDING, pending_groups.as_json(self._pending))


class _Given(NamedTuple):
    """An architecture that was told, as a group of one."""

    group: Group

    @property
    def key(self) -> tuple[int, ...]:
        return self.group.work()[0]


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


def _mean(values: list[float], default: float) -> float:
    return sum(values) / len(values) if values else default


def _numbers(what: str, values: Iterable[Any], count: int, *, failing: bool = False) -> list[float]:
    """As floats. Raises `UserError` for another number of them, and for one that is none."""
    found = [*values]
    if len(found) != count:
        raise UserError(f"{count} architectures are told with {len(found)} {what}s; it takes one each.")
    read = []
    for value in found:
        try:
            number = math.nan if value is None and failing else float(value)  # pyright: ignore[reportArgumentType]
        except (TypeError, ValueError):
            raise UserError(f"{value!r} is no {what}; it takes a number.") from None
        if math.isinf(number) or (math.isnan(number) and not failing) or (not failing and number < 0):
            raise UserError(
                f"{number} is no {what}; it takes a finite number" + (", or NaN where it failed." if failing else ".")
            )
        read.append(number)
    return read
