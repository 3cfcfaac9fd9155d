"""Constraints as they are written in a task's name.

`TABLE/COLUMN<=VALUE` is a constraint; `<=q30` the bound that 30% of the space keep; `<=VALUE*40` sets a penalty weight of 40
points instead of 20.
"""

from __future__ import annotations

import re

from nas import tables
from nas.evaluators.constrained import PENALTY_WEIGHT, Constraint
from nas.tables import network_counts
from nas.tasks.name import CONSTRAINT_FORM, TaskName
from search_spaces import Space, UserError


def parse(text: str, space: Space) -> Constraint:
    """The constraint that `text` names. Raises `UserError` for what it is not, and for a table of another space."""
    match = re.fullmatch(r"([^/]+)/(.+)<=(q?)([0-9.eE+-]+?)(?:\*([0-9.]+))?", text.strip())
    if not match:
        raise UserError(f"Constraint '{text}' takes {CONSTRAINT_FORM}.")
    table_name, column, quantile, value, weight = match.groups()
    table = tables.find(table_name)
    if table.space.replace("-", "_") != space.name.replace("-", "_"):
        raise UserError(f"Constraint '{text}' is on space '{table.space}'; the task's is '{space.name}'.")
    figures = table.column(column)
    if figures.dim() != 1:
        raise UserError(f"Constraint '{text}' is on a column with a figure for each seed; it takes one a row.")
    bound, share = _number(text, value), None
    if quantile:
        if not 0 <= bound <= 100:
            raise UserError(f"Constraint '{text}' names the quantile {value}; it takes q0 to q100.")
        share = bound / 100
        # As the constraint will read it, which of counts may be another number than the column's.
        bound = network_counts.values(table, column, table.archs.long(), space).double().nanquantile(share).item()
    if bound <= 0:
        raise UserError(f"Constraint '{text}' is {bound:g}; it takes a number above zero.")
    return Constraint(table, column, bound, _number(text, weight) if weight else PENALTY_WEIGHT, share)


def _number(text: str, number: str) -> float:
    try:
        return float(number)
    except ValueError:
        raise UserError(f"Constraint '{text}' has '{number}' for a number.") from None


def of(task: TaskName, space: Space) -> tuple[Constraint, ...]:
    """The constraints on tables in a task's name; none where it has none."""
    return tuple(parse(text, space) for text in task.table_constraints)
