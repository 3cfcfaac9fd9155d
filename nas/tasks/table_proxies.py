"""Zero-cost proxies of the architectures of a table: columns of it, or of another table of the same space.

Shapes: `N` architectures, `D` decisions, `P` proxies.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from controller.models.task_pca import normal_scores
from nas import tables
from nas.evaluators.tabular import Tabular
from nas.tables import Table
from search_spaces import Space, Task, UserError, _ops, _sampling, representatives
from search_spaces._network_costs import network_cost

_NAMES_OF_TABLES = {"jacob_cov": "jacov", "naswot": "nwot", "l2norm": "l2_norm"}
"""What NAS-Bench-Suite-Zero calls those of ours that it names otherwise."""
_COUNTED = ("params", "flops")


class TableColumn(NamedTuple):
    """Where a proxy stands."""

    table: Table
    column: str


@dataclass(frozen=True, eq=False)
class OfTables:
    """Columns, or counts, of every architecture of a space with a list: normal scores among those that have one.

    What is not measured has the mean of those that compute the same, or the middle.
    """

    space: Space
    columns: tuple[TableColumn | str, ...]
    """A table's column each, or `params` or `flops`, which are counted."""
    task: Task

    @property
    def count(self) -> int:
        return len(self.columns)

    def __call__(self, archs: Tensor) -> Tensor:
        return self._scores_NP[_ops.index(archs, self.space.choices)]

    @cached_property
    def _scores_NP(self) -> Tensor:
        archs = _ops.enumerate_all(self.space.choices)
        archs = archs[self.space.valid(archs)]
        at, (same,) = (
            _ops.index(archs, self.space.choices),
            _ops.keys(self.space.choices, representatives(self.space, archs)),
        )
        _, class_N = same.unique(return_inverse=True)
        found = torch.zeros(_ops.size(self.space.choices), self.count)
        for place, column in enumerate(self.columns):
            found[at, place] = _filled_scores(self._values(column, archs), class_N)
        return found

    def _values(self, column: TableColumn | str, archs: Tensor) -> Tensor:
        if isinstance(column, str):
            return network_cost(self.space, representatives(self.space, archs), self.task)[
                _COUNTED.index(column)
            ].double()
        value_N = column.table.by_index(column.column, self.space.choices)[
            _ops.index(archs, self.space.choices)
        ].double()
        return value_N if column.table.columns[column.column].maximize else -value_N


def _filled_scores(value_N: Tensor, class_N: Tensor) -> Tensor:
    """Normal scores, 0 for what nothing is known of. `class_N`: which compute the same."""
    known_N, total_T2 = ~value_N.isnan(), torch.zeros(int(class_N.max()) + 1, 2).double()
    total_T2 = total_T2.index_add(0, class_N, torch.stack([value_N.nan_to_num(0.0), known_N.double()], 1))
    value_N = torch.where(known_N, value_N, (total_T2[:, 0] / total_T2[:, 1])[class_N])
    found, known_N = torch.zeros(len(value_N)), ~value_N.isnan()
    found[known_N] = normal_scores(value_N[known_N]).float()
    return found


def of(names: tuple[str, ...], evaluator: Tabular) -> OfTables:
    """The proxies of those names. Raises `UserError` for what leads nowhere."""
    if not _sampling.is_listed(evaluator.space):
        raise UserError(
            f"--proxy has '{names[0]}'; space '{evaluator.space.name}' is too large for columns of a table."
        )
    return OfTables(evaluator.space, tuple(_column(name, evaluator) for name in names), evaluator.task)


def _column(name: str, inner: Tabular) -> TableColumn | str:
    """`TABLE/COLUMN`, or a name of a proxy on the task's dataset."""
    space = inner.space.name.replace("-", "_")
    beside = {t: tables.find(t) for t in tables.names() if tables.find(t).space.replace("-", "_") == space}
    if name in _COUNTED:
        return name
    if "/" in name:
        table_name, _, column = name.partition("/")
        if table_name not in beside:
            raise UserError(f"--proxy has '{name}'; tables of space '{inner.space.name}' are {', '.join(beside)}.")
        table = beside[table_name]
        if table.column(column).dim() != 1:
            raise UserError(f"--proxy has '{name}', a column with a figure for each seed; it takes one a row.")
        if table.columns[column].split is not None:
            raise UserError(
                f"--proxy has '{name}', a score of trained networks; it takes what is known without training."
            )
        return TableColumn(table, column)
    dataset, metric = inner.table.columns[inner.search_column].task, _NAMES_OF_TABLES.get(name, name)
    there_are = [
        (table, column)
        for table in beside.values()
        for column, about in table.columns.items()
        if about.metric == metric
    ]
    for table, column in there_are:
        if table.columns[column].task == dataset:
            return TableColumn(table, column)
    if not there_are:
        raise UserError(
            f"--proxy has '{name}', which no table of space '{inner.space.name}' holds; it takes params, flops or TABLE/COLUMN."
        )
    listed = ", ".join(f"{table.name}/{column}" for table, column in there_are)
    raise UserError(f"--proxy has '{name}', which no table holds for '{dataset}'; name one: {listed}.")
