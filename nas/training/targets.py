"""What the logits of a batch are compared with: classes, or a share for each class where the recipe asks for it.

Shapes: `N` images, `K` classes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.training.recipe import Images, Recipe
from search_spaces import _noise

_MIXUP_STREAM = 3
"""Of random numbers, apart from those that order and augment images."""
_TRIES = 64
"""Pairs drawn for one Beta number: for `alpha` up to 1 at least half of the pairs are accepted, so that 2^-64 of all draws find
none."""


def are_soft(images: Images, recipe: Recipe) -> bool:
    """Whether targets are shares `[N, K]` and not classes `[N]`."""
    return images.y.dim() == 2 or bool(recipe.label_smoothing or recipe.mixup or recipe.balanced)


def class_weights(y: Tensor, classes: int) -> Tensor:
    """N / (K n_k), float32 `[K]`, for `K` classes that occur; 0 for others. The mean over the images is 1.

    King & Zeng 2001, "Logistic regression in rare events data"; with it the learning rate keeps its meaning.
    """
    count_K = y.sum(0) if y.dim() == 2 else y.bincount(minlength=classes).float()
    weight_K = len(y) / (count_K * (count_K > 0).sum())
    return torch.where(count_K > 0, weight_K, 0.0)


def soft(y: Tensor, classes: int, recipe: Recipe, weights: Tensor | None) -> Tensor:
    """Targets `[N, K]` of a batch of `y` `[N]` or `[N, K]`.

    As `cross_entropy(label_smoothing=, weight=)` of PyTorch has them: smoothed, then each class times its weight, so that
    rows need not sum to 1.
    """
    target_NK = y if y.dim() == 2 else F.one_hot(y, classes).float()
    # Szegedy et al. 2016, section 7: the prior over classes is uniform.
    smoothed_NK = (1 - recipe.label_smoothing) * target_NK + recipe.label_smoothing / classes
    return smoothed_NK if weights is None else smoothed_NK * weights


def mixed(x: Tensor, target_NK: Tensor, recipe: Recipe, step: int) -> tuple[Tensor, Tensor]:
    """Images and targets, each mixed with those of another image: l a + (1 - l) b, with one l for a batch.

    Zhang et al. 2018, "mixup: Beyond empirical risk minimization", equation 1, and one l for a batch as in their code.
    """
    if not recipe.mixup:
        return x, target_NK
    share = beta(recipe.mixup, recipe.seed, step)
    # The order of a batch is random, so that the batch turned around is a random partner for each image.
    return share * x + (1 - share) * x.flip(0), share * target_NK + (1 - share) * target_NK.flip(0)


def beta(alpha: float, seed: int, step: int) -> float:
    """A number of Beta(alpha, alpha) for `alpha` in (0, 1], a function of its arguments alone.

    Jöhnk's rejection (Devroye 1986, "Non-uniform random variate generation", section IX.3.5): of uniform u and v with
    u^(1/alpha) + v^(1/alpha) <= 1, the first one's part of the sum.
    """
    # Half a bit more: the logarithm of no draw is infinite. float64: powers of 1 / alpha are small.
    draw = _noise.uniform(torch.tensor([seed]), step, 2, _TRIES, stream=_MIXUP_STREAM)[0].double() + 2.0**-25
    log_a, log_b = draw.log() / alpha
    log_sum = torch.logaddexp(log_a, log_b)
    accepted = (log_sum <= 0).nonzero()
    first = int(accepted[0]) if len(accepted) else 0
    return (log_a[first] - log_sum[first]).exp().item()
