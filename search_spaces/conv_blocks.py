"""Backbones of few-shot learning around Conv-4 (`conv4`): how the image is halved may differ; 6,000 architectures, none larger.

Beside the width of each block, the first block has a halving of its own, since most of the time is spent at the full size of the
image. The later blocks may pool by the mean. The embedding is all feature maps, as that of Conv-4, or the mean of each.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from search_spaces import _blocks, _ops
from search_spaces._base import OperationFeatures, Task
from search_spaces._blocks import BLOCKS

__all__ = ["ConvBlocks"]

_FIRST, _LATER, _ENDS = ("max_pool", "stride"), ("max_pool", "stride", "avg_pool"), ("flatten", "mean")
_POOL, _OTHER = OperationFeatures(pooling=1.0), OperationFeatures(other=1.0)


@dataclass(frozen=True)
class ConvBlocks:
    """The width of each block, or none of the last three; how the first block halves, how the later ones do; the end."""

    name = "conv_blocks"
    decisions = (*_blocks.DECISIONS, "first halving", "later halving", "end")
    operations = (*_blocks.OPERATIONS, _FIRST, _LATER, _ENDS)
    choices = tuple(map(len, operations))
    operation_features = (
        *_blocks.FEATURES,
        (_POOL, _OTHER),
        (_POOL, _OTHER, _POOL),
        (OperationFeatures(identity=1.0), _POOL),
    )
    all_valid = True

    def valid(self, archs: Tensor) -> Tensor:
        return _ops.in_range(archs, self.choices)

    def canonical(self, archs: Tensor) -> Tensor:
        """Blocks that are not there come last. Where there is but one, how later ones would halve changes nothing."""
        blocks = _blocks.canonical(archs[..., :BLOCKS])
        first, later, end = archs[..., BLOCKS:].unbind(-1)
        later = torch.where((blocks[..., 1:] == 0).all(-1), torch.zeros_like(later), later)
        return torch.cat([blocks, torch.stack([first, later, end], -1)], -1)

    def build(self, arch: Tensor, task: Task) -> nn.Module:
        widths = [w for w in _blocks.widths(arch) if w]
        first, later, end = (self._option(arch, place) for place in range(BLOCKS, BLOCKS + 3))
        return _blocks.Network(task, widths, [first, *[later] * (BLOCKS - 1)], mean=end == "mean")

    def describe(self, arch: Tensor) -> str:
        """Widths, 0 for a block that is not there, both halvings and the end, as `64:64:64:64:max_pool:max_pool:flatten`."""
        rest = [self._option(arch, place) for place in range(BLOCKS, BLOCKS + 3)]
        return ":".join([*map(str, _blocks.widths(arch)), *rest])

    def parse(self, text: str) -> Tensor:
        return _blocks.parse(text, self.decisions, self.operations, "64:64:64:64:max_pool:max_pool:flatten")

    def _option(self, arch: Tensor, place: int) -> str:
        return self.operations[place][int(arch[place])]
