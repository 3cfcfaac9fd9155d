"""Parameters and FLOPs of networks: by formula for NAS-Bench-201's skeleton, by counting shares for other cells, by building
for any other space.

Shapes: `D` decisions, `C` choices.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor, nn

from search_spaces._base import HasCost, Space, Task


def three_stages_cost(
    archs: Tensor, operations: Sequence[str], task: Task, channels: int, cells: int, stem_stride: int = 1
) -> tuple[Tensor, Tensor]:
    """Parameters and FLOPs of `three_stages` networks, int64 `[...]` each, for `archs` `[..., 6]`.

    FLOPs follow NAS-Bench-201: the multiply-accumulates of convolutions and of the classifier for one image; batch norm,
    pooling, additions and biases count nothing.
    """
    image_channels, height, width = task.input_shape
    height, width = -(-height // stem_stride), -(-width // stem_stride)
    params = 9 * image_channels * channels + 2 * channels
    flops = 9 * image_channels * channels * height * width
    counts = [torch.as_tensor(archs == operations.index(f"nor_conv_{k}x{k}")).sum(-1) for k in (1, 3)]
    params_cells, flops_cells = 0, 0
    for stage in range(3):
        c = channels << stage
        if stage:
            height, width = -(-height // 2), -(-width // 2)
            weights = 9 * c * (c // 2) + 9 * c * c + c * (c // 2)
            params, flops = params + weights + 4 * c, flops + weights * height * width
        for count, k in zip(counts, (1, 3)):
            params_cells = params_cells + cells * count * (k * k * c * c + 2 * c)
            flops_cells = flops_cells + cells * count * k * k * c * c * height * width
    out = channels << 2
    params += 2 * out + out * task.num_classes + task.num_classes
    flops += out * task.num_classes
    return params + torch.as_tensor(params_cells), flops + torch.as_tensor(flops_cells)


def additive_cost(space: Space, archs: Tensor, task: Task) -> tuple[Tensor, Tensor]:
    """Parameters and FLOPs, int64 `[...]` each, of `archs` `[..., D]` whose decisions each add their own share.

    So it is wherever no operation changes the size of what another one sees. Shares are differences to the first
    architecture, counted on networks without memory (device `meta`).
    """
    table_DC2 = _shares(space, task)
    base_2 = torch.tensor(_counts(space, torch.zeros(len(space.choices), dtype=torch.long), task))
    total = base_2 + table_DC2[torch.arange(len(space.choices)), archs].sum(-2)
    return total[..., 0], total[..., 1]


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


@lru_cache(maxsize=1 << 16)
def _counted(space: Space, arch: tuple[int, ...], task: Task) -> tuple[int, int]:
    return _counts(space, torch.tensor(arch), task)


@lru_cache
def _shares(space: Space, task: Task) -> Tensor:
    """What each option adds to the first of its decision, int64 `[D, C, 2]`."""
    first = torch.zeros(len(space.choices), dtype=torch.long)
    base_2 = torch.tensor(_counts(space, first, task))
    table_DC2 = torch.zeros(len(space.choices), max(space.choices), 2, dtype=torch.long)
    for d, options in enumerate(space.choices):
        for c in range(1, options):
            arch = first.clone()
            arch[d] = c
            table_DC2[d, c] = torch.tensor(_counts(space, arch, task)) - base_2
    return table_DC2


def _counts(space: Space, arch: Tensor, task: Task) -> tuple[int, int]:
    """Parameters and FLOPs of one network: weights times places of convolutions and of the classifier, no biases."""
    flops = 0

    def count(layer: nn.Module, _inputs: object, output: Tensor) -> None:
        nonlocal flops
        if isinstance(layer, nn.Conv2d | nn.Linear):
            flops += layer.weight.numel() * (output[0, 0].numel() if output.dim() == 4 else 1)

    with torch.device("meta"):
        network = space.build(arch, task).eval()
        for layer in network.modules():
            layer.register_forward_hook(count)
        network(torch.zeros(1, *task.input_shape))
    return sum(p.numel() for p in network.parameters()), flops
