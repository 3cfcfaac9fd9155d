"""The catalogue: from a task's name to the evaluator that scores architectures on it.

`TABLE/TASK[@EPOCHS]` reads a table (`nasbench201/cifar10@200`), `nats:PATH/TASK[@EPOCHS]` nats_bench's own files; a data set's
name (`digits`) trains. `~drawn` after either's task draws one training seed for each evaluation where there are several, instead
of their mean. `TASK+LIMIT` takes points off what exceeds a limit:
`nasbench201/cifar100@200+nasbench201-hardware/fpga/latency<=q30` (see `nas.limits`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from nas import plugins, tables
from nas.datasets import meta_features
from nas.evaluators.constrained import Constrained
from nas.evaluators.tabular import Fidelity, Tabular
from nas.tables import Column, Table
from nas.tasks import constraints
from nas.types import Evaluator
from search_spaces import Space, Task, UserError


class _Data(NamedTuple):
    input_shape: tuple[int, int, int]
    num_classes: int


_KNOWN = {
    "cifar10": _Data((3, 32, 32), 10),
    "cifar100": _Data((3, 32, 32), 100),
    "ImageNet16-120": _Data((3, 16, 16), 120),
    "ninapro": _Data((1, 16, 52), 18),
    "class_object": _Data((3, 256, 256), 75),
    "class_scene": _Data((3, 256, 256), 47),
    "jigsaw": _Data((3, 255, 255), 1000),
    "room_layout": _Data((3, 256, 256), 9),
    "digits": _Data((1, 8, 8), 10),
    "rsscn7_aerial": _Data((3, 16, 16), 7),
    "brain_tumor_mri": _Data((1, 16, 16), 4),
    "fashion_mnist": _Data((1, 16, 16), 10),
    "arabic_chars28": _Data((1, 16, 16), 28),
}
"""What tables do not say of the data behind their tasks."""

_SPLIT_RANK = {"valid": 0, None: 1, "test": 2}
SCORES = ("accuracy", "valid_accuracy", "robust_accuracy", "score")
"""Metrics that a search may raise."""


class Searchable(NamedTuple):
    """The columns a table's task is searched and reported by."""

    table: Table
    name: str
    epochs: int | None
    search: str
    report: str | None
    cost: str | None
    cost_scale: float


def searchable(table: Table) -> list[Searchable]:
    """The tasks of a table that have an accuracy to raise, one for each fidelity."""
    scores = {n: c for n, c in table.columns.items() if c.maximize and c.metric in SCORES and c.split != "train"}
    keys = dict.fromkeys((c.task, c.epochs) for c in scores.values())
    return [_columns(table, task, epochs, scores) for task, epochs in keys]


def _columns(table: Table, task: str, epochs: int | None, scores: dict[str, Column]) -> Searchable:
    at_fidelity = [n for n, c in scores.items() if c.task == task and c.epochs == epochs]
    search = min(at_fidelity, key=lambda n: (_SPLIT_RANK[scores[n].split], "per_seed" in n))
    tests = [n for n, c in scores.items() if c.task == task and c.split == "test" and n != search]
    report = min(tests, key=lambda n: (-(scores[n].epochs or 0), "per_seed" in n)) if tests else None
    costs = {c.epochs: n for n, c in table.columns.items() if c.task == task and c.metric == "train_seconds"}
    cost, scale = costs.get(epochs), 1.0
    if cost is None and costs and epochs:
        full = max(e for e in costs if e)
        cost, scale = costs[full], epochs / full
    return Searchable(table, task, epochs, search, report, cost, scale)


def find(name: str, **data: str) -> Evaluator:
    """The evaluator of a task; `data` are settings of its training. Raises `UserError` for what leads nowhere."""
    if "<=" in name:
        plain, *texts = name.split("+")
        inner = find(plain, **data)
        bounds = tuple(constraints.parse(text, inner.space) for text in texts)
        return Constrained(
            inner, replace(inner.task, name=name, constraints=tuple(b.penalty_weight for b in bounds)), bounds
        )
    table_name, slash, rest = name.partition("/")
    if slash and ":" not in table_name:
        if data:
            raise UserError(f"Task '{name}' reads a table; it takes no setting '{next(iter(data))}'.")
        return _tabular(name, tables.find(table_name), rest)
    if name.startswith("nats:"):
        return plugins.load("evaluator", "nats_bench").of(name, **data)
    train = plugins.load("evaluator", "train")
    return train.of(name, **data)


def _tabular(name: str, table: Table, rest: str) -> Tabular:
    rest, _, suffix = rest.partition("~")
    if suffix not in ("", "drawn"):
        raise UserError(f"Task '{name}' ends in '~{suffix}'; after '~' there is: drawn.")
    task_name, _, epochs = rest.partition("@")
    known = searchable(table)
    ours = every = [s for s in known if s.name == task_name]
    if not ours:
        raise plugins.unknown(f"task of table '{table.name}'", task_name, sorted({s.name for s in known}))
    if epochs:
        there_are = [str(s.epochs) for s in ours]
        if epochs not in there_are:
            raise UserError(f"Task '{name}' has no figures after '{epochs}' epochs; there are: {', '.join(there_are)}.")
        ours = [s for s in ours if str(s.epochs) == epochs]
    chosen = max(ours, key=lambda s: s.epochs or 0)
    lower = {s.epochs: Fidelity(s.search, s.cost, s.cost_scale) for s in every if s.epochs and _is_shorter(s, chosen)}
    task = replace(describe_task(name, task_name), fidelities=(*sorted(lower), *filter(None, [chosen.epochs])))
    return Tabular(
        space_of(table), task, table, chosen.search, chosen.report, chosen.cost, chosen.cost_scale,
        drawn=suffix == "drawn", lower=lower,
    )  # fmt: skip


def _is_shorter(one: Searchable, other: Searchable) -> bool:
    """Whether the first is the second after fewer epochs: the same metric of the same split, or a test figure could slip in."""
    if one.epochs is None or other.epochs is None or one.epochs >= other.epochs:
        return False
    columns = one.table.columns[one.search], other.table.columns[other.search]
    return columns[0]._replace(epochs=None) == columns[1]._replace(epochs=None)


def space_of(table: Table) -> Space:
    """The space a table measures, with the benchmark's own network."""
    return plugins.load("space", table.space)()


def describe_task(name: str, data: str) -> Task:
    """The task called `name`, on the data set `data`: its shape where we know it, that of CIFAR-10 where we do not.

    Features are those of the data set itself where it is described, and none where it is not.
    """
    plain = data.split("-aa_")[0].split("-fgsm")[0]
    known = _KNOWN.get(plain, _KNOWN["cifar10"])
    return Task(name, known.input_shape, known.num_classes, meta_features.known(plain))
