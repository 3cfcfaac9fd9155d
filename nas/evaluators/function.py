"""Scores by a person's own Python function, in processes that may crash, hang or use up memory without harm to the search.

`evaluate(network, task, epochs, seed)` gives a number, the higher the better, or a dict with `score` and any other figures; of
the four arguments it takes those that it names, and `arch` for the architecture itself. A figure called `test` is the report.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import math
import numbers
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from controller import Proposal, Results
from nas import datasets, plugins
from nas.datasets import meta_features
from nas.guarded import Answer, Workers
from nas.ray_workers import RayWorkers
from nas.settings import describe_type, parse_value
from nas.types import Architecture, Defaults, Evaluate, TrainingEvaluator
from search_spaces import Space, Task, UserError, _ops, unknown

__all__ = ["Function"]

FILE = "evaluations.jsonl"
"""In a run's folder, a line for each evaluation."""
WEIGHTS = "weights.safetensors"
"""In a run's folder, the weights that the network of the best evaluation had when the function returned."""
TASK = "my task"
"""What a task is called that nobody named."""
EPOCHS = 10
"""What a function is asked for where nobody says."""
_ARGUMENTS = ("network", "arch", "task", "epochs", "seed")
_GIVE_UP = 8
"""Evaluations that fail, with none that succeeds, after which the search ends: as for trainings of ours."""
_SHAPE = (3, 32, 32)
_CLASSES = 10


class Call(NamedTuple):
    """Which evaluation."""

    index: int
    epochs: int
    seed: int


class Outcome(NamedTuple):
    """What it gave."""

    score: float
    """NaN where it failed."""
    seconds: float
    error: str
    figures: dict[str, Any]
    """All but the score that the function gave."""


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
        function = load(objective)
        named = arguments(objective, function)
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
        return f"score: what {self.objective} returns{limit}; report: its figure 'test', where it returns one"

    @cached_property
    def data_digest(self) -> str:
        """Of the function's file."""
        return hashlib.sha256(Path(self.objective.rpartition(":")[0]).read_bytes()).hexdigest()[:16]

    @cached_property
    def pool(self) -> Workers | RayWorkers:
        """The processes that evaluate."""
        if self.ray:
            return RayWorkers(
                _caller, (self.objective, self.space_name, self.task), self.workers, self.timeout, self.memory, self.ray,
                self.gpus,
            )  # fmt: skip
        return Workers(_caller, (self.objective, self.space_name, self.task), self.workers, self.timeout, self.memory)

    def cache_to(self, folder: Path) -> None:
        """Append every evaluation to a file of a run's folder from now on, and know those in it."""
        self._file[:] = [folder / FILE]
        for line in read(folder):
            call = Call(line["index"], line["epochs"], line["seed"])
            score = math.nan if line["score"] is None else line["score"]
            self.outcomes[call] = Outcome(score, line["seconds"], line["error"], line["figures"])
        for left in folder.glob(f".{WEIGHTS}.*"):
            left.unlink(missing_ok=True)  # Of a session that was killed.

    def load(self, seeds: Tensor) -> Evaluate:
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
        values = [float(value) if _is_number(value) else math.nan for value in found]
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
        tests = {c.index: o.figures["test"] for c, o in self.outcomes.items() if _is_number(o.figures.get("test"))}
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
        outcome = self.outcomes[call] = _outcome(*answer)
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


def read(folder: Path) -> list[dict[str, Any]]:
    """The evaluations of a run's folder; a line that a kill cut short is left out. Empty where no function scored."""
    path, found = folder / FILE, []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            row = json.loads(line)
            str(row["architecture"])
            Call(int(row["index"]), int(row["epochs"]), int(row["seed"]))
            Outcome(float(row["score"] or 0.0), float(row["seconds"]), str(row["error"]), dict(row["figures"]))
        except (ValueError, KeyError, TypeError):
            continue
        found.append(row)
    return found


def weights(folder: Path) -> tuple[str, dict[str, Tensor]] | None:
    """The architecture of the best evaluation, in words, and the weights its network had then; None where none are kept."""
    path = folder / WEIGHTS
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            return (file.metadata() or {})["arch"], {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError) as error:
        raise UserError(f"'{path}' is not a whole file of weights ({error}).") from None


