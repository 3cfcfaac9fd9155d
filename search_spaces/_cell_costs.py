"""Parameters, FLOPs and loads of networks of cells: by formula for NAS-Bench-201's skeleton, by shares for others.

Shapes: `D` decisions, `C` choices.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from search_spaces._base import Loads, Space, Task
from search_spaces._cells import cells_of
from search_spaces._network_costs import counts, in_blocks


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
            number = cells_of(stage, cells) * count
            params_cells = params_cells + number * (k * k * c * c + 2 * c)
            flops_cells = flops_cells + number * k * k * c * c * height * width
    out = channels << 2
    params += 2 * out + out * task.num_classes + task.num_classes
    flops += out * task.num_classes
    return params + torch.as_tensor(params_cells), flops + torch.as_tensor(flops_cells)


def three_stages_loads(
    archs: Tensor, operations: Sequence[str], task: Task, channels: int, cells: int, stem_stride: int = 1
) -> Loads:
    """What `three_stages` networks do, for `archs` `[..., 6]` without dead edges; layers as `three_stages_cost` counts them."""
    image_channels, *sides = task.input_shape
    sides = [-(-side // stem_stride) for side in sides]
    places = math.prod(sides)
    count = {name: torch.as_tensor(archs == operations.index(name)).double().sum(-1) for name in operations}
    wide, narrow, pools = count["nor_conv_3x3"], count["nor_conv_1x1"], count["avg_pool_3x3"]
    zero, out = torch.zeros_like(wide), channels << 2
    found = Loads(
        zero + 9 * image_channels * channels * places, zero + out * task.num_classes,
        zero + 9 * in_blocks(image_channels, channels) * places, zero + out,
        zero + channels * places + out + task.num_classes, zero + 3,
    )  # fmt: skip
    for stage in range(3):
        c = channels << stage
        if stage:
            sides = [-(-side // 2) for side in sides]
            places = math.prod(sides)
            # Two 3x3 convolutions beside a pooling and a 1x1 convolution.
            narrow_c = in_blocks(c // 2, c)
            block = (
                9 * c * (c // 2) + 9 * c * c, c * (c // 2), 10 * narrow_c + 9 * in_blocks(c, c), c // 2, 3 * c + c // 2,
            )  # fmt: skip
            found = Loads(*(x + y * places for x, y in zip(found, block)), found.layers + 4)  # pyright: ignore
        blocked = (9 * wide + narrow) * in_blocks(c, c)
        here = (wide * 9 * c * c, narrow * c * c, blocked, pools * c, (wide + narrow + pools) * c)
        number = cells_of(stage, cells)
        layers = found.layers + number * (wide + narrow + pools)
        found = Loads(*(x + number * y * places for x, y in zip(found, here)), layers)  # pyright: ignore
    return found


def additive_cost(space: Space, archs: Tensor, task: Task) -> tuple[Tensor, Tensor]:
    """Parameters and FLOPs, int64 `[...]` each, of `archs` `[..., D]` whose decisions each add their own share.

    So it is wherever no operation changes the size of what another one sees. Shares are differences to the first
    architecture, counted on networks without memory (device `meta`).
    """
    table_DC2 = _shares(space, task)
    base_2 = torch.tensor(counts(space, torch.zeros(len(space.choices), dtype=torch.long), task))
    total = base_2 + table_DC2[torch.arange(len(space.choices)), archs].sum(-2)
    return total[..., 0], total[..., 1]


@lru_cache
def _shares(space: Space, task: Task) -> Tensor:
    """What each option adds to the first of its decision, int64 `[D, C, 2]`."""
    first = torch.zeros(len(space.choices), dtype=torch.long)
    base_2 = torch.tensor(counts(space, first, task))
    table_DC2 = torch.zeros(len(space.choices), max(space.choices), 2, dtype=torch.long)
    for d, options in enumerate(space.choices):
        for c in range(1, options):
            arch = first.clone()
            arch[d] = c
            table_DC2[d, c] = torch.tensor(counts(space, arch, task)) - base_2
    return table_DC2
