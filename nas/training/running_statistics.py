"""Running statistics of batch norm without what they keep of the values that they began with.

After n steps of momentum m, (1 - m)^n of a running mean is still its first value, 0, and as much of a running variance is 1: a
quarter after 13 steps. What is left is a weighted mean over the batches, as in Adam's correction (Kingma & Ba 2015,
arXiv:1412.6980, section 3). Without it short trainings of wide networks scored at chance.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from nas.training.network_batch import NetworkBatch

MOMENTUM = 0.1
"""PyTorch's default, which compiled code has too."""
_LEAST = 1e-6
"""A smaller share than this changes no answer: it is that of 131 steps, and longer trainings keep their bits."""


def correct(population: NetworkBatch, steps: int) -> None:
    """Take the first values out of the statistics of networks that have taken `steps` steps; `put_back` undoes it, to the bit."""
    with torch.no_grad():
        for mean, variance, share in population.running_statistics(steps):
            if not _LEAST < share < 1:  # 1: nothing has moved them.
                continue
            population.counted += [(own, own.clone()) for own in (mean, variance)]
            mean.div_(1 - share)
            # Rounding may leave less than nothing of a channel that is constant.
            variance.sub_(share).div_(1 - share).clamp_(min=0)


def put_back(population: NetworkBatch) -> None:
    """Set the statistics to what the steps have made of them, for more steps."""
    with torch.no_grad():
        for own, counted in population.counted:
            own.copy_(counted)
    population.counted = []


@contextmanager
def as_counted(population: NetworkBatch) -> Iterator[None]:
    """Within it the statistics are what the steps have made of them."""
    counted, corrected = population.counted, [own.clone() for own, _ in population.counted]
    put_back(population)
    yield
    with torch.no_grad():
        for (own, _), value in zip(counted, corrected, strict=True):
            own.copy_(value)
    population.counted = counted
