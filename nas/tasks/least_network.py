"""Whether a space has a network that keeps its bounds, the least that it has, and the model of latencies of its networks.

Shapes: `N` architectures, `D` decisions.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nas.export import latency_model
from nas.export.latency_model import LatencyModel
from nas.tasks.network_bound import Keeps, Measurements, NetworkConstraint
from search_spaces import HasCost, Space, Task, UserError, _ops, _sampling, as_cell_space, representatives

_DRAWN, BUILT = 512, 64
"""Architectures of a space without a list among which the least and the measured ones are looked for: of one that knows its
costs, and of one that builds each network for them, at about 10 ms each."""
_STREAM = 77
"""Of random numbers, from which no search draws."""


def _some(space: Space) -> Tensor:
    """The architectures among which the least is looked for, `[N, D]`: all where the figure of all is known at once."""
    if _sampling.is_listed(space) and isinstance(space, HasCost):
        every = _ops.enumerate_all(space.choices)
        return every[space.valid(every)]
    # One stream of random numbers: whoever makes the same search finds the same.
    count = _DRAWN if isinstance(space, HasCost) else BUILT
    return _sampling.sample(space, torch.tensor([0]), 0, count, stream=_STREAM)[0]


def model_of(
    space: Space, task: Task, counted: tuple[NetworkConstraint, ...], measurements: Measurements
) -> LatencyModel:
    """The latencies of all networks, from what was measured before or is measured now, among those that keep `counted`."""
    if measurements.known:
        return latency_model.fit(space, task, list(measurements.known.items()))
    archs = _some(space)
    refuse_impossible(space, counted)
    within = Keeps(counted)(archs)
    archs = latency_model.design(space, archs[within] if within.any() else archs, task)
    archs = representatives(space, archs)
    measured = [(space.describe(arch), measurements.device.milliseconds(space, arch, task)) for arch in archs]
    return latency_model.fit(space, task, measured)


def refuse_impossible(space: Space, constraints: tuple[NetworkConstraint, ...]) -> None:
    """Raises `UserError` where no network keeps all constraints, naming the least that the space has."""
    archs = _some(space)
    whole = _sampling.is_listed(space) and isinstance(space, HasCost)
    if Keeps(constraints)(archs).any():
        return
    sizes = (cells := as_cell_space(space)) is not None and cells.skeleton is not None
    fixed = any(c.as_is for c in constraints)
    smaller = " Smaller networks: -t final_channels=8 -t final_cells=1." * (sizes and not fixed)
    least = [_least(space, c, archs, whole) for c in constraints]
    for constraint, (arch, value) in zip(constraints, least):
        if value > constraint.bound:
            raise UserError(
                f"Constraint '{constraint.text}' is below the least {'of the space' if whole else 'that was found'}, "
                f"{constraint.shown(value)}: {space.describe(arch)}.{smaller}"
            )
    if len(constraints) > 1 and (whole or not any(Keeps(constraints)(arch[None]).item() for arch, _ in least)):
        figures = ", ".join(f"{c.text} (least {c.shown(value)})" for c, (_, value) in zip(constraints, least))
        raise UserError(f"No network was found that keeps all of {figures}.")


def _least(space: Space, constraint: NetworkConstraint, archs: Tensor, whole: bool) -> tuple[Tensor, float]:
    """The architecture of the least figure among `archs` `[N, D]`; where these are not the `whole` space, by descent from it."""
    values = constraint.values(archs)
    arch, value = archs[int(values.argmin())], values.min().item()
    while not whole:
        around = _ops.neighbours(arch, space.choices)
        around = around[space.valid(around)]
        if not len(around):
            break
        values = constraint.values(around)
        if values.min().item() >= value:
            break
        arch, value = around[int(values.argmin())], values.min().item()
    return arch, value
