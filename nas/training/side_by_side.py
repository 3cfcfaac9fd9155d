"""Trainings that are unlike each other, side by side: another space, size of pictures or recipe each, a core each.

Shapes: `D` decisions, `N` images, `K` classes, `E` epochs.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, as_completed
from pathlib import Path
from threading import Event
from typing import NamedTuple

import torch
from torch import Tensor

from nas.training import cores, metrics, under_way
from nas.training.recipe import Images, Recipe
from nas.training.train import engine, networks, train, work
from nas.training.under_way import UnderWay
from search_spaces import Space, Task, as_cell_space


class Job(NamedTuple):
    """A training."""

    space: Space
    arch: Tensor
    """int64 `[D]`."""
    task: Task
    """Its `input_shape` is that of the images here, whatever the data have elsewhere."""
    images: Images
    recipe: Recipe
    scored: Images | None = None
    """Images whose logits are asked for at the end."""
    mirror: bool = False
    """Those logits are the mean of an image's and of its mirror image's."""
    kept_in: Path | None = None
    """A folder in which the training is kept while it lasts: after a kill it goes on from there."""


class Trained(NamedTuple):
    """What came of it."""

    weights: dict[str, Tensor]
    """By the names of `Space.build`'s module."""
    losses: list[float]
    """The mean of each epoch; NaN from where it diverged."""
    logits: Tensor | None
    """`[N, K]` of the images to be scored."""
    seconds: float
    """Of wall clock, with what ran beside it; with those of earlier processes, where it went on from one."""
    error: Exception | None = None
    """Why there is nothing else, where the training raised one."""


Tell = Callable[[int, list[float]], None]
"""Whoever is told, in the thread that trains, a job's place and the losses of its epochs so far."""


def train_each(
    jobs: Sequence[Job], device: torch.device | str = "cpu", tell: Tell | None = None
) -> Iterator[tuple[int, Trained]]:
    """Train every job; yields its place among the jobs and what came of it, as each ends.

    Compiled code and bfloat16 train as many jobs at a time as PyTorch has threads, the longest first; others follow one by one,
    because PyTorch takes all cores for each. What a job gives depends on nothing that runs beside it, to the bit. A job that
    raises an error ends with it and disturbs no other. Leaving the iterator ends what is being trained after its epoch.

    Args:
        tell: called after each epoch.
    """
    device, threads, stop = torch.device(device), torch.get_num_threads(), Event()
    costs = [work(job.space, job.arch, job.task, device, job.recipe.precision) for job in jobs]
    # The longest first: otherwise the last job can run alone while the other cores wait.
    queue = sorted(
        (n for n, cost in enumerate(costs) if cost is not None),
        key=lambda n: -(costs[n] or 0) * len(jobs[n].images.y) * jobs[n].recipe.epochs,
    )
    # In bfloat16 one job as well: PyTorch with all threads rounds otherwise.
    if threads > 1 and (len(queue) > 1 or any(jobs[n].recipe.precision != "float32" for n in queue)):
        yield from _threads(jobs, queue, device, min(threads, len(queue)), stop, tell)
        queue = []
    for n in [*queue, *(n for n, cost in enumerate(costs) if cost is None)]:
        yield n, _outcome(jobs[n], device, stop, _of(tell, n))


def train_alone(
    job: Job, device: torch.device | str = "cpu", tell: Callable[[list[float]], None] | None = None
) -> Trained:
    """Train a job with all cores to itself: other bits than beside others where PyTorch uses them better than compiled code.

    Args:
        tell: called after each epoch with the losses of all so far.
    """
    return _trained(job, torch.device(device), Event(), tell, alone=True)


def _of(tell: Tell | None, n: int) -> Callable[[list[float]], None] | None:
    """Who is told of job `n`."""
    return None if tell is None else lambda losses: tell(n, losses)


def _threads(
    jobs: Sequence[Job], queue: list[int], device: torch.device, count: int, stop: Event, tell: Tell | None
) -> Iterator[tuple[int, Trained]]:
    with cores.one_each(count) as pool:
        try:
            places: dict[Future[Trained], int] = {
                pool.submit(_outcome, jobs[n], device, stop, _of(tell, n)): n for n in queue
            }
            for future in as_completed(list(places)):
                n = places.pop(future)  # Popped: an outcome that the caller has let go of is nobody's.
                yield n, future.result()
        finally:
            stop.set()


def _outcome(job: Job, device: torch.device, stop: Event, tell: Callable[[list[float]], None] | None = None) -> Trained:
    began = time.perf_counter()
    try:
        return _trained(job, device, stop, tell)
    except Exception as error:  # A space's own networks may raise anything, and memory may run out.
        return Trained({}, [], None, time.perf_counter() - began, error)


def _trained(
    job: Job, device: torch.device, stop: Event, tell: Callable[[list[float]], None] | None, *, alone: bool = False
) -> Trained:
    began = time.perf_counter()
    network = networks(
        job.space, job.arch[None], job.task, job.recipe.seed, device, alone=alone, precision=job.recipe.precision
    )
    kept = None if job.kept_in is None else UnderWay(job.kept_in / f"{_digest(job, device, network)}.safetensors")
    losses, before = ([], 0.0) if kept is None else kept.read(network)
    for loss_P in train(network, job.images, job.recipe, len(losses)):
        losses.append(loss_P.item())
        if tell is not None:
            tell(losses)
        if kept is not None and len(losses) < job.recipe.epochs:
            kept.write(network, losses, before + time.perf_counter() - began, now=stop.is_set())
        if stop.is_set():
            raise CancelledError
    logits = None if job.scored is None else metrics.logits(network, job.scored, mirror=job.mirror)[0].cpu()
    # Copies: views would keep the network's momentum and workspace in memory.
    weights = {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in network.state_of(0).items()
    }
    if kept is not None:
        kept.forget()
    return Trained(weights, losses, logits, before + time.perf_counter() - began)


def _digest(job: Job, device: torch.device, network: object) -> str:
    """Of what the bits of a training depend on."""
    cells = as_cell_space(job.space)
    space = job.space.name, cells and cells.skeleton, job.space.describe(job.arch), _source(type(job.space))
    by = type(network).__name__, engine(job.space, job.task, device, job.recipe.precision)
    return under_way.digest((space, job.task.input_shape, job.task.num_classes, job.recipe, by), job.images)


def _source(kind: type) -> str:
    """The text of the file that defines a class, which is a user's where a space is: edited, it makes other networks."""
    try:
        return Path(inspect.getsourcefile(kind) or "").read_text(encoding="utf-8")
    except (TypeError, OSError, ValueError):
        return ""
