"""How wide and deep the final networks of a space of cells are, where bounds are asked for and no size is."""

from __future__ import annotations

from dataclasses import is_dataclass, replace

from nas.tasks.name import TaskName
from nas.tasks.network_bound import Measurements, NetworkConstraint, parse
from nas.types import Evaluator
from search_spaces import CellSpace, as_cell_space

OPTIONS = ("final_channels", "final_cells")
"""The training options that say it."""
_SIZES = ((16, 2), (16, 1), (12, 1), (8, 1), (6, 1), (4, 1))
"""Channels and cells a stage, from the default down; a step takes off a third to a half of the parameters of the ResNet cell."""


def fit(evaluator: Evaluator, name: TaskName, measurements: Measurements) -> Evaluator:
    """The evaluator with the largest of some sizes at which the ResNet cell keeps the bounds, or with the smallest size.

    A search then sees cells of about that one's size or less. An evaluator whose final networks have no such size stays.
    """
    training = evaluator.training
    cells = None if training is None else as_cell_space(training.final_space)
    if cells is None or cells.skeleton is None or training is not evaluator or not is_dataclass(evaluator):
        return evaluator
    bounds = [(text, *parse(text)) for text in name.network_constraints]
    for channels, depth in _SIZES:
        space: CellSpace = cells.proxy(channels, depth, cells.skeleton.stem_stride)
        asked = [NetworkConstraint(*bound, space, evaluator.task, device=measurements.device) for bound in bounds]
        if all(one.measure(cells.reference_arch) <= one.bound for one in asked):
            break
    return replace(evaluator, final_space=space)  # pyright: ignore[reportPossiblyUnbound, reportCallIssue]


def options_of(evaluator: Evaluator, name: TaskName) -> dict[str, str]:
    """The options that give an evaluator with bounds its size again; none where it has no such size."""
    cells = None if evaluator.training is None else as_cell_space(evaluator.training.final_space)
    if cells is None or cells.skeleton is None or not name.network_constraints:
        return {}
    return dict(zip(OPTIONS, map(str, cells.skeleton[:2])))
