"""An Optuna sampler that proposes by a controller: Optuna keeps its storage, pruners and dashboard. Needs the extra `tpe`.

study = optuna.create_study(direction="maximize", sampler=MetacellSampler(seed=0))
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import optuna
import torch
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial, TrialState

from nas.evaluation_file import LARGEST
from nas.run import store
from nas.run.ask_tell import Search
from search_spaces import Choices, Space, Task, UserError

__all__ = ["MetacellSampler", "run_of"]

_SEEDS = 1 << 31


class MetacellSampler(BaseSampler):
    """Samples categorical parameters together by a controller of metacell; all others, and conditional ones, independently.

    The parameters are those that all finished trials have, as for Optuna's own samplers, so that the first trials are drawn
    independently; with `search_space` the controller proposes from the first trial on. Trials of the study that were there before
    are learned from, and those that run in other processes are not proposed again. Threads may share a sampler.

    Args:
        controller: a name of `nas components`, or `FILE.py:Class`.
        seed: of the controller and of independent sampling; None: drawn.
        search_space: the options of each parameter, as for `optuna.samplers.GridSampler`.
        prior: `shipped`, `none` or a file of `nas meta-train`.
        options: settings of the controller.
        independent_sampler: of the other parameters; `RandomSampler` by default.

    Raises `UserError` for a name or a setting that does not exist, and in a study of several objectives.
    """

    def __init__(
        self,
        controller: str = "transfer_bo",
        *,
        seed: int | None = None,
        search_space: Mapping[str, Sequence[Any]] | None = None,
        prior: str = "shipped",
        options: dict[str, Any] | None = None,
        independent_sampler: BaseSampler | None = None,
    ):
        self._controller, self._prior, self._options = controller, prior, options
        self._seed = int.from_bytes(os.urandom(3), "big") if seed is None else seed
        self._independent = independent_sampler or RandomSampler(seed=self._seed)
        try:
            named = None if search_space is None else {n: tuple(o) for n, o in search_space.items()}
            self._given = None if named is None else {n: CategoricalDistribution(o) for n, o in named.items()}
        except (AttributeError, TypeError, ValueError):
            takes = "a dict of the options of each parameter, as {'layer': ['conv3', 'pool']}"
            raise UserError(f"search_space is {search_space!r:.80}; it takes {takes}.") from None
        self._intersection = optuna.search_space.IntersectionSearchSpace()
        self._space: dict[str, CategoricalDistribution] = {}
        self._search: Search | None = None
        self._told: set[int] = set()
        self._lock = threading.RLock()
        self._of_space(self._given or {})

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._lock = threading.RLock()

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The categorical parameters that the controller decides together."""
        if len(study.directions) > 1:
            raise UserError(f"The study has {len(study.directions)} objectives; MetacellSampler takes one.")
        if self._given is not None:
            return dict(self._given)
        with self._lock:
            shared = self._intersection.calculate(study)
        return {name: d for name, d in shared.items() if isinstance(d, CategoricalDistribution) and not d.single()}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """What the controller proposes next, given the trials of the study."""
        if not search_space:
            return {}
        with self._lock:
            return self._proposed(study, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """By the independent sampler."""
        return self._independent.sample_independent(study, trial, param_name, param_distribution)

    def reseed_rng(self) -> None:
        """Other random numbers from now on, as Optuna asks of each of several processes."""
        with self._lock:
            self._independent.reseed_rng()
            self._seed = (self._seed + int.from_bytes(os.urandom(3), "big")) % _SEEDS
            self._space = {}

    def _proposed(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """As `sample_relative`, by one thread at a time."""
        self._of_space(search_space)  # pyright: ignore[reportArgumentType]
        search = self._search
        assert search is not None
        maximize = study.direction == optuna.study.StudyDirection.MAXIMIZE
        running = []
        for other in study.get_trials(deepcopy=False):
            indices = self._indices(other.params)
            if other.number == trial.number or other.number in self._told or indices is None:
                continue
            if other.state.is_finished():
                value = _value(other)
                search.tell([torch.tensor(indices)], [None if value is None else value if maximize else -value])
                self._told.add(other.number)
            elif other.state == TrialState.RUNNING:
                running.append(indices)
        pending = {a.indices for a in search.pending}
        search.expect([torch.tensor(indices) for indices in dict.fromkeys(running) if indices not in pending])
        picked = search.ask(1)[0].indices
        return {name: d.choices[at] for (name, d), at in zip(self._space.items(), picked)}

    def _of_space(self, search_space: Mapping[str, CategoricalDistribution]) -> None:
        """A search of these parameters; the one there is, where it is of them."""
        if self._search is not None and self._space == search_space:
            return
        self._space = dict(search_space)
        # Before any parameter is known: of a single architecture no deviation is known.
        table = {name: _named(d.choices) for name, d in search_space.items()} or {"nothing": {"yet": 0, "more": 1}}
        # Names of parameters and of their options may be anything; a space's may not.
        clean = {_text(name, at): options for at, (name, options) in enumerate(table.items())}
        self._search = Search(
            OptunaSpace(clean),
            self._controller,
            task="an Optuna study",
            seed=self._seed,
            prior=self._prior,
            options=self._options,
        )
        self._told = set()

    def _indices(self, params: dict[str, Any]) -> tuple[int, ...] | None:
        """The option of each parameter; None for a trial that lacks one, or has a value that is none of them."""
        try:
            return tuple(int(d.to_internal_repr(params[name])) for name, d in self._space.items())
        except (KeyError, ValueError):
            return None


class OptunaSpace(Choices):
    """Of the parameters of a study. A class of its own for each study could not be pickled."""

    def __init__(self, options: Mapping[str, Mapping[str, Any]]):
        self.options = options  # pyright: ignore[reportAttributeAccessIssue]

    # What is kept of a space is kept by the space: those of two studies must not be taken for one.
    def __eq__(self, other: object) -> bool:
        return isinstance(other, OptunaSpace) and self._told == other._told

    def __hash__(self) -> int:
        return hash(self._told)

    @cached_property
    def _told(self) -> tuple[Any, ...]:
        """All that models know of a space."""
        return self.decisions, self.operations, self.operation_features


def run_of(
    study: optuna.Study,
    folder: Path | str,
    space: Space | str,
    *,
    task: Task | str = "an Optuna study",
    parameters: Mapping[str, str] | None = None,
) -> int:
    """Write a study's trials as a run: `nas show` reads it, and `nas meta-train --from-runs FOLDER` learns from it.

    Args:
        space: whose decisions the study's parameters are; a name, `FILE.py:Class`, or a space.
        task: what is known of the problem.
        parameters: the parameter of each decision, by the decision's name; those that are not named have the decision's name.
            A value is the name of an option, or its place from 0 where no option has that name.

    Returns how many trials it has: those that lack a decision are left out. Raises `UserError` where none is left, for a study of
    several objectives, and for a folder that holds a run already.
    """
    if len(study.directions) > 1:
        raise UserError(f"The study has {len(study.directions)} objectives; a run of it takes one.")
    if (Path(folder) / store.FILE).exists():
        raise UserError(f"'{folder}' holds a run already; name another folder.")
    sign = 1 if study.direction == optuna.study.StudyDirection.MAXIMIZE else -1
    plain = Search(space, "random_search", prior="none").space
    finished = [trial for trial in study.get_trials(deepcopy=False) if trial.state.is_finished()]
    read = [(trial, _architecture(plain, trial.params, parameters or {})) for trial in finished]
    known = [(trial, arch) for trial, arch in read if arch is not None and bool(plain.valid(arch[None]).all())]
    if not known:
        names = ", ".join(plain.decisions)
        raise UserError(f"None of {len(finished)} finished trials has an option for each of: {names}.")
    with Search(space, "random_search", task=task, folder=folder, prior="none") as search:
        for trial, arch in known:
            value, took = _value(trial), trial.duration
            search.tell(arch, None if value is None else sign * value, 0.0 if took is None else took.total_seconds())
    return len(known)


def _architecture(space: Space, params: Mapping[str, Any], names: Mapping[str, str]) -> torch.Tensor | None:
    """The row `[D]` that a trial's parameters are; None where one is missing or is no option."""
    row = []
    for decision, options in zip(space.decisions, space.operations):
        value = params.get(names.get(decision, decision))
        if str(value) in options:  # First: of kernels 1, 3 and 5 the option 1 is not the one at place 1.
            row.append(options.index(str(value)))
        elif isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(options):
            row.append(value)
        else:
            return None
    return torch.tensor(row)


def _value(trial: FrozenTrial) -> float | None:
    """What a trial came to; of a pruned one the last it reported."""
    value = trial.value if trial.state == TrialState.COMPLETE else None
    if trial.state == TrialState.PRUNED and trial.last_step is not None:
        value = trial.intermediate_values[trial.last_step]
    return value if value is not None and abs(value) <= LARGEST else None


def _named(options: Sequence[Any]) -> dict[str, Any]:
    return {_text(str(option), at): option for at, option in enumerate(options)}


def _text(name: str, at: int) -> str:
    """A name without what separates names, and no other's."""
    printable = "".join(letter if letter.isprintable() else " " for letter in name)
    return f"{at} {printable.replace('=', ':').replace(',', ';')}"
