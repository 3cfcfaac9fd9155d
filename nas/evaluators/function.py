"""Scores by a person's own Python function, in processes that may crash, hang or use up memory without harm to the search.

`evaluate(network, task, epochs, seed)` gives a number, the higher the better, or a dict with `score` and any other figures; of
the four arguments it takes those that it names, and `arch` for the architecture itself. A figure called `test` is the report.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from controller import Proposal, Results
from nas import datasets, evaluation_file, plugins
from nas.datasets import meta_features
from nas.evaluation_file import FILE, WEIGHTS, Call, Outcome, is_number
from nas.evaluators import _user_function
from nas.evaluators._user_function import absolute
from nas.guarded import Answer, Workers
from nas.ray_workers import RayWorkers
from nas.settings import describe_type, parse_value
from nas.types import Defaults, Evaluate, TrainingEvaluator
from search_spaces import Space, Task, UserError, _ops, unknown

__all__ = ["Function"]

TASK = "my task"
"""What a task is called that nobody named."""
EPOCHS = 10
"""What a function is asked for where nobody says."""
_GIVE_UP = 8
"""Evaluations that fail, with none that succeeds, after which the search ends: as for trainings of ours."""
_SHAPE = (3, 32, 32)
_CLASSES = 10


@dataclass(frozen=True)
class Function:
    """A function's scores, each computed once for an architecture, its epochs and its seed."""

    space: Space
    task: Task
    objective: str
    """`FILE.py:function`, the path whole."""
    epochs: int = EPOCHS
    timeout: float | None = None
    workers: int = 1
    synchronous: bool = False
    """Whether a step waits for all of its evaluations."""
    memory: float | None = None
    ray: str = ""
    """Where its calls run: empty for this machine, else what `RayWorkers` takes as address."""
    gpus: float = 0.0
    space_name: str = "nasbench201"
    outcomes: dict[Call, Outcome] = field(default_factory=dict, repr=False, compare=False)
    _open: dict[int, Call] = field(default_factory=dict, repr=False, compare=False)
    needs: list[str] = field(default_factory=list, repr=False, compare=False)
    """Figures without which an evaluation has failed: those that are objectives."""
    _file: list[Path] = field(default_factory=list, repr=False, compare=False)

    training: TrainingEvaluator | None = None

    @property
    def defaults(self) -> Defaults:
        return Defaults(budget=32, batch=self.workers if self.synchronous else 1)

    @property
    def concurrency(self) -> int:
        return 1 if self.synchronous else self.workers

    @classmethod
    def of(cls, name: str, **settings: str) -> Function:
        """That of a task's name. Raises `UserError` for a setting that is none and a function that cannot be called."""
        given = dict(settings)
        objective = absolute(given.pop("objective", ""))
        space_name = given.pop("space", "nasbench201")
        shape = _shape(given.pop("input_shape", ""))
        counts = {key: _number(key, given.pop(key, ""), int) for key in ("epochs", "workers", "num_classes")}
        limits = {key: _number(key, given.pop(key, ""), float) for key in ("timeout", "memory", "gpus")}
        given_ray = given.pop("ray", "")
        if limits["gpus"] and not given_ray:
            raise UserError(f"-t gpus is {limits['gpus']:g}; it is of --ray, which shares out graphics cards.")
        synchronous = _flag("synchronous", given.pop("synchronous", "false"))
        if given:
            there_are = sorted(("input_shape", "ray", "space", "synchronous", *counts, *limits))
            raise unknown("setting of an objective function", next(iter(given)), there_are)
        function = _user_function.load(objective)
        named = _user_function.arguments(objective, function)
        epochs = counts["epochs"] or EPOCHS
        fidelities = tuple(range(1, epochs + 1)) if "epochs" in named else ()
        known = _task_of_data(name)
        task = Task(
            name, shape or (known.input_shape if known else _SHAPE),
            counts["num_classes"] or (known.num_classes if known else _CLASSES), known.features if known else (), fidelities,
            data_known=known is not None or bool(shape and counts["num_classes"]),
        )  # fmt: skip
        return cls(
            plugins.load("space", space_name)(), task, objective, epochs, limits["timeout"], counts["workers"] or 1,
            synchronous, limits["memory"], given_ray, limits["gpus"] or 0.0, space_name,
        )  # fmt: skip

    @property
    def description(self) -> str:
        limit = f", at most {self.timeout:g} s each" if self.timeout else ""
        return f"score: what {self.objective} returns{limit}; report: its value 'test', if it returns one"

    @cached_property
    def data_digest(self) -> str:
        """Of the function's file."""
        return hashlib.sha256(Path(self.objective.rpartition(":")[0]).read_bytes()).hexdigest()[:16]

    @cached_property
    def pool(self) -> Workers | RayWorkers:
        """The processes that evaluate."""
        given = (self.objective, self.space_name, self.task)
        if self.ray:
            return RayWorkers(
                _user_function.caller, given, self.workers, self.timeout, self.memory, self.ray, self.gpus
            )  # fmt: skip
        return Workers(_user_function.caller, given, self.workers, self.timeout, self.memory)

    def cache_to(self, folder: Path) -> None:
        """Append every evaluation to a file of a run's folder from now on, and know those in it."""
        self._file[:] = [folder / FILE]
        for line in evaluation_file.read(folder):
            call = Call(line["index"], line["epochs"], line["seed"])
            score = math.nan if line["score"] is None else line["score"]
            self.outcomes[call] = Outcome(score, line["seconds"], line["error"], line["figures"])
        for left in folder.glob(f".{WEIGHTS}.*"):
            left.unlink(missing_ok=True)  # Of a session that was killed.

    def load(self, seeds: Tensor) -> Evaluate:
        if self.ray:
            _ = self.pool  # A cluster that does not answer is said before a run is made.

        def evaluate(proposal: Proposal) -> Results:
            calls = self._calls(proposal, seeds)
            self._evaluate(calls)
            found = [self.outcomes[call] for call in calls]
            numbers_ = torch.tensor([[o.score, o.seconds] for o in found])
            return Results(*numbers_.view(*proposal.archs.shape[:2], 2).unbind(-1))

        return evaluate

    def figure(self, name: str, proposal: Proposal, seeds: Tensor) -> Tensor:
        """A figure that the function returned for each evaluation of a proposal, float32 `[S, B]`; NaN where it returned none."""
        found = [self.outcomes[call].figures.get(name) for call in self._calls(proposal, seeds)]
        values = [math.nan if value is None or not is_number(value) else float(value) for value in found]
        return torch.tensor(values).view(proposal.archs.shape[:2])

    def _calls(self, proposal: Proposal, seeds: Tensor) -> list[Call]:
        archs = proposal.archs  # Not `canonical`: what a function makes of an architecture is its own affair.
        S, B, _ = archs.shape
        epochs = torch.full((S, B), self.epochs) if proposal.epochs is None else proposal.epochs
        indices = _ops.whole_indices(archs, self.space.choices)
        flat = zip(indices, epochs.flatten().tolist(), seeds.repeat_interleave(B).tolist())
        return [Call(index, e, seed) for index, e, seed in flat]

    def report(self, archs: Tensor) -> Tensor | None:
        """The figure `test` of the latest evaluation of each; NaN for one that has none, None where no evaluation has one."""
        tests = {c.index: o.figures["test"] for c, o in self.outcomes.items() if is_number(o.figures.get("test"))}
        if not tests:
            return None
        indices = _ops.whole_indices(archs, self.space.choices)
        return torch.tensor([float(tests.get(i, math.nan)) for i in indices]).view(archs.shape[:-1])

    def failures(self) -> list[str]:
        """Why evaluations failed, in the order in which they did."""
        return [o.error for o in self.outcomes.values() if o.error]

    def submit(self, ticket: int, arch: Tensor, epochs: int | None, seed: int) -> None:
        (index,) = _ops.whole_indices(arch[None], self.space.choices)
        self._open[ticket] = call = Call(index, self.epochs if epochs is None else epochs, seed)
        if call not in self.outcomes:
            self.pool.submit(ticket, self._task(call, ticket))

    def wait(self) -> tuple[int, float, float]:
        known = next((t for t, call in self._open.items() if call in self.outcomes), None)
        ticket = known
        if ticket is None:
            ticket, answer = self.pool.wait()
            self._keep(self._open[ticket], ticket, answer)
        outcome = self.outcomes[self._open.pop(ticket)]
        return ticket, outcome.score, outcome.seconds

    def abandon(self) -> None:
        self._open.clear()
        self.pool.abandon()

    def _evaluate(self, calls: Iterable[Call]) -> None:
        missing = [call for call in dict.fromkeys(calls) if call not in self.outcomes]
        for number, answer in self.pool.map([self._task(call, number) for number, call in enumerate(missing)]):
            self._keep(missing[number], number, answer)

    def _task(self, call: Call, number: int) -> tuple[Any, ...]:
        """What a worker needs for a call."""
        arch = _ops.from_whole_indices([call.index], self.space.choices)[0]
        return tuple(arch.tolist()), call.epochs, call.seed, self._weights(number), self._best()

    def _best(self) -> float:
        return max((o.score for o in self.outcomes.values() if not math.isnan(o.score)), default=-math.inf)

    def _keep(self, call: Call, number: int, answer: Answer) -> None:
        """An outcome, written before anything is made of it."""
        before = self._best()
        outcome = self.outcomes[call] = evaluation_file.outcome(*answer, self.needs)
        self._write(call, outcome)
        if (beside := self._weights(number)) and beside.is_file():
            if outcome.score > before:
                beside.replace(beside.with_name(WEIGHTS))
            beside.unlink(missing_ok=True)
        self._refuse_hopeless()

    def _refuse_hopeless(self) -> None:
        failures = self.failures()
        if len(failures) == len(self.outcomes) >= _GIVE_UP:
            raise UserError(
                f"All {len(failures)} evaluations so far have failed; the last with {failures[-1]}. Nothing can be searched "
                "until that is mended; then start a new run."
            )

    def _weights(self, number: int) -> Path | None:
        """Where a worker writes the weights of a network that may be the best so far."""
        return self._file[0].with_name(f".{WEIGHTS}.{number}") if self._file else None

    def _write(self, call: Call, outcome: Outcome) -> None:
        if not self._file:
            return
        text = self.space.describe(_ops.from_whole_indices([call.index], self.space.choices)[0])
        row = {"architecture": text, **call._asdict(), **outcome._asdict()}
        row["score"] = None if math.isnan(outcome.score) else outcome.score
        with self._file[0].open("a", encoding="utf-8") as file:
            # The line break comes first, so that a line cut short by a kill does not spoil the next.
            file.write("\n" + json.dumps(row))


