"""Training a population: one data pass for all its cells, each with its own gradient, momentum and fate.

Shapes: `P` cells, `N` images, `K` classes, `E` epochs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas import _augment
from nas._population import Population, initialise
from search_spaces import _noise, _ops
from search_spaces._base import Space, Task

_SEED_SHIFT = 20
"""Keys of 32 bits hold the architecture's rank below this bit and the training seed above it."""
SEEDS = 1 << (32 - _SEED_SHIFT)
"""How many training seeds there are."""
_SMALL = 512
"""Values of a first-stage picture up to which a CPU is faster with many cells at once: larger ones leave its cache."""
_EVALUATED = 512
"""Images scored at once."""


class Recipe(NamedTuple):
    """How a network is trained: SGD with Nesterov momentum, a cosine from `lr` to 0, no label smoothing."""

    epochs: int
    batch: int = 64
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    crop: int = 0
    """Pixels of padding for random crops; 0: none."""
    flip: bool = False
    """Mirror half of the pictures."""
    cutout: int = 0
    """Side of a square set to the mean; 0: none."""
    seed: int = 0
    """Of the weights, the order of the images and the augmentation."""


class Images(NamedTuple):
    """Part of a data set, on the device that trains."""

    x: Tensor
    """uint8 `[N, C, H, W]`."""
    y: Tensor
    """int64 `[N]`."""
    mean: Tensor
    """float32 `[C]` of x / 255, as `std`."""
    std: Tensor

    def normalised(self, index: Tensor | slice) -> Tensor:
        """Some of the pictures, float32, of mean 0 and deviation 1."""
        shape = (1, -1, 1, 1)
        return (self.x[index].float() / 255 - self.mean.view(shape)) / self.std.view(shape)


class Singles(nn.Module):
    """Networks of any space side by side, each on its own; as `Population`."""

    def __init__(self, networks: Sequence[nn.Module]):
        super().__init__()
        self.networks = nn.ModuleList(networks).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def forward(self, images: Tensor) -> Tensor:
        images = images.contiguous(memory_format=torch.channels_last)
        return torch.stack([network(images) for network in self.networks])

    def state_of(self, p: int) -> dict[str, Tensor]:
        """Views of the weights of network `p`."""
        return self.networks[p].state_dict(keep_vars=True)


def networks(
    space: Space, archs: Tensor, task: Task, seed: int, device: torch.device | str = "cpu"
) -> Population | Singles:
    """The untrained networks of `archs` `[P, D]`; their weights depend on the architecture and `seed` alone.

    Which module holds them depends on the space, the task and the device, never on `archs`: the two round otherwise.
    """
    if _better_together(space, task, torch.device(device)):
        names = [[space.operations[d][c] for d, c in enumerate(arch)] for arch in archs.tolist()]
        population = Population(names, task, space.channels, space.cells, space.stem_stride)  # pyright: ignore[reportAttributeAccessIssue]
    else:
        population = Singles([space.build(arch, task) for arch in archs])
    initialise(population, _ops.index(archs, space.choices) + (seed << _SEED_SHIFT))
    return population.to(device)


def _better_together(space: Space, task: Task, device: torch.device) -> bool:
    """Whether these networks share a skeleton and train faster as one, as `runs/train_speed.sh` measures it."""
    if len(space.choices) != 6 or "skip_connect" not in space.operations[0]:
        return False
    _, height, width = task.input_shape
    values = space.channels * height * width // space.stem_stride**2  # pyright: ignore[reportAttributeAccessIssue]
    return device.type != "cpu" or values <= _SMALL


def train(population: Population | Singles, images: Images, recipe: Recipe) -> Iterator[Tensor]:
    """Train epoch after epoch; yields the mean loss of each cell, float32 `[P]`, after each one.

    A cell that diverges has a loss of NaN from then on and disturbs no other. The schedule is that of `recipe.epochs`,
    so that few epochs are the beginning of many.
    """
    optimiser = torch.optim.SGD(
        population.parameters(), recipe.lr, recipe.momentum, weight_decay=recipe.weight_decay, nesterov=True, fused=True
    )
    count = len(images.y)
    batch = min(recipe.batch, count)
    steps = count // batch
    seed = torch.tensor([recipe.seed])
    for epoch in range(recipe.epochs):
        population.train()
        order = _noise.bits(seed, epoch, count, stream=1)[0].argsort().to(images.y.device)
        total = torch.zeros((), device=images.y.device)
        for step in range(steps):
            done = (epoch * steps + step) / (recipe.epochs * steps)
            optimiser.param_groups[0]["lr"] = recipe.lr * 0.5 * (1 + math.cos(math.pi * done))
            index = order[step * batch : (step + 1) * batch]
            x = _augment.batch(images.normalised(index), recipe, epoch * steps + step)
            logits_PNK = population(x)
            target = images.y[index].expand(len(logits_PNK), -1)
            loss_P = (
                F.cross_entropy(logits_PNK.flatten(0, 1), target.flatten(), reduction="none").view(target.shape).mean(1)
            )
            optimiser.zero_grad()
            loss_P.sum().backward()
            optimiser.step()
            total = total + loss_P.detach()
        yield total / steps


def predictions(population: nn.Module, images: Images) -> Tensor:
    """The class that each cell sees in each image, int64 `[P, N]`."""
    population.eval()
    with torch.inference_mode():
        parts = range(0, len(images.y), _EVALUATED)
        return torch.cat([population(images.normalised(slice(a, a + _EVALUATED))).argmax(-1) for a in parts], 1)


def accuracy(population: nn.Module, images: Images) -> Tensor:
    """Percent of `images` that each cell has right, float32 `[P]`."""
    return 100 * (predictions(population, images) == images.y).float().mean(1)


def figures(seen: Tensor, truth: Tensor, classes: int) -> dict[str, Any]:
    """How good predictions `[N]` are: percent right, its 95% interval (Wilson 1927), the confusion matrix `[K, K]`."""
    N, z = len(truth), 1.959964
    share = (seen == truth).double().mean().item()
    middle = (share + z * z / (2 * N)) / (1 + z * z / N)
    half = z / (1 + z * z / N) * math.sqrt(share * (1 - share) / N + z * z / (4 * N * N))
    confusion = torch.zeros(classes, classes, dtype=torch.long).index_put_(
        (truth, seen), torch.ones((), dtype=torch.long), accumulate=True
    )
    return {
        "test_accuracy": round(100 * share, 3),
        "interval": [round(100 * (middle - half), 3), round(100 * (middle + half), 3)],
        "confusion": confusion.tolist(),
    }
