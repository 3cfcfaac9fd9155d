"""Random numbers as a pure function of (seed, step, index): no generator, no state, no order of calls.

Philox-2x32 with ten rounds (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"), in int64 arithmetic that
wraps, so that every device gives the same bits. The key is the seed; the counter is (index, step and stream).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

_MASK = 0xFFFFFFFF
# The constants and rounds of Random123's Philox-2x32: its published test vectors hold for these and no others.
_MULTIPLIER = 0xD256D193
_WEYL = 0x9E3779B9
_ROUNDS = 10
# The counter's high word holds both: 2^24 steps are more than any search takes, and leave 256 streams.
_STREAM_SHIFT = 24


def philox(counter_low: Tensor, counter_high: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
    """Two words of 32 random bits for each counter and key, all int64 that hold 32 bits and broadcast together."""
    if key.device.type != "cpu":
        return _rounds(counter_low, counter_high, key)
    # NumPy takes half the time that torch does to set up an operation, which is what small tensors spend theirs on.
    low, high = _rounds(counter_low.numpy(), counter_high.numpy(), key.numpy())
    return torch.from_numpy(low), torch.from_numpy(high)


def _rounds(low: Any, high: Any, key: Any) -> tuple[Any, Any]:
    """The ten rounds, on int64 of either library: both wrap around. Only `low` must be without bits above 32 on the way."""
    for _ in range(_ROUNDS):
        product = low * _MULTIPLIER
        low, high = ((product >> 32) ^ (key ^ high)) & _MASK, product
        key = key + _WEYL
    return low, high & _MASK


def bits(seeds: Tensor, step: Tensor | int, *shape: int, stream: int = 0) -> Tensor:
    """32 random bits, int64 `[S, *shape]`.

    Args:
        seeds: int64 `[S]`, each in [0, 2^32).
        step: int or int64 `[S]`, in [0, 2^24).
        stream: in [0, 256): keeps the draws of one step that serve different ends apart.
    """
    count = math.prod(shape)
    index = torch.arange((count + 1) // 2, device=seeds.device)
    step_S = torch.as_tensor(step, device=seeds.device).expand(seeds.shape)
    high_S1 = (step_S + (stream << _STREAM_SHIFT))[:, None]
    words = philox(index[None], high_S1, seeds[:, None])
    return torch.stack(words, -1).flatten(1)[:, :count].reshape(len(seeds), *shape)


def uniform(seeds: Tensor, step: Tensor | int, *shape: int, stream: int = 0) -> Tensor:
    """Uniform numbers in [0, 1), float32 `[S, *shape]`, multiples of 2^-24; arguments as in `bits`."""
    # 24 bits are what a float32 holds exactly; all 32 would round up to 1.0 now and then.
    return (bits(seeds, step, *shape, stream=stream) >> 8).float() * 2.0**-24


def integers(seeds: Tensor, step: Tensor | int, *shape: int, high: Tensor | int, stream: int = 0) -> Tensor:
    """Uniform integers in [0, high), int64 `[S, *shape]`; `high` broadcasts and lies in [1, 2^31).

    The multiply-shift map (Lemire 2019) without rejection: each value's probability is off by less than `high` x 2^-32.
    """
    return (bits(seeds, step, *shape, stream=stream) * high) >> 32


def gumbel(seeds: Tensor, step: Tensor | int, *shape: int, stream: int = 0) -> Tensor:
    """Standard Gumbel noise, float32 `[S, *shape]`: the argmax of logits plus it is a sample of their softmax."""
    half_a_bit = 2.0**-25
    return -torch.log(-torch.log(uniform(seeds, step, *shape, stream=stream) + half_a_bit))


def normal(seeds: Tensor, step: Tensor | int, *shape: int, stream: int = 0) -> Tensor:
    """Standard normal numbers, float32 `[S, *shape]` (Box & Muller 1958)."""
    u = uniform(seeds, step, *shape, 2, stream=stream)
    # log1p(-u) and not log(u): u can be 0, 1 - u cannot.
    radius = torch.sqrt(-2 * torch.log1p(-u[..., 0]))
    return radius * torch.cos(2 * math.pi * u[..., 1])


def draw(seeds: Tensor, counters: Tensor, *, high: Tensor | int, stream: int = 0) -> Tensor:
    """One integer in [0, high) for each (seed, counter), int64 `[S, ...]` for `counters` `[S, ...]` in [0, 2^32).

    The same counter of the same seed always draws the same: noise that belongs to a thing and not to a moment.
    """
    key = seeds.reshape(-1, *[1] * (counters.dim() - 1))
    low, _ = philox(counters.long(), torch.full_like(key, stream << _STREAM_SHIFT), key)
    return (low * high) >> 32
