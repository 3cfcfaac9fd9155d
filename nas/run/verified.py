"""The figures of what a run hands out, measured: a network whose latency was predicted within its bound may break it.

Kept with the run, so that each network is measured once. Shapes: `D` decisions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor

from nas.evaluators.constrained import Constrained
from nas.evaluators.multi_objective import MultiObjective
from nas.run import store
from nas.run.store import Run
from nas.tasks import aims
from nas.tasks.network_bound import NetworkConstraint
from nas.types import Evaluator
from search_spaces import UserError

KEY = "verified"


def bounds_of(evaluator: Evaluator) -> tuple[NetworkConstraint, ...]:
    """The constraints on the final network of a run's evaluator."""
    evaluator = evaluator.inner if isinstance(evaluator, MultiObjective) else evaluator
    if not isinstance(evaluator, Constrained):
        return ()
    return tuple(c for c in evaluator.constraints if isinstance(c, NetworkConstraint))


def latencies_of(evaluator: Evaluator) -> dict[str, float]:
    """What was measured for the model behind a constraint or an objective of latency, in milliseconds by architecture."""
    models = [bound.model for bound in (*bounds_of(evaluator), *aims.models(evaluator)) if bound.model is not None]
    return dict(models[0].measured) if models else {}


def figures(run: Run, evaluator: Evaluator, arch: Tensor) -> dict[str, float]:
    """By constraint, the figure of the final network of `arch` `[D]`: counted, or measured, once for each run."""
    bounds = bounds_of(evaluator)
    if not bounds:
        return {}
    known = store.get_meta(run, KEY) or {}
    name = evaluator.space.describe(arch)
    if name not in known:
        known[name] = {bound.text: [bound.measure(arch), bound.bound] for bound in bounds}
        store.set_meta(run, KEY, known)
    return {text: figure for text, (figure, _) in known[name].items()}


def ratios(run: Run, arch: str) -> dict[str, float]:
    """By constraint, the measured figure over the bound of an architecture that was looked at, by its description."""
    known = (store.get_meta(run, KEY) or {}).get(arch, {})
    try:
        return {text: round(figure / bound, 4) for text, (figure, bound) in known.items()}
    except (TypeError, ValueError, AttributeError):
        raise _unreadable(run) from None


def _unreadable(run: Run) -> UserError:
    return UserError(f"Run '{run.folder}' keeps figures of its networks that cannot be read.")


def latencies(run: Run) -> dict[str, float]:
    """Milliseconds that were measured of what the run may hand out, by architecture."""
    kept = store.get_meta(run, KEY) or {}
    try:
        found = {
            name: [figure for text, (figure, _) in known.items() if text.startswith("latency")]
            for name, known in kept.items()
        }
        return {name: float(values[0]) for name, values in found.items() if values}
    except (TypeError, ValueError, AttributeError):
        raise _unreadable(run) from None


def keeps(run: Run, evaluator: Evaluator, arch: Tensor) -> bool:
    """Whether the final network of `arch` `[D]` was measured to keep all constraints on it."""
    found = figures(run, evaluator, arch)
    return all(found[bound.text] <= bound.bound for bound in bounds_of(evaluator))


def first(run: Run, evaluator: Evaluator, archs: Sequence[Tensor], count: int) -> list[int]:
    """Places of the first `count` of `archs` that keep all constraints; where none does, of the one that comes nearest."""
    if not bounds_of(evaluator):
        return list(range(min(count, len(archs))))
    found = []
    for at in _keeping(run, evaluator, archs):
        found.append(at)
        if len(found) == count:
            return found
    if found or not archs:
        return found
    return [min(range(len(archs)), key=lambda at: _excess(run, evaluator, archs[at]))]


def _keeping(run: Run, evaluator: Evaluator, archs: Sequence[Tensor]) -> Iterator[int]:
    return (at for at, arch in enumerate(archs) if keeps(run, evaluator, arch))


def _excess(run: Run, evaluator: Evaluator, arch: Tensor) -> float:
    """The largest figure over its bound."""
    found = figures(run, evaluator, arch)
    return max(found[bound.text] / bound.bound for bound in bounds_of(evaluator))
