"""Parameters, FLOPs and loads of the networks of any space: by its own formula, or by building them without memory.

Shapes: `D` decisions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor, nn

from search_spaces._base import HasCost, HasLoads, HasMirror, HasOwnSize, Loads, Space, Task

_BLOCK = 16
"""Channels that vector units take at once: those of AVX-512 in float32. Narrower ones are between this and no blocks at all."""
_FEW = 8
"""Input channels below which a convolution is computed without blocks, as that of an image is."""


def in_blocks(inputs: int, outputs: int) -> int:
    """Input times output channels of a convolution, in whole blocks: ONNX Runtime takes 16 channels as long as 8."""
    whole = inputs if inputs < _FEW else _BLOCK * -(-inputs // _BLOCK)
    return whole * _BLOCK * -(-outputs // _BLOCK)


def network_cost(space: Space, archs: Tensor, task: Task) -> tuple[Tensor, Tensor]:
    """Parameters and FLOPs, int64 `[...]` each, of `archs` `[..., D]` of any space.

    A space that cannot say (`HasCost`) builds each network once, on device `meta`: milliseconds each. Whatever its code raises
    is raised here.
    """
    if isinstance(space, HasCost):
        return space.cost(archs, task)
    counted_N2 = torch.tensor(
        [_counted(space, tuple(arch), task) for arch in archs.reshape(-1, archs.shape[-1]).tolist()]
    )
    return tuple(counted_N2.view(*archs.shape[:-1], 2).unbind(-1))  # pyright: ignore[reportReturnType]


def answer_cost(space: Space, archs: Tensor, task: Task) -> tuple[Tensor, Tensor]:
    """As `network_cost`, of what is handed out: twice the FLOPs where it answers by an image and its mirror image."""
    parameters, flops = network_cost(space, archs, task)
    if isinstance(space, HasMirror):
        looks = [1 + space.mirrors(arch) for arch in archs.reshape(-1, archs.shape[-1])]
        flops = flops * torch.tensor(looks).view(archs.shape[:-1])
    return parameters, flops


@lru_cache(maxsize=1 << 16)
def _counted(space: Space, arch: tuple[int, ...], task: Task) -> tuple[int, int]:
    return counts(space, torch.tensor(arch), _sized(space, torch.tensor(arch), task))


def network_loads(space: Space, archs: Tensor, task: Task) -> Loads:
    """The loads of `archs` `[..., D]` of any space; one that cannot say (`HasLoads`) builds each network once."""
    if isinstance(space, HasLoads):
        return space.loads(archs, task)
    rows = [built_loads(space, tuple(arch), task) for arch in archs.reshape(-1, archs.shape[-1]).tolist()]
    return Loads(*torch.tensor(rows, dtype=torch.float64).view(*archs.shape[:-1], len(Loads._fields)).unbind(-1))


@lru_cache(maxsize=1 << 16)
def built_loads(space: Space, arch: tuple[int, ...], task: Task) -> tuple[float, ...]:
    """The loads of one network, of what its layers gave for one image."""
    found = dict.fromkeys(Loads._fields, 0.0)

    def add(layer: nn.Module, _inputs: object, output: object) -> None:
        pools = "Pool" in type(layer).__name__
        if not isinstance(output, Tensor) or not (pools or isinstance(layer, nn.Conv2d | nn.Linear)):
            return
        found["layers"] += 1
        found["values"] += output[0].numel()
        if pools:
            found["pooled"] += output[0].numel()
        elif isinstance(layer, nn.Conv2d | nn.Linear):
            places = output[0, 0].numel() if output.dim() == 4 else 1
            kernel = math.prod(layer.kernel_size) if isinstance(layer, nn.Conv2d) else 1
            found["wide" if kernel > 1 else "pointwise"] += layer.weight.numel() * places
            if isinstance(layer, nn.Conv2d):
                found["blocked"] += in_blocks(layer.in_channels // layer.groups, layer.out_channels) * kernel * places

    _traced(space, torch.tensor(arch), _sized(space, torch.tensor(arch), task), add)
    return tuple(found.values())


def counts(space: Space, arch: Tensor, task: Task) -> tuple[int, int]:
    """Parameters and FLOPs of one network: weights times places of convolutions and of the classifier, no biases."""
    flops = 0

    def count(layer: nn.Module, _inputs: object, output: Tensor) -> None:
        nonlocal flops
        if isinstance(layer, nn.Conv2d | nn.Linear):
            flops += layer.weight.numel() * (output[0, 0].numel() if output.dim() == 4 else 1)

    network = _traced(space, arch, task, count)
    return sum(p.numel() for p in network.parameters()), flops


def _sized(space: Space, arch: Tensor, task: Task) -> Task:
    return space.sized(arch, task) if isinstance(space, HasOwnSize) else task


def _traced(space: Space, arch: Tensor, task: Task, hook: Callable[..., None]) -> nn.Module:
    """The network of one architecture, after one image has passed through it without memory (device `meta`)."""
    with torch.device("meta"):
        network = space.build(arch, task).eval()
        for layer in network.modules():
            layer.register_forward_hook(hook)
        network(torch.zeros(1, *task.input_shape))
    return network
