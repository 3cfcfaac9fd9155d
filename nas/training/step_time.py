"""What training the networks of a space takes on this machine, found out by a step of a few of them."""

from __future__ import annotations

import time
from typing import NamedTuple

import torch
from torch import Tensor

from nas.training.network_batch import NetworkBatch
from nas.training.recipe import Images, Recipe
from nas.training.side_by_side import Job, train_each
from nas.training.train import by_one_core, networks, train
from search_spaces import Space, Task, _sampling

_NETWORKS = 4
"""Random ones: their mean is near that of a search's, and a step of them takes seconds at most."""
_STEPS = 4
"""Of a network alone: one step of a small network takes a millisecond, which is too short to be timed."""
_STEPS_BESIDE, _EPOCHS_BESIDE = 24, 1
"""For trainings side by side. What an epoch takes besides its steps is then as small a part as in a real one: with 4 steps,
images seemed to take a third longer than they did."""


class StepTime(NamedTuple):
    """Of networks drawn at random."""

    seconds: float
    """A network's, for an image and an epoch: forward and backward."""
    parameters: tuple[int, int]
    """Weights of the smallest and of the largest."""


def measure(space: Space, task: Task, images: Images, recipe: Recipe, device: torch.device) -> StepTime:
    """Train a batch of images twice; the first time pays for what is made once."""
    archs = random_archs(space)
    batch = Images(images.x[: recipe.batch], images.y[: recipe.batch], images.mean, images.std)
    seconds = _second_epoch(networks(space, archs, task, recipe.seed, device), batch, recipe)
    with torch.random.fork_rng(devices=[]):
        built = [space.build(arch, task) for arch in archs]
    counts = [sum(weight.numel() for weight in network.parameters()) for network in built]
    return StepTime(seconds / len(archs) / len(batch.y), (min(counts), max(counts)))


def measure_alone(
    space: Space,
    task: Task,
    images: Images,
    recipe: Recipe,
    device: torch.device,
    archs: Tensor | None = None,
) -> float:
    """Seconds for an image and an epoch of one network that has the machine to itself, as the final training has it.

    Args:
        archs: `[P, D]`, of which the slowest counts; None: a few random ones, as what a search finds is larger than the mean of
            its space.
    """
    part = Images(images.x[: _STEPS * recipe.batch], images.y[: _STEPS * recipe.batch], images.mean, images.std)
    chosen = random_archs(space) if archs is None else archs
    alone = (
        networks(space, arch[None], task, recipe.seed, device, alone=True, precision=recipe.precision)
        for arch in chosen
    )
    return max(_second_epoch(network, part, recipe) for network in alone) / len(part.y)


def measure_side_by_side(job: Job, copies: int, device: torch.device) -> float:
    """Seconds of a core for an image and an epoch of a training that has `copies` - 1 others beside it.

    Cores share memory and caches: measured alone, trainings were expected to take an eighth less time than they took. What
    PyTorch trains with all cores (`nas.training.train.by_one_core`) has none beside it.
    """
    count = _STEPS_BESIDE * job.recipe.batch
    images = job.images._replace(x=job.images.x[:count], y=job.images.y[:count])
    part = job._replace(images=images, recipe=job.recipe._replace(epochs=1), scored=None, kept_in=None)
    before, ends = torch.get_num_threads(), []
    if not by_one_core(job.space, job.task, device, job.recipe.precision):
        copies = 1
    else:
        torch.set_num_threads(copies)
    try:
        list(train_each([part], device))  # Pays for what is made once.
        timed = part._replace(recipe=job.recipe._replace(epochs=1 + _EPOCHS_BESIDE))
        for _, trained in train_each([timed] * copies, device, lambda _n, _losses: ends.append(time.perf_counter())):
            if trained.error is not None:
                raise trained.error
    finally:
        torch.set_num_threads(before)
    # From the first epoch's end on.
    return (max(ends) - min(ends)) / _EPOCHS_BESIDE / job.recipe.passes(len(images.y))


def random_archs(space: Space) -> Tensor:
    """A few architectures of `space`, `[P, D]`, the same ones whenever they are asked for."""
    return _sampling.sample(space, torch.zeros(1).long(), torch.zeros(1).long(), _NETWORKS)[0]


def _second_epoch(population: NetworkBatch, images: Images, recipe: Recipe) -> float:
    """Seconds that the second epoch takes: the first pays for what is made once."""
    epochs = train(population, images, recipe._replace(epochs=2))
    next(epochs)
    began = time.perf_counter()
    next(epochs).sum().item()  # A GPU answers when it is done.
    return time.perf_counter() - began
