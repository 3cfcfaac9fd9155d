"""Histograms of oriented gradients (Dalal & Triggs 2005): what classifiers of images were fed before networks.

Shapes: `N` images, `C` channels, `H` x `W` pixels, `h` x `w` cells, `F` features.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

# The paper's: unsigned gradients in 9 bins (its section 6.3), blocks of 2 x 2 cells that overlap by half, L2 norms clipped at 0.2
# (6.4).
_BINS, _BLOCK, _CLIP = 9, 2, 0.2
_CELLS = 8
"""Cells along a side, as the paper's windows of 64 pixels have with cells of 8."""
_SMALLEST = 2
"""Pixels along a cell: a gradient reaches over three."""
_CHUNK = 512
"""Images at once: more would only take more memory."""


def hog(images: Tensor) -> Tensor:
    """The features of images uint8 `[N, C, H, W]`, float32 `[N, F]`."""
    return torch.cat([_hog(part.float() / 255) for part in images.split(_CHUNK)])


def _hog(x: Tensor) -> Tensor:
    cell = max(_SMALLEST, min(x.shape[2:]) // _CELLS)
    padded = F.pad(x, (1, 1, 1, 1), mode="replicate")
    across = padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]
    down = padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]
    # Of a pixel the channel with the steepest gradient, as in the paper.
    steepest = (across**2 + down**2).argmax(1, keepdim=True)
    across, down = across.gather(1, steepest)[:, 0], down.gather(1, steepest)[:, 0]
    place = (torch.atan2(down, across) % math.pi) / math.pi * _BINS - 0.5
    lower = place.floor()
    upper_share = place - lower
    steepness = (across**2 + down**2).sqrt()
    bins = x.new_zeros(len(x), _BINS, *x.shape[2:])
    # Each pixel votes for the two bins whose centers are next to its angle.
    for at, share in ((lower, 1 - upper_share), (lower + 1, upper_share)):
        bins.scatter_add_(1, (at.long() % _BINS)[:, None], (steepness * share)[:, None])
    cells = F.avg_pool2d(bins, cell)
    blocks = F.unfold(cells, min(_BLOCK, *cells.shape[2:])).transpose(1, 2)
    clipped = F.normalize(blocks, dim=-1, eps=1e-2).clamp(max=_CLIP)
    return F.normalize(clipped, dim=-1, eps=1e-2).flatten(1)
