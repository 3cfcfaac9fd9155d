"""The mean of a network's weights over the last epochs of its training.

Stochastic weight averaging (Izmailov et al. 2018, arXiv:1803.05407): an equal mean of the weights after each epoch,
w_mean <- (n w_mean + w) / (n + 1), and statistics of batch norm that are estimated anew for the mean (section 3.2).
"""

from __future__ import annotations

import itertools

import torch

from nas.training.network_batch import NetworkBatch, Steps
from nas.training.recipe import Recipe, WeightAverage

_BATCHES = 50
"""From which statistics of batch norm are estimated: with its momentum of 0.1 those of before keep 0.9^50 = 0.5% of the say."""


def first_epoch(recipe: Recipe) -> int:
    """The first epoch, from 0, after which weights enter the mean; one epoch alone is no mean, so none is then taken."""
    count = round(recipe.average * recipe.epochs)
    return recipe.epochs - count if count > 1 else recipe.epochs


def take(population: NetworkBatch, networks: int, count: int) -> None:
    """Take the weights as they are into the mean of `count` epochs, with this one.

    Raises `ValueError` where the epochs before are not in the mean: a training resumed without its checkpoint.
    """
    average = population.average
    if average.count != count - 1:
        raise ValueError(
            f"The mean of weights holds {average.count} epochs and not {count - 1}: restore the checkpoint."
        )
    for p in range(networks):
        mean = average.weights.setdefault(p, {})
        for name, value in population.state_of(p).items():
            if value.is_floating_point():
                own = value.detach()
                mean[name] = own.clone() if count == 1 else mean[name] + (own - mean[name]) / count
    average.count = count


def finish(population: NetworkBatch, networks: int, steps: Steps, recipe: Recipe) -> None:
    """Set the weights to their mean, and estimate the statistics of batch norm for it from the batches of `steps`.

    The momentum of the optimizer is worth nothing afterwards.
    """
    with torch.no_grad():
        for p in range(networks):
            state = population.state_of(p)
            for name, value in population.average.weights[p].items():
                state[name].copy_(value)
    # Steps of rate 0 change no weight, and every kind of networks can take them.
    still = ((x, targets, 0.0) for x, targets, _ in itertools.islice(steps, _BATCHES))
    population.learn(still, recipe.momentum, recipe.weight_decay)
    population.average, population.counted = WeightAverage(), []
