"""What a model is given of a task beside the evaluations, and how similar tasks are by it.

Shapes: `K` tasks, `T` task features, `S` searches, `n` evaluations.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from search_spaces import Task

NUM_META_FEATURES = 8
"""Numbers in which a set encoder describes the training images (`nas/datasets/set_encoder.py`)."""
NUM_TASK_FEATURES = 6 + NUM_META_FEATURES
_SHAPE_KNOWN, _EXAMPLES, _DESCRIBED = 3, 4, 5
"""Places of the 1 that says that the numbers before it are known, of the number of examples (0: unknown), and of the 1 that says
that meta-features follow."""


def task_features(task: Task) -> Tensor:
    """Logarithms of classes, channels, image size, one; where known the examples, then one and the meta-features.

    float32 `[T]`; zeros for what is not known of the data. Divisors bring common image tasks near zero.
    """
    channels, height, width = task.input_shape
    numbers = (task.num_classes / 30, channels / 2, height * width / 1024)
    shape = [*(math.log(max(x, 1e-6)) for x in numbers), 1.0] if task.data_known else [0.0] * (_SHAPE_KNOWN + 1)
    examples = [math.log(max(task.features[0], 1.0) / 5000)] if task.features else [0.0]
    described = list(task.features[1 : 1 + NUM_META_FEATURES])
    known = [1.0, *described] if len(described) == NUM_META_FEATURES else [0.0] * (1 + NUM_META_FEATURES)
    return torch.tensor([*shape, *examples, *known])


def task_similarity(features: Tensor, others: Tensor) -> Tensor:
    """How similar a task `[T]` is to each of others `[K, T]`, `[K]` from 0 to 1: exp(-distance^2 / 2).

    Features that are known of one alone count neither way. The meta-features count as much as one other feature together.
    """
    both = torch.ones_like(others)
    both[:, :_SHAPE_KNOWN] = (features[_SHAPE_KNOWN] * others[:, _SHAPE_KNOWN])[:, None]
    both[:, _EXAMPLES] = ((features[_EXAMPLES] != 0) & (others[:, _EXAMPLES] != 0)).to(both.dtype)
    both[:, _DESCRIBED + 1 :] = (features[_DESCRIBED] * others[:, _DESCRIBED])[:, None] / NUM_META_FEATURES**0.5
    both[:, [_SHAPE_KNOWN, _DESCRIBED]] = 0.0
    return torch.exp(-((features - others) * both).square().sum(-1) / 2)


def standardised_log_cost(seconds: Tensor) -> Tensor:
    """Logarithms of costs `[S, n]` in standard deviations from their mean, float64; 0 where unknown or all the same."""
    known = (seconds > 0) & seconds.isfinite()
    count = known.sum(-1, keepdim=True).clamp_min(1)
    log_cost = torch.where(known, seconds, 1.0).double().log()
    residual = torch.where(known, log_cost - torch.where(known, log_cost, 0.0).sum(-1, keepdim=True) / count, 0.0)
    std = (residual.square().sum(-1, keepdim=True) / count).sqrt()
    return torch.where(std > 1e-3, residual / std.clamp_min(1e-3), 0.0).clamp(-3, 3)