def absolute(objective: str) -> str:
    """`FILE.py:function` with a whole path. Raises `UserError` for a text of another form."""
    file, colon, name = objective.rpartition(":")
    if not colon or not file.endswith(".py") or not name.isidentifier():
        raise UserError(f"--objective is '{objective}'; it takes FILE.py:function.")
    return f"{Path(file).resolve()}:{name}"


def load(objective: str) -> Callable[..., Any]:
    """The function. Raises `UserError` where it is not there, or its file cannot be imported."""
    file, _, name = objective.rpartition(":")
    module = plugins.module_of_file(Path(file), "an objective function is FILE.py:function")
    found = getattr(module, name, None)
    if not callable(found):
        functions = sorted(
            n for n, f in vars(module).items() if inspect.isfunction(f) and f.__module__ == module.__name__
        )
        raise unknown(f"function of '{file}'", name, functions)
    return found


def arguments(objective: str, function: Callable[..., Any]) -> tuple[str, ...]:
    """Which of `_ARGUMENTS` a function takes; a single one of another name takes the architecture, said as `*`."""
    try:
        parameters = [p for p in inspect.signature(function).parameters.values() if p.kind is not p.VAR_POSITIONAL]
    except (TypeError, ValueError):
        return ("*",)
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return _ARGUMENTS
    needed = [p for p in parameters if p.default is p.empty or p.name in _ARGUMENTS]
    wrong = [p.name for p in needed if p.name not in _ARGUMENTS]
    if len(needed) == 1 and wrong:
        return ("*",)
    if wrong or not needed:
        what = f"has an argument '{wrong[0]}'" if wrong else "has no argument"
        raise UserError(
            f"Function '{objective}' {what}; it takes some of {', '.join(_ARGUMENTS)}, or the architecture alone."
        )
    return tuple(p.name for p in needed)


def _caller(objective: str, space_name: str, task: Task) -> Callable[..., Any]:
    """In a worker: what calls the function for an architecture."""
    function, space = load(objective), plugins.load("space", space_name)()
    named = arguments(objective, function)

    def call(indices: tuple[int, ...], epochs: int, seed: int, beside: Path | None, best: float) -> Any:
        arch = Architecture(space, indices, epochs)
        torch.manual_seed(seed)  # Of the network's weights, and of a function that sets none itself.
        given = {"arch": arch, "task": task, "epochs": epochs, "seed": seed}
        if "network" in named:
            given["network"] = arch.build(task)
        value = function(arch) if named == ("*",) else function(**{name: given[name] for name in named})
        value = _plain(value)
        score = value.get("score") if isinstance(value, dict) else value
        if beside is not None and "network" in given and isinstance(score, (int, float)) and score > best:
            state = {k: v.detach().cpu().contiguous().clone() for k, v in given["network"].state_dict().items()}
            beside.write_bytes(safetensors.torch.save(state, {"format": "pt", "arch": arch.text}))
        return value

    return call


def _plain(value: Any) -> Any:
    """A value that goes through a pipe and into JSON: numbers, texts, and dicts of them."""
    if isinstance(value, dict):
        return {str(key): _plain(v) for key, v in value.items()}
    if (hasattr(value, "item") and getattr(value, "size", 1) in (1, ())) or (
        torch.is_tensor(value) and value.numel() == 1
    ):
        return value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return float(value) if isinstance(value, numbers.Real) else repr(value)[:200]


def _outcome(value: Any, seconds: float, error: str) -> Outcome:
    figures = dict(value) if isinstance(value, dict) else {"score": value}
    score = figures.pop("score", None)
    if error:
        return Outcome(math.nan, seconds, error, {})
    if not _is_number(score):
        given = (
            f"a dict without 'score' ({', '.join(figures) or 'empty'})"
            if score is None and isinstance(value, dict)
            else repr(score)
        )
        return Outcome(math.nan, seconds, f"the function returned {given}, which is no number", figures)
    if not math.isfinite(score):
        return Outcome(math.nan, seconds, f"the function returned {score}", figures)
    clean = {k: (None if isinstance(v, float) and not math.isfinite(v) else v) for k, v in figures.items()}
    return Outcome(float(score), seconds, "", clean)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


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
