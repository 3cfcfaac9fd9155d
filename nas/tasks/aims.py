"""Objectives as `--aim` has them: `accuracy,params`, `accuracy,nasbench201-hardware/pixel3/latency`, `score,size:max`.

The first is the task's score. `params` and `flops` are counted, `latency` is predicted from some measurements where networks are
trained; `TABLE/COLUMN` is looked up; of an objective function any figure that it returns will do. `:max` and `:min` say what is
wanted of a figure; without, scores are raised, a column goes as its table says, and all else is lowered.
Shapes: `S` searches, `B` architectures, `D` decisions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from controller import Proposal, Results
from nas import tables
from nas.evaluators.constrained import Constrained
from nas.evaluators.function import Function
from nas.evaluators.multi_objective import Aim, MultiObjective
from nas.evaluators.tabular import Tabular
from nas.tables import Table, network_counts
from nas.tasks import least_network
from nas.tasks.network_bound import FIGURES, Measurements, NetworkConstraint
from nas.types import Evaluator, HasMemory
from search_spaces import Space, UserError, _measured

_SCORE = ("score", "accuracy")
_DIRECTIONS = {"max": True, "min": False}
_SYMBOLS = {"millisecond": "ms", "second": "s", "million": None, "millijoule": "mJ", "percent": "%"}
"""Of units as tables write them."""
_UNITS = {"params": None, "flops": None, "latency": "ms"}


@dataclass(frozen=True)
class Score:
    """The task's score, with the penalties of its constraints."""

    name: str
    maximize = True
    unit = None
    digest = ""

    def values(self, proposal: Proposal, results: Results, seeds: Tensor) -> Tensor:
        return results.score


@dataclass(frozen=True)
class TableColumn:
    """A column of a table of the same space."""

    name: str
    table: Table
    column: str
    space: Space
    maximize: bool

    @property
    def unit(self) -> str | None:
        unit = self.table.columns[self.column].unit
        return _SYMBOLS.get(unit, unit) if unit else None

    @property
    def digest(self) -> str:
        return network_counts.digest(self.table, self.column)

    def values(self, proposal: Proposal, results: Results, seeds: Tensor) -> Tensor:
        return self._scale * network_counts.values(self.table, self.column, proposal.archs, self.space)

    @property
    def _scale(self) -> float:
        """Counts are counts, whatever a table has them in: `params<=20k` then means the same everywhere."""
        return 1e6 if self.table.columns[self.column].unit == "million" else 1.0


@dataclass(frozen=True)
class NetworkFigure:
    """Parameters, FLOPs or the predicted latency of the final network."""

    name: str
    constraint: NetworkConstraint
    """Which knows the figure; its bound is infinite."""
    maximize: bool = False

    digest = ""

    @property
    def unit(self) -> str | None:
        return _UNITS[self.constraint.figure]

    def values(self, proposal: Proposal, results: Results, seeds: Tensor) -> Tensor:
        return self.constraint.values(proposal.archs)


@dataclass(frozen=True)
class FunctionFigure:
    """A figure that the user's own function returns beside its score."""

    name: str
    function: Function
    maximize: bool
    unit = None
    digest = ""

    def values(self, proposal: Proposal, results: Results, seeds: Tensor) -> Tensor:
        return self.function.figure(self.name, proposal, seeds)


def several(text: str, evaluator: Evaluator, measurements: Measurements) -> MultiObjective:
    """The evaluator with the objectives that `text` names. Raises `UserError` for a name that leads nowhere."""
    words = [word.strip() for word in text.split(",")]
    if len(words) < 2 or not all(words):
        raise UserError(f"--aim is '{text}'; it takes two objectives or more, by commas, as accuracy,params.")
    inner = evaluator.inner if isinstance(evaluator, Constrained) else evaluator
    if isinstance(evaluator, HasMemory):
        raise UserError(
            f"--aim is '{text}'; task '{evaluator.task.name}' is scored by weights that are shared, and has one aim."
        )
    first, *others = words
    if first not in (*_SCORE, _metric(inner)):
        raise UserError(f"--aim begins with '{first}'; the first is the task's score: accuracy,{','.join(words[1:])}.")
    names = [_split(word)[0] for word in others]
    if len({first, *names}) < len(words) or set(names) & set(_SCORE):
        raise UserError(f"--aim is '{text}'; it takes each objective once.")
    aims: tuple[Aim, ...] = (Score(first), *(_aim(word, inner, measurements) for word in others))
    return MultiObjective(evaluator, replace(evaluator.task, aims=tuple(aim.name for aim in aims)), aims)


