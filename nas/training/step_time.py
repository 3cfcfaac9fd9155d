"""What training the networks of a space takes on this machine, found out by a step of a few of them."""

from __future__ import annotations

import time
from typing import NamedTuple

import torch

from nas.training.recipe import Images, Recipe
from nas.training.train import networks, train
from search_spaces import Space, Task, _sampling

_NETWORKS = 4
"""Random ones: their mean is near that of a search's, and a step of them takes seconds at most."""


class StepTime(NamedTuple):
    """Of networks drawn at random."""

    seconds: float
    """A network's, for an image and an epoch: forward and backward."""
    parameters: tuple[int, int]
    """Weights of the smallest and of the largest."""


def measure(space: Space, task: Task, images: Images, recipe: Recipe, device: torch.device) -> StepTime:
    """Train a batch of images twice; the first time pays for what is made once."""
    archs = _sampling.sample(space, torch.zeros(1).long(), torch.zeros(1).long(), _NETWORKS)[0]
    batch = Images(images.x[: recipe.batch], images.y[: recipe.batch], images.mean, images.std)
    population = networks(space, archs, task, recipe.seed, device)
    epochs = train(population, batch, recipe._replace(epochs=2))
    next(epochs)
    began = time.perf_counter()
    next(epochs).sum().item()  # A GPU answers when it is done.
    seconds = time.perf_counter() - began
    with torch.random.fork_rng(devices=[]):
        built = [space.build(arch, task) for arch in archs]
    counts = [sum(weight.numel() for weight in network.parameters()) for network in built]
    return StepTime(seconds / len(archs) / len(batch.y), (min(counts), max(counts)))