def _task_of_data(name: str) -> Task | None:
    """What a dataset says of itself, where the task is the name of one that we read; the function reads it by itself."""
    if name != "digits" and not name.startswith(("npz:", "folder:", "hf:")):
        return None
    data = datasets.load(name)
    shape: Any = tuple(data.x_train.shape[1:])
    return Task(name, shape, len(data.class_names), meta_features.features(data.x_train, data.y_train))


def _number(key: str, text: str, kind: type) -> Any:
    """A setting above zero; None where it is not given."""
    if not text:
        return None
    value = parse_value(text, kind)
    if value is None or not 0 < value < math.inf:
        raise UserError(f"Setting {key} is '{text}'; it takes {describe_type(kind)} above zero.")
    return value


def _flag(key: str, text: str) -> bool:
    value = parse_value(text, bool)
    if value is None:
        raise UserError(f"Setting {key} is '{text}'; it takes true or false.")
    return value


def _shape(text: str) -> tuple[int, int, int] | None:
    if not text:
        return None
    parts = text.replace("x", " ").split()
    if len(parts) != 3 or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise UserError(f"Setting input_shape is '{text}'; it takes CHANNELSxHEIGHTxWIDTH, as 3x32x32.")
    return int(parts[0]), int(parts[1]), int(parts[2])