def models(evaluator: Evaluator) -> list[NetworkConstraint]:
    """What is known of the latencies of an evaluator's networks for its objectives; empty where none is one."""
    if not isinstance(evaluator, MultiObjective):
        return []
    of_network = [aim.constraint for aim in evaluator.aims if isinstance(aim, NetworkFigure)]
    return [constraint for constraint in of_network if constraint.model is not None]


def _metric(inner: Evaluator) -> str:
    """What the score is called besides."""
    if isinstance(inner, Tabular):
        return inner.table.columns[inner.search_column].metric
    return getattr(inner.training, "metric", "score")


def _split(word: str) -> tuple[str, bool | None]:
    """The name of an objective, and whether it is said to be raised or lowered."""
    name, colon, direction = word.rpartition(":")
    return (name, _DIRECTIONS[direction]) if colon and direction in _DIRECTIONS else (word, None)


def _aim(word: str, inner: Evaluator, measurements: Measurements) -> Aim:
    name, maximize = _split(word)
    if "/" in name:
        return _column(name, maximize, inner)
    if isinstance(inner, Tabular) and (column := _beside(name, inner)) is not None:
        return TableColumn(name, inner.table, column, inner.space, _direction(inner.table, column, maximize))
    if name in ("params", "flops") or (name == "latency" and inner.training is not None):
        return NetworkFigure(name, _of_network(name, inner, measurements), bool(maximize))
    if isinstance(inner, Function):
        inner.needs.append(name)
        return FunctionFigure(name, inner, bool(maximize))
    raise UserError(f"--aim has '{name}'; {_there_are(name, inner)}")


def _of_network(name: str, inner: Evaluator, measurements: Measurements) -> NetworkConstraint:
    training = inner.training
    space = inner.space if training is None else training.final_space
    space = space.whole if isinstance(space, _measured.Part) else space
    model = None
    if name == "latency":
        model = least_network.model_of(space, inner.task, (), measurements)
    as_is = isinstance(inner, Function)
    return NetworkConstraint(name, name, float("inf"), space, inner.task, model, measurements.device, as_is)


def _column(name: str, maximize: bool | None, inner: Evaluator) -> TableColumn:
    """The column `TABLE/COLUMN`."""
    table_name, _, column = name.partition("/")
    table = tables.find(table_name)
    if table.space.replace("-", "_") != inner.space.name.replace("-", "_"):
        raise UserError(f"--aim has '{name}', of space '{table.space}'; the task's is '{inner.space.name}'.")
    if table.column(column).dim() != 1:
        raise UserError(f"--aim has '{name}', a column with a figure for each seed; it takes one a row.")
    if table.columns[column].split == "test":
        raise UserError(f"--aim has '{name}', a figure of test examples, which no search may see.")
    return TableColumn(name, table, column, inner.space, _direction(table, column, maximize))


def _direction(table: Table, column: str, maximize: bool | None) -> bool:
    return table.columns[column].maximize if maximize is None else maximize


def _beside(name: str, inner: Tabular) -> str | None:
    """The column of the task's own table with a figure of that name for the task's dataset."""
    dataset = inner.table.columns[inner.search_column].task
    columns = inner.table.columns
    own = [
        c for c, about in columns.items() if about.task == dataset and about.metric == name and about.split != "test"
    ]
    return next((c for c in own if inner.table.column(c).dim() == 1), None)


def _there_are(name: str, inner: Evaluator) -> str:
    """What would do in place of a name."""
    space = inner.space.name.replace("-", "_")
    found = [
        f"{table}/{column}"
        for table in tables.names()
        if tables.find(table).space.replace("-", "_") == space
        for column, about in tables.find(table).columns.items()
        if about.metric == name
    ]
    if found:
        more = f" and {len(found) - 3} more" if len(found) > 3 else ""
        return f"tables have {', '.join(found[:3])}{more}: name one."
    kinds = ", ".join(FIGURES if inner.training is not None else FIGURES[:2])
    return f"it takes {kinds}, or a column of a table of the same space as TABLE/COLUMN."
