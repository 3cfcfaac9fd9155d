"""The backbone of few-shot learning: four blocks of convolution, batch norm, ReLU and halving; 1,000 architectures.

With 64 filters in each block it is the Conv-4 of Vinyals et al. 2016 (arXiv:1606.04080, section 4.1) and Snell et al. 2017, which
halve by max-pooling. Finn et al. 2017 (arXiv:1703.03400, section 5.2) halve by strided convolutions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from search_spaces import _blocks, _ops
from search_spaces._base import OperationFeatures, Task
from search_spaces._blocks import BLOCKS

__all__ = ["Conv4"]

_HALVINGS = ("max_pool", "stride")


@dataclass(frozen=True)
class Conv4:
    """The width of each block, or none of the last three, and how all halve the image."""

    name = "conv4"
    decisions = (*_blocks.DECISIONS, "halving")
    operations = (*_blocks.OPERATIONS, _HALVINGS)
    choices = tuple(map(len, operations))
    operation_features = (*_blocks.FEATURES, (OperationFeatures(pooling=1.0), OperationFeatures(other=1.0)))
    all_valid = True

    def valid(self, archs: Tensor) -> Tensor:
        return _ops.in_range(archs, self.choices)

    def canonical(self, archs: Tensor) -> Tensor:
        """Blocks that are not there come last: their place changes nothing."""
        return torch.cat([_blocks.canonical(archs[..., :BLOCKS]), archs[..., BLOCKS:]], -1)

    def build(self, arch: Tensor, task: Task) -> nn.Module:
        return _blocks.Network(task, [w for w in _blocks.widths(arch) if w], [_HALVINGS[int(arch[-1])]] * BLOCKS)

    def describe(self, arch: Tensor) -> str:
        """Widths, 0 for a block that is not there, and the halving, as `64:64:64:64:max_pool`."""
        return ":".join([*map(str, _blocks.widths(arch)), _HALVINGS[int(arch[-1])]])

    def parse(self, text: str) -> Tensor:
        return _blocks.parse(text, self.decisions, self.operations, "64:64:64:64:max_pool")
