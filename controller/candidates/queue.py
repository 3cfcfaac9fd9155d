"""Queues of what to try next, and what is taken out of them.

Shapes: `S` seeds, `Q` places, `B` architectures of a batch, `D` decisions.
"""

from __future__ import annotations

import torch
from torch import Tensor


def without(queue_SQD: Tensor, archs_SBD: Tensor) -> Tensor:
    """The queue without what was evaluated, which need not be its head: a filter of candidates evaluates some of a batch.

    For each of `archs_SBD` one place goes, its own or, where it stands in none, the first; so all seeds' queues stay as long.
    """
    for arch_SD in archs_SBD.unbind(1):
        if not queue_SQD.shape[1]:
            break
        at_S1 = (queue_SQD == arch_SD[:, None]).all(-1).int().argmax(-1, keepdim=True)
        place_Q = torch.arange(queue_SQD.shape[1] - 1)
        kept_SQ = place_Q + (place_Q >= at_S1)
        queue_SQD = queue_SQD.gather(1, kept_SQ[..., None].expand(-1, -1, queue_SQD.shape[-1]))
    return queue_SQD
