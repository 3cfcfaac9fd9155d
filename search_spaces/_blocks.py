"""What spaces of few-shot backbones share: up to four blocks of convolution, batch norm, ReLU and a halving of the image."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from search_spaces._base import OperationFeatures, Task, UserError

BLOCKS = 4
_WIDTHS = (16, 32, 48, 64)
_NONE = "none"
_WIDEST = 4.174
"""log(65), so that 64 filters have about 1, as `OperationFeatures.number` asks for."""


def _width_features(width: int) -> OperationFeatures:
    return OperationFeatures(convolution=1.0, kernel=1.0, number=float(torch.tensor(1.0 + width).log() / _WIDEST))


DECISIONS = tuple(f"block {i + 1}" for i in range(BLOCKS))
OPERATIONS = (tuple(f"width_{w}" for w in _WIDTHS), *((_NONE, *(f"width_{w}" for w in _WIDTHS)),) * (BLOCKS - 1))
FEATURES = (
    tuple(map(_width_features, _WIDTHS)),
    *((OperationFeatures(none=1.0), *map(_width_features, _WIDTHS)),) * (BLOCKS - 1),
)
"""The width of each block, or none of the last three: decisions of a space, their options, and what these do."""


def canonical(archs: Tensor) -> Tensor:
    """Of `archs` `[..., BLOCKS]`: blocks that are not there come last, since their place changes nothing."""
    rest = archs[..., 1:]
    order = (rest == 0).long().argsort(dim=-1, stable=True)
    return torch.cat([archs[..., :1], rest.gather(-1, order)], -1)


def widths(arch: Tensor) -> list[int]:
    """Of each block; 0 for one that is not there."""
    first, *rest = arch[:BLOCKS].tolist()
    return [_WIDTHS[first], *((0, *_WIDTHS)[choice] for choice in rest)]


def parse(text: str, decisions: tuple[str, ...], operations: tuple[tuple[str, ...], ...], example: str) -> Tensor:
    """An architecture from its parts between colons: widths, then the names of options. Raises `UserError` for a wrong one."""
    parts = text.strip().split(":")
    if len(parts) != len(decisions):
        raise UserError(f"Architecture '{text}' has {len(parts)} parts; it takes {len(decisions)}, as in '{example}'.")
    arch = []
    for decision, part, options in zip(decisions, parts, operations, strict=True):
        # By the text and not as a number: `064` is no width.
        names = [name.removeprefix("width_").replace(_NONE, "0") for name in options]
        if part not in names:
            raise UserError(
                f"{decision.capitalize()} of architecture '{text}' is '{part}'; there are: {', '.join(names)}."
            )
        arch.append(names.index(part))
    return torch.tensor(arch)


_POOLINGS = {"max_pool": nn.MaxPool2d, "avg_pool": nn.AvgPool2d}


_PLAIN = 3
"""Layers of a block that does not pool."""


def block(inputs: int, outputs: int, halving: str, side: int) -> nn.Sequential:
    """A 3x3 convolution, batch norm and ReLU, of which the stride or a pooling by 2 halves an image of `side`."""
    stride = 2 if halving == "stride" else 1
    layers = [nn.Conv2d(inputs, outputs, 3, stride, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]
    # A side of 1 cannot be pooled: small images keep it.
    pooling = [_POOLINGS[halving](2)] if halving in _POOLINGS and side > 1 else []
    return nn.Sequential(*layers, *pooling)


class Network(nn.Module):
    """Blocks and a linear head; images `[N, *task.input_shape]` to logits `[N, num_classes]`.

    Args:
        halvings: of each block.
        mean: whether the head sees the mean of each feature map, or all of them.
    """

    def __init__(self, task: Task, widths: list[int], halvings: list[str], *, mean: bool = False):
        super().__init__()
        channels, *size = task.input_shape
        blocks = []
        for inputs, outputs, halving in zip([channels, *widths], widths, halvings, strict=False):
            blocks.append(block(inputs, outputs, halving, min(size)))
            if halving == "stride":
                size = [-(-side // 2) for side in size]
            elif min(size) > 1:
                size = [side // 2 for side in size]
        self.side, self.body = min(task.input_shape[1:]), nn.Sequential(*blocks)
        features = widths[-1] * (1 if mean else size[0] * size[1])
        end = [nn.AdaptiveAvgPool2d(1)] if mean else []
        self.head = nn.Sequential(*end, nn.Flatten(), nn.Linear(features, task.num_classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))

    def keep_maps(self, least: int) -> None:
        """Leave out the halvings after which a feature map would have fewer than `least` places a side."""
        side = self.side
        for part in self.body:
            assert isinstance(part, nn.Sequential)
            conv = part[0]
            assert isinstance(conv, nn.Conv2d)
            if side // 2 >= least or least == 1:
                side //= 2
                continue
            conv.stride = (1, 1)
            if len(part) > _PLAIN:
                del part[_PLAIN]
