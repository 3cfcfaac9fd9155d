"""The best network of a run under bounds, trained to the end if the search handed out another.

A network that was picked once is kept with the run. Only the choice reads the run's folder alone; a training takes the data.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable

import torch

from nas.export.device import Device
from nas.run import comparison, final_trainings, front, provenance, session, subject, trained_network, trust
from nas.run.front import Point
from nas.run.store import Run
from nas.tasks import network_bound
from nas.text import counted
from nas.types import Averages, TrainedNetwork, Watched
from search_spaces import HasCost, HasMirror, Space, Task, UserError, representatives

_FOLDER = "picked"


def choose(run: Run, space: Space, task: Task, texts: tuple[str, ...], *, trusted: bool = False) -> Point:
    """The highest score of a run among what keeps the bounds; of ties the fewest parameters.

    Latencies are measured, the best network's first, until one keeps its bound. Raises `UserError` where none does.

    Args:
        space: of the final networks.
        texts: bounds, as `params<=20k`.
        trusted: the command that measures latencies may be run; else `UserError` is raised for one not run before.
    """
    bounds = [(text, *_parsed(text)) for text in texts]
    points = sorted(front.points(run), key=lambda point: (-point.score, point.parameters))
    if not points:
        raise UserError("No evaluation of this run has succeeded; there is no network to pick.")
    counted_figures = {"params": lambda point: point.parameters, "flops": lambda point: point.flops}
    kept = points
    for text, figure, bound in bounds:
        if figure not in counted_figures:
            continue
        value = counted_figures[figure]
        least = min(points, key=value)
        kept = [point for point in kept if value(point) <= bound]
        if value(least) > bound:
            raise UserError(
                f"--pick is '{text}', and the least that the run evaluated is {value(least):,} "
                f"({counted(len(points), 'network')}); `nas show {run.folder} --front` lists the best of each size."
            )
    slowest = [bound for _, figure, bound in bounds if figure == "latency"]
    if slowest:
        if not trusted:
            trust.refuse_unknown(str(run.folder), trust.outside(run.config))
        kept = _fast_enough(run, space, task, kept, min(slowest))
    if not kept:
        raise UserError(f"--pick is '{' '.join(texts)}', and no network that the run evaluated keeps all of it.")
    return kept[0]


def _parsed(text: str) -> tuple[str, float]:
    if text.partition("<=")[0] not in network_bound.FIGURES or "<=" not in text:
        raise UserError(f"--pick is '{text}'; it takes params<=20k, flops<=5M or latency<=2ms.")
    return network_bound.parse(text)


def _fast_enough(run: Run, space: Space, task: Task, points: list[Point], bound: float) -> list[Point]:
    """The first of `points` that is measured to take at most `bound` milliseconds; nothing where none is."""
    device = Device(run.config.latency_command)
    for point in points:
        milliseconds = device.milliseconds(space, space.parse(point.arch), task)
        if milliseconds <= bound:
            return [point._replace(latency_ms=milliseconds, measured=True)]
    return []


def network(
    run: Run, point: Point, space: Space, *, trusted: bool, say: Callable[[str], None]
) -> TrainedNetwork | None:
    """The trained network of a point: what the run handed out, what was picked before, or a final training now.

    None for a run of a table. Raises `UserError` where the data are not there.

    Args:
        trusted: code of others that the run names may be run.
        say: is told in a line what is trained, and for how long about.
    """
    if subject.read(run).final_space is None:
        return None
    folder = run.folder / _FOLDER / hashlib.sha256(point.arch.encode()).hexdigest()[:16]
    arch = space.parse(point.arch)
    for known in (run.folder, *sorted(folder.parent.glob("*"))):
        kept = trained_network.load(known)
        # An ensemble is as large as its members together.
        if kept is None or kept.members:
            continue
        # What was picked before may have mirror images that the search's had not: its folder says whose it is.
        if (
            known == folder
            or _alike(space, kept.arch, point.arch)
            or (known == run.folder and _is_training_of(run, kept, point, space))
        ):
            return kept
    config = provenance.located(run)
    if not trusted:
        trust.refuse_unknown(str(run.folder), trust.outside(config))
    training = session.load(config).evaluator.training
    assert training is not None
    training.cache_to(
        run.folder
    )  # What the search saw of mirror images, and where the training is kept while it lasts.
    if isinstance(training, Averages):
        arch = training.final_arch(arch, twice=False, larger=False)
    about = f", about {training.final_seconds(arch):.0f} s" if isinstance(training, Watched) else ""
    say(f"The search handed out another network; this one is trained to the end first{about}.")
    made = training.final_network(arch)
    if made.diverged:
        raise trained_network.diverged(training)
    folder.mkdir(parents=True, exist_ok=True)
    trained_network.save(folder, made)
    with contextlib.suppress(OSError):  # Of a run whose own final trainings wait there.
        (run.folder / final_trainings.FOLDER).rmdir()
    return made


def _is_training_of(run: Run, kept: TrainedNetwork, point: Point, space: Space) -> bool:
    """Whether what the run handed out is the network of `point`, trained in the end by other settings than in the search.

    Not if it is the plain network, answers twice, or is larger.
    """
    if comparison.plain_handed_out(run) or point.arch != comparison.searched(run):
        return False
    arch, own = space.parse(point.arch), trained_network.arch_of(space, kept)
    if kept.mirror != (isinstance(space, HasMirror) and space.mirrors(arch)):
        return False
    costs = space.cost(torch.stack([arch, own]), subject.read(run).task) if isinstance(space, HasCost) else ()
    return all(int(of_arch) == int(of_own) for of_arch, of_own in costs)


def _alike(space: Space, one: str, other: str) -> bool:
    """Whether two architectures are one function."""
    a, b = (representatives(space, space.parse(text)) for text in (one, other))
    return bool((a == b).all())
