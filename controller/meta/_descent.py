"""One step of gradient descent as a function: weights and moments in, weights and moments out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn

Net = TypeVar("Net", bound=nn.Module)
_MAX_NORM = 1.0
"""Of the gradient, so that one odd batch does not undo many. Not ablated."""
_LAST_RATE = 1e-5
"""What is left of the step size at the end of a stage, so that its last steps still count."""


class Moments(NamedTuple):
    """Those of Adam (Kingma & Ba 2015) by the name of each parameter that is trained."""

    step: dict[str, Tensor]
    """float32 `[]` steps taken."""
    mean: dict[str, Tensor]
    square: dict[str, Tensor]


def begin(params: dict[str, Tensor], names: Iterable[str]) -> Moments:
    """Moments before the first step of the parameters of these names."""
    names = list(names)
    zeros = [{n: torch.zeros_like(params[n]) for n in names} for _ in range(2)]
    return Moments({n: torch.tensor(0.0) for n in names}, *zeros)


def untrained(make: Callable[[], Net], seed: int) -> Net:
    """A network as `seed` draws its weights; the generator of the process is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def network(make: Callable[[], Net], weights: dict[str, Tensor]) -> Net:
    """A network with a copy of these weights."""
    with torch.device("meta"):
        net = make()
    net.load_state_dict({n: t.clone() for n, t in weights.items()}, assign=True)
    return net


def rate(peak: float, step: int, steps: int, warm: int) -> float:
    """The step size: up to `peak` in `warm` steps, down along half a cosine until the last of `steps`."""
    return peak * min(1, (step + 1) / warm) * (0.5 + 0.5 * math.cos(math.pi * step / max(steps, 1))) + _LAST_RATE


def descend(params: dict[str, nn.Parameter], moments: Moments, loss: Tensor, lr: float) -> Moments:
    """Moves `params`, which are the caller's own copy, one step of Adam down the gradient of `loss`; the moments after it.

    Args:
        params: those with moments and no others, in a fixed order: the norm of the gradient is a sum over them.
    """
    optimizer = torch.optim.Adam(list(params.values()), lr=lr)
    for name, p in params.items():
        kept = {
            "step": moments.step[name],
            "exp_avg": moments.mean[name],
            "exp_avg_sq": moments.square[name],
        }
        # The optimizer keeps what it is given; without copies the state before the step would change with it.
        optimizer.state[p] = {n: t.clone() for n, t in kept.items()}
    loss.backward()
    torch.nn.utils.clip_grad_norm_(list(params.values()), _MAX_NORM)
    optimizer.step()
    optimizer.zero_grad()
    after = {name: optimizer.state[p] for name, p in params.items()}
    columns = ({n: a[key] for n, a in after.items()} for key in ("step", "exp_avg", "exp_avg_sq"))
    return Moments(*columns)
