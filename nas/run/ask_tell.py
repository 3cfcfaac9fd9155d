"""A search that is driven from outside: it is asked for architectures and told their scores, in any order and in parts.

Whoever asks trains where and how he likes. With a folder it is a run: stored after each call, shown by `nas show` and `nas
trials`, and gone on with by making the same `Search` again.
Shapes: `B` architectures, `D` decisions.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from controller import Results, Step
from controller.candidates import pending as pending_groups
from controller.candidates import scalarization
from controller.candidates.pending import Group
from controller.models import legacy, pareto
from nas import plugins, settings
from nas.run import ask_tell_settings, ask_tell_store, priors, step_log, store, told
from nas.run.ask_tell_store import closed_on_error
from nas.run.config import RunConfig
from nas.run.store import Run
from nas.run.told import Given, Told
from nas.types import Architecture
from search_spaces import Space, Task, UserError


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
        aims: several objectives, as `--aim` has them: `accuracy,latency,recall:max`. The first is raised, the others are lowered.

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
        aims: str | Sequence[str] = "",
    ):
        self.space: Space = ask_tell_settings.space(space)
        self.aims = told.read_aims(aims)
        self.task = replace(ask_tell_settings.task(task), aims=tuple(aim.name for aim in self.aims))
        texts, seed = ask_tell_settings.texts(options), ask_tell_settings.seed(seed)
        prior = ask_tell_settings.name("prior", prior, "shipped, none or a file of `nas meta-train`")
        name = ask_tell_settings.name("controller", controller, "a name of `nas components`, or FILE.py:Class")
        name = plugins.absolute(legacy.controller(name))
        of_class, found = plugins.load("controller", name), priors.find(prior, name)
        plain = of_class(space=self.space, **settings.typed(name, of_class, legacy.settings(name, texts)))
        self.controller = scalarization.of(plain, self.task, found)
        self._config = RunConfig(
            task=self.task.name,
            controller=name,
            evaluator=ask_tell_store.EVALUATOR,
            prior=prior,
            controller_options=texts,
            first_seed=seed,
            aim=",".join(f"{aim.name}:{'max' if aim.maximize else 'min'}" for aim in self.aims),
        )
        self._seed = seed
        self._state = self.controller.begin(self.task, torch.tensor([seed]), found)
        self._pending: list[Group] = []
        self._told: list[Told] = []
        self._steps = 0
        self._mark = time.perf_counter()
        self._run: Run | None = None
        self._closed = False
        if folder is not None:
            self._run, stored = ask_tell_store.open_or_create(
                ask_tell_settings.folder(folder), self._config, self._state, self.space, self.task, self.aims
            )
            if stored:
                with closed_on_error(self._run):
                    self._go_on(self._run)

    def ask(self, count: int = 1) -> list[Architecture]:
        """The next `count` architectures to evaluate; none of them is pending. Raises `UserError` where all are."""
        self._refuse_closed()
        count = ask_tell_settings.whole("the number to ask for", count)
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
        scores: Any,
        seconds: float | Sequence[float] = 0.0,
    ) -> None:
        """What evaluating some architectures gave, asked for or not; the higher the better. None or NaN: it failed.

        Args:
            architectures: what `ask` gave, their texts, or rows `[D]`. A text or a row is of the length of training that is
                pending, of several the one asked for first.
            scores: a number each; with several objectives a dict by their names each, or a sequence in their order.
            seconds: what each took; one number is of each.

        Raises `UserError` for an architecture that is not in the space and for numbers that are none; nothing is told then.
        """
        self._refuse_closed()
        given, one = told.read_architectures(architectures, self.space)
        given = self._as_asked(given)
        values = self._values([scores] if one or scores is None else told.listed(scores), len(given))
        times = told.listed(seconds)
        times = told.read_numbers("number of seconds", times * len(given) if times == [seconds] else times, len(given))
        left = list(range(len(given)))
        # What was asked for at once is learned at once: each group makes the controller's state another, at least once.
        for group in [*self._pending]:
            keys = group.work()
            mine = {keys.index(given[at].key): at for at in left if given[at].key in keys}
            if mine:
                rows = sorted(mine)
                left = [at for at in left if at not in mine.values()]
                self._learn(
                    group.rows(rows), [values[mine[row]] for row in rows], [times[mine[row]] for row in rows],
                    self._without(group, rows),
                )  # fmt: skip
        for at in left:
            self._learn(given[at].group, [values[at]], [times[at]], self._pending)

    def expect(self, architectures: Sequence[Architecture | str | Tensor]) -> None:
        """Know of architectures that somebody else is evaluating: they are pending, as if they had been asked for here."""
        self._refuse_closed()
        given, _ = told.read_architectures(architectures, self.space)
        self._pending += [one.group for one in given]
        if given:
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

    @property
    def front(self) -> list[Told]:
        """With several objectives, the evaluations that no other one is better than in all of them, the best first one first."""
        known = [t for t in self._told if t.values and not math.isnan(t.score)]
        if not known:
            return []
        on = pareto.non_dominated(torch.tensor([self._raised(t.values) for t in known], dtype=torch.float64)).tolist()
        front = [t for t, best in zip(known, on) if best]
        return sorted(front, key=lambda t: self._raised(t.values), reverse=True)

    def close(self) -> None:
        """Let go of the folder, so that another process may go on; nothing is asked or told then, as it would be lost."""
        if self._run is not None:
            self._run.close()
            self._run, self._closed = None, True

    def __enter__(self) -> Search:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _values(self, given: Sequence[Any], count: int) -> list[tuple[float, ...]]:
        """Of each evaluation its objectives, or its score alone."""
        if not self.aims:
            return [(score,) for score in told.read_numbers("score", given, count, failing=True)]
        if len(given) != count:
            raise UserError(f"{count} architectures are told with {len(given)} results; it takes one each.")
        return told.read_objectives(given, self.aims)

    def _raised(self, values: tuple[float, ...]) -> tuple[float, ...]:
        """Objectives of which each is higher the better."""
        return tuple(value if aim.maximize else -value for value, aim in zip(values, self.aims))

    def _learn(self, group: Group, values: list[tuple[float, ...]], seconds: list[float], pending: list[Group]) -> None:
        """Learn and store what some evaluations gave, all or nothing; `pending` is what is not told yet after that."""
        # As a search with --aim has it: the score is the first objective as it is raised.
        objectives = torch.tensor([[self._raised(row) for row in values]]) if self.aims else None
        scores = [row[0] for row in values]
        results = Results(torch.tensor([scores]), torch.tensor([seconds]), objectives=objectives)
        step = Step(group.proposal(), results, self.controller.learn(self._state, group.proposal(), results))
        now = time.perf_counter()
        if self._run is not None:
            meta = {ask_tell_store.PENDING: pending_groups.as_json(pending)}
            step_log.append(
                self._run, self._steps, step, self._state, now - self._mark, self.space.describe, meta=meta
            )  # fmt: skip
        self._told += self._results_of(group, results)
        self._state, self._pending, self._mark = step.state, pending, now
        self._steps += 1

    def _as_asked(self, given: list[Given]) -> list[Given]:
        """With the epochs of what is pending, where what was given names none. A row that is pending is given once."""
        pending = [key for group in self._pending for key in group.work()]
        named = {one.key for one in given}
        waiting, found = [key for key in pending if key not in named], []
        for one in given:
            of_arch = [key for key in waiting if key[:-1] == one.key[:-1]]
            if one.key[-1] < 0 and one.key not in pending and of_arch:
                waiting.remove(of_arch[0])
                one = Given(one.group._replace(epochs=torch.tensor([of_arch[0][-1]])))
            found.append(one)
        return found

    def _results_of(self, group: Group, results: Results) -> list[Told]:
        """In single precision, as the controller learned them and a run keeps them: a search opened again has the same."""
        values: list[tuple[float, ...]] = [()] * len(group.archs)
        if self.aims and results.objectives is not None:
            # Turned twice they are as they were told.
            values = [self._raised(tuple(row)) for row in results.objectives[0].tolist()]
        rows = zip(self._named(group), results.score[0].tolist(), results.cost[0].tolist(), values)
        return [Told(*row) for row in rows]

    def _without(self, group: Group, rows: list[int]) -> list[Group]:
        """What is pending but for some rows of a group."""
        at = next(i for i, other in enumerate(self._pending) if other is group)
        left = [row for row in range(len(group.archs)) if row not in rows]
        return [*self._pending[:at], *([group.rows(left)] if left else []), *self._pending[at + 1 :]]

    def _refuse_closed(self) -> None:
        if self._closed:
            raise UserError("This search was closed; make the same `Search` again to go on with what is in its folder.")

    def _named(self, group: Group) -> list[Architecture]:
        epochs = [None] * len(group.archs) if group.epochs is None else group.epochs.tolist()
        return [Architecture.of(self.space, arch, e) for arch, e in zip(group.archs, epochs)]

    def _go_on(self, run: Run) -> None:
        """As the run stands."""
        found = ask_tell_store.read(run, self._config, self._state, self.space)
        self._state, self._pending = found.state, found.pending
        for group, results in found.steps:
            self._told += self._results_of(group, results)
            self._steps += 1

    def _keep_pending(self) -> None:
        if self._run is not None:
            store.set_meta(self._run, ask_tell_store.PENDING, pending_groups.as_json(self._pending))


def _mean(values: list[float], default: float) -> float:
    return sum(values) / len(values) if values else default
