"""Examples held out of training: the same ones each time, of every class its share."""

from __future__ import annotations

import torch
from torch import Tensor

from search_spaces import _noise

HELD_OUT = 0.2
"""The share of each class that goes to a split which the dataset does not bring; not ablated."""


def held_out(y: Tensor, classes: int, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """Which examples of labels `[N]` are left, and which are held out, int64 each: of a class at least one, never all.

    Each class has two examples or more. Another seed holds out others.
    """
    order = _noise.bits(torch.tensor([seed]), 0, len(y))[0].argsort(stable=True)
    out = torch.zeros(len(y), dtype=torch.bool)
    for label in range(classes):
        members = order[y[order] == label]
        out[members[: max(1, round(share * len(members)))]] = True
    return (~out).nonzero()[:, 0], out.nonzero()[:, 0]
