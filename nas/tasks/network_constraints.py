"""Constraints on the network that is handed out: `params<=20k`, `flops<=5M`, `latency<=2ms`.

They are about the final network, not about the smaller one that a search may train. What breaks one is not trained: where the
figures of all architectures are known at once the search sees the part of its space that keeps the bounds; elsewhere each
proposal is looked at.
"""

from __future__ import annotations

from dataclasses import replace

from nas.tasks import least_network
from nas.tasks.name import TaskName
from nas.tasks.network_bound import Keeps, Measurements, NetworkConstraint, Networks, parse
from search_spaces import Space, UserError, _measured


def of(name: TaskName, networks: Networks | None, measurements: Measurements) -> tuple[NetworkConstraint, ...]:
    """The constraints on the network in a task's name. A latency is measured here unless it was before: seconds.

    Raises `UserError` for a unit that is none, for a task that trains nothing, and for a bound that no network keeps.
    """
    texts = name.network_constraints
    parsed = [(text, *parse(text)) for text in texts]
    if not texts:
        return ()
    if networks is None:
        raise UserError(
            f"Constraint '{texts[0]}' is on the network that is trained; task '{name.unconstrained()}' {name.how}. "
            + (
                "`nas export --pick` takes it."
                if name.kind == "few_shot"
                else "It takes a column of a table: TABLE/COLUMN<=VALUE."
            )
        )
    space, task, as_is = networks
    model = None
    found = [NetworkConstraint(text, figure, bound, space, task, as_is=as_is) for text, figure, bound in parsed]
    if any(c.figure == "latency" for c in found):
        counted = tuple(c for c in found if c.figure != "latency")
        model = least_network.model_of(space, task, counted, measurements)
    found = [replace(c, model=model, device=measurements.device) if c.figure == "latency" else c for c in found]
    least_network.refuse_impossible(space, tuple(found))
    return tuple(found)


def part_of(space: Space, constraints: tuple[NetworkConstraint, ...]) -> Space | None:
    """What of a search's space keeps the constraints that are counted; None where there is none."""
    counted = tuple(c for c in constraints if c.counted)
    return _measured.bounded(space, Keeps(counted)) if counted else None
