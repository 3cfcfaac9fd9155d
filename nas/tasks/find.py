"""From a task's name to the evaluator that scores architectures on it; `nas.tasks.name` has the grammar of names."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from nas import plugins, tables
from nas.datasets import meta_features, refuse_path
from nas.evaluators.constrained import constrained
from nas.evaluators.tabular import Fidelity, Tabular
from nas.tables import Column, Images, Table, training_seeds
from nas.tasks import constraints, described_data, fitted_size, network_constraints
from nas.tasks.described_data import base_dataset
from nas.tasks.name import TaskName
from nas.tasks.network_bound import Measurements, Networks
from nas.types import Evaluator
from search_spaces import Space, Task, UserError, _measured, _ops, _sampling, unknown

_SPLIT_RANK = {"valid": 0, None: 1, "test": 2}
SCORES = ("accuracy", "valid_accuracy", "robust_accuracy", "score")
"""Metrics that a search may raise."""
_TEST_SCORE = "test_accuracy"
"""A metric that is reported and not raised: some tables name the split in it."""


class TaskColumns(NamedTuple):
    """The columns that a table has for one task at one fidelity."""

    table: Table
    name: str
    epochs: int | None
    objective: str
    """What a search maximizes."""
    test_metric: str | None
    """What is reported of the best; never shown to a search."""
    cost: str | None
    cost_scale: float

    @property
    def drawable(self) -> str | None:
        """The column with the objective of each training seed apart; None where the table does not hold several."""
        about = self.table.columns[self.objective]
        alike = [n for n, c in self.table.columns.items() if c._replace(seeds=None) == about._replace(seeds=None)]
        held = (
            n for n in sorted(alike, key=lambda n: n != self.objective) if training_seeds.can_be_drawn(self.table, n)
        )
        return next(held, None)


def task_columns(table: Table) -> list[TaskColumns]:
    """The tasks of a table that have an accuracy to raise, one for each fidelity."""
    by_task: dict[str, dict[str, Column]] = {}
    for name, column in table.columns.items():
        by_task.setdefault(column.task, {})[name] = column
    keys = dict.fromkeys((c.task, c.epochs) for c in table.columns.values() if _is_score(c))
    return [_columns(table, task, epochs, by_task[task]) for task, epochs in keys]


def _is_score(column: Column) -> bool:
    return column.maximize and column.metric in SCORES and column.split != "train"


def _columns(table: Table, task: str, epochs: int | None, columns: dict[str, Column]) -> TaskColumns:
    """Of a task by all of its columns."""
    scores = {n: c for n, c in columns.items() if _is_score(c)}
    at_fidelity = [n for n, c in scores.items() if c.epochs == epochs]
    search = min(at_fidelity, key=lambda n: (_SPLIT_RANK[scores[n].split], "per_seed" in n))
    # The test examples that a search chose by give no estimate any more, after however many epochs.
    chosen_by_test = scores[search].split == "test"
    reported = {n: c for n, c in columns.items() if n in scores or (c.metric == _TEST_SCORE and c.maximize)}
    tests = [n for n, c in reported.items() if c.split == "test" and not chosen_by_test]
    report = min(tests, key=lambda n: (-(reported[n].epochs or 0), "per_seed" in n)) if tests else None
    costs = {c.epochs: n for n, c in columns.items() if c.metric == "train_seconds"}
    cost, scale = costs.get(epochs), 1.0
    if cost is None and costs and epochs:
        full = max(e for e in costs if e)
        cost, scale = costs[full], epochs / full
    return TaskColumns(table, task, epochs, search, report, cost, scale)


def find(name: str, measurements: Measurements | None = None, **options: str) -> Evaluator:
    """The evaluator of a task; `options` are those of its training. Raises `UserError` for what leads nowhere.

    Args:
        measurements: where latencies are measured, for a constraint on one; None: here and now.
    """
    parsed = TaskName.parse(name)
    plain = parsed.unconstrained()
    if options and plain.kind not in ("data", "evaluator", "few_shot"):
        raise UserError(f"Task '{name}' reads a table; it takes no setting '{next(iter(options))}'.")
    if plain.kind == "table":
        if plain.table not in tables.names():
            refuse_path(name)
        inner = _tabular(plain, tables.find(plain.table))
    elif plain.kind == "nats":
        where = {
            "path": plain.table,
            "dataset": plain.dataset,
            "epochs": plain.epochs,
            "one_seed": plain.seeds == "one-seed",
        }
        inner = plugins.load("evaluator", "nats_bench").of(str(plain), **where)
    elif plain.kind == "evaluator":
        inner = plugins.load("evaluator", plain.table).of(plain.dataset, **options)
    elif plain.kind == "few_shot":
        inner = plugins.load("evaluator", "few_shot").of(plain.dataset, **options)
    else:
        if plain.dataset in tables.names():
            raise _of_a_table(plain.dataset)
        kind = "pipeline" if options.get("space") == "pipeline" else "train"
        kind = "zero_cost" if "proxy" in options else kind
        inner = plugins.load("evaluator", kind).of(plain.dataset, **options)
    if parsed.network_constraints and plain.kind == "data" and not options.keys() & set(fitted_size.OPTIONS):
        inner = fitted_size.fit(inner, parsed, measurements or Measurements())
    networks = None if inner.training is None else Networks(inner.training.final_space, inner.training.task)
    return bounded(inner, parsed, networks, measurements)


def bounded(
    inner: Evaluator, parsed: TaskName, networks: Networks | None, measurements: Measurements | None = None
) -> Evaluator:
    """An evaluator within the constraints of a task's name; itself where there are none.

    Args:
        networks: what a constraint as `params<=20k` is on; None: there is nothing.
    """
    if not parsed.constraints:
        return inner
    of_network = network_constraints.of(parsed, networks, measurements or Measurements())
    # In the order of the name.
    of_table = iter(constraints.of(parsed, inner.space))
    by_text = {c.text: c for c in of_network}
    bounds = tuple(by_text[text] if text in by_text else next(of_table) for text in parsed.constraints)
    weights = tuple(bound.penalty_weight for bound in bounds)
    part = network_constraints.part_of(inner.space, of_network)
    facts = tuple(bound.facts for bound in bounds)
    task = replace(inner.task, name=str(parsed), constraints=weights, constraint_facts=facts)
    return constrained(inner, task, bounds, part)


def _of_a_table(table: str) -> UserError:
    """For the name of a table alone."""
    there_are = ", ".join(sorted({f"{table}/{found.name}" for found in task_columns(tables.find(table))}))
    return UserError(f"'{table}' is a table; a task is one of its datasets: {there_are}.")


def _tabular(name: TaskName, table: Table) -> Tabular:
    known = task_columns(table)
    ours = every = [s for s in known if s.name == name.dataset]
    if not ours:
        raise unknown(f"task of table '{table.name}'", name.dataset, sorted({s.name for s in known}))
    if name.epochs is not None:
        ours = [s for s in every if s.epochs == name.epochs]
        if not ours:
            there_are = ", ".join(str(s.epochs) for s in every)
            raise UserError(f"Task '{name}' has no metrics after {name.epochs} epochs; there are: {there_are}.")
    chosen = max(ours, key=lambda s: s.epochs or 0)
    one_seed = name.seeds == "one-seed"
    lower = {
        s.epochs: Fidelity((one_seed and s.drawable) or s.objective, s.cost, s.cost_scale)
        for s in every
        if s.epochs and _is_shorter(s, chosen)
    }
    described = describe_task(str(name), name.dataset, table.images.get(name.dataset.partition("-")[0]))
    task = replace(described, fidelities=(*sorted(lower), *filter(None, [chosen.epochs])))
    return Tabular(
        space_of(table), task, table, (one_seed and chosen.drawable) or chosen.objective, chosen.test_metric, chosen.cost,
        chosen.cost_scale, drawn=one_seed, lower=lower,
    )  # fmt: skip


def _is_shorter(one: TaskColumns, other: TaskColumns) -> bool:
    """Whether the first is the second after fewer epochs: the same metric of the same split, or a test figure could slip in."""
    if one.epochs is None or other.epochs is None or one.epochs >= other.epochs:
        return False
    columns = one.table.columns[one.objective], other.table.columns[other.objective]
    return columns[0]._replace(epochs=None, seeds=None) == columns[1]._replace(epochs=None, seeds=None)


def space_of(table: Table) -> Space:
    """The space a table measures, with the benchmark's own network; of one that it holds in part, that part."""
    return _measured_space(table.path, table.path.stat().st_mtime_ns, table.space)


@lru_cache(maxsize=64)
def _measured_space(path: Path, _modified: int, space: str) -> Space:
    whole = plugins.load("space", space)()
    if not _sampling.is_listed(whole):
        raise UserError(
            f"Table '{path}' is of space '{whole.name}' with {_ops.size(whole.choices):.3g} combinations; tables take spaces "
            f"of at most {_sampling.MAX_LISTED:,}."
        )
    return _measured.measured(whole, tables.read(path).archs)


def describe_task(name: str, data: str, stated: Images | None = None) -> Task:
    """The task called `name`, on the dataset `data` of a table. Where it is not described the task says so, and has the shape of
    CIFAR-10, for which a network can be built.

    Features are those of the dataset itself where it is described, and none where it is not.

    Args:
        stated: what the table says of the images; it counts before what is known of a dataset of this name.
    """
    plain = base_dataset(data)
    features = meta_features.known(plain)
    if stated is not None:
        features = (float(stated.examples), *features[1:]) if features else ()
        return Task(name, stated.input_shape, stated.classes, features)
    known = described_data.SHAPES.get(plain)
    shape = known or described_data.SHAPES["cifar10"]
    return Task(name, *shape, features, data_known=known is not None)
