"""Latency of any network of a space from about ten measurements on a device.

A linear model of what the network makes the device do (`search_spaces.Loads`), as FLOPs and operations do in HELP (Lee et al.
2021, arXiv:2106.08630) and in look-up tables of latency (Cai et al. 2019, ProxylessNAS, section 3.3.2). No load makes a network
faster, so that no weight is below zero; relative errors count.
Shapes: `N` networks, `F` features, `D` decisions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from search_spaces import Space, Task, representatives
from search_spaces._network_costs import network_loads

MEASUREMENTS = 10
"""Networks that are measured for a model: HELP's number. Its six weights need as many at least."""


@dataclass(frozen=True)
class LatencyModel:
    """Milliseconds as a sum over the loads of a network."""

    weights: tuple[float, ...]
    """Milliseconds, of the call and of each load in the order of `Loads`."""
    error: float
    """The median over the measurements of the error of each as predicted from the others, as a share of it (leave one out)."""
    upper_error: float
    """The upper quartile of these: where networks differ by a factor of 100 in latency, as pipelines do, the median promises too
    much. Not the largest: it is that of the smallest network, which the others can only extrapolate to."""
    measured: tuple[tuple[str, float], ...]
    """What it was made of: architectures, as their space describes them, and milliseconds."""

    def predict(self, space: Space, archs: Tensor, task: Task) -> Tensor:
        """Milliseconds of the networks of `archs` `[..., D]`, float64 `[...]`."""
        found = features(space, archs, task) @ torch.tensor(self.weights, dtype=torch.float64)
        for text, milliseconds in self.measured:  # What was measured is known.
            same = (representatives(space, archs) == representatives(space, space.parse(text))).all(-1)
            found = torch.where(same, milliseconds, found)
        return found


def fit(space: Space, task: Task, measured: Sequence[tuple[str, float]]) -> LatencyModel:
    """The model of measurements: architectures, as `space` describes them, and milliseconds above zero."""
    archs = torch.stack([space.parse(text) for text, _ in measured])
    loads_NF = features(space, archs, task).numpy()
    target_N = np.array([milliseconds for _, milliseconds in measured])
    # The median: the first ones chosen lie at the ends, and a model without one of them has to extrapolate.
    others = [np.arange(len(target_N)) != n for n in range(len(target_N))]
    left_out = [
        abs(loads_NF[n] @ _weights(loads_NF[keep], target_N[keep]) / target_N[n] - 1) for n, keep in enumerate(others)
    ]
    typical, upper = np.quantile(left_out, [0.5, 0.75]).tolist()
    return LatencyModel(tuple(_weights(loads_NF, target_N).tolist()), typical, upper, tuple(measured))


def _weights(loads_NF: np.ndarray, target_N: np.ndarray) -> np.ndarray:
    """Non-negative least squares of relative errors (Lawson & Hanson 1974), `[F]`."""
    from scipy.optimize import nnls  # Not above: it takes half a second, and most commands do without.

    relative_NF = loads_NF / target_N[:, None]
    scale_F = np.maximum(np.linalg.norm(relative_NF, axis=0), 1e-30)  # Columns of one length: loads differ by 10^6.
    return nnls(relative_NF / scale_F, np.ones(len(target_N)))[0] / scale_F


def features(space: Space, archs: Tensor, task: Task) -> Tensor:
    """A one for the call, then the loads, float64 `[..., F]`: of the network that is trained for each of `archs` `[..., D]`."""
    found = network_loads(space, representatives(space, archs), task)
    return torch.stack([torch.ones_like(found.layers), *found], -1)


def design(space: Space, archs: Tensor, task: Task, count: int = MEASUREMENTS) -> Tensor:
    """Which of `archs` `[N, D]` to measure, `[n, D]`: the one of the fewest multiply-accumulates, then always the one farthest
    from those taken, by loads (Kennard & Stone 1969). Fewer than `count` where no more differ."""
    loads_NF = features(space, archs, task)[:, 1:]
    work_N = loads_NF[:, 0] + loads_NF[:, 1]
    spread_F = loads_NF.std(0, correction=0)
    scaled_NF = loads_NF / torch.where(spread_F > 0, spread_F, 1.0)
    taken = [int(work_N.argmin())]
    distance_N = (scaled_NF - scaled_NF[taken[0]]).norm(dim=-1)
    while len(taken) < count and float(distance_N.max()) > 0:
        taken.append(int(distance_N.argmax()))
        distance_N = torch.minimum(distance_N, (scaled_NF - scaled_NF[taken[-1]]).norm(dim=-1))
    return archs[taken]
