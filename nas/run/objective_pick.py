"""Which network of a run with several objectives is the best under bounds on these."""

from __future__ import annotations

import re

from nas.run import objective_front, subject
from nas.run.objective_front import ObjectivePoint
from nas.run.store import Run
from nas.run.subject import KeptAim
from search_spaces import UserError

_COUNTS = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9}
_SECONDS = {"us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0}
_BOUND = re.compile(r"(.+?)(<=|>=)([-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?)([^\W\d]*)")


def applies(run: Run, texts: tuple[str, ...]) -> bool:
    """Whether all bounds are on objectives of the run, and no data are there to measure a network with."""
    about = subject.read(run)
    names = {name for aim in about.aims for name in (aim.name, aim.short)}
    asked = [re.split("<=|>=", text)[0] for text in texts]
    return bool(about.aims) and about.final_space is None and (
        all(name in names for name in asked) or not all(name in ("params", "flops", "latency") for name in asked)
    )  # fmt: skip


def choose(run: Run, texts: tuple[str, ...]) -> ObjectivePoint:
    """The best first objective among what keeps all bounds. Raises `UserError` where nothing does, naming what comes nearest."""
    aims, kept = subject.read(run).aims, objective_front.points(run)
    if not kept:
        raise UserError("No evaluation of this run has succeeded; there is no network to pick.")
    for text in texts:
        at, upper, bound = _read(text, aims)
        values = [point.values[at] for point in kept]
        nearest = min(values) if upper else max(values)
        kept = [point for point in kept if (point.values[at] <= bound if upper else point.values[at] >= bound)]
        if not kept:
            raise UserError(
                f"--pick is '{text}', and the {'least' if upper else 'most'} that is left is "
                f"{objective_front.shown(aims[at], nearest)}; `nas show {run.folder} --front` lists the front."
            )
    return kept[0]


def _read(text: str, aims: tuple[KeptAim, ...]) -> tuple[int, bool, float]:
    """Which objective a bound is on, whether from above, and its value in the objective's unit."""
    match, names = _BOUND.fullmatch(text), ", ".join(aim.name for aim in aims)
    if not match:
        raise UserError(f"--pick is '{text}'; it takes a bound on one of {names}, as {aims[1].short}<=3.")
    name, sign, number, unit = match.groups()
    found = [at for at, aim in enumerate(aims) if name in (aim.name, aim.short)]
    if not any(aims[at].name == name for at in found) and len(found) != 1:
        raise UserError(f"--pick is '{text}'; the objectives of the run are {names}.")
    at = next((at for at in found if aims[at].name == name), found[0])
    own = aims[at].unit
    scale = next((known for known in (_SECONDS, _COUNTS) if own in known), {own: 1.0} if own else _COUNTS)
    # A number alone is in the objective's own unit.
    units = {key: value / scale.get(own or "", 1.0) for key, value in scale.items()} | {"": 1.0}
    if unit not in units:
        raise UserError(f"--pick is '{text}'; {name} takes a number, or one with {', '.join(filter(None, units))}.")
    try:
        return at, sign == "<=", float(number) * units[unit]
    except ValueError:
        raise UserError(f"--pick is '{text}'; '{number}' is no number.") from None
