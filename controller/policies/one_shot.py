"""What a relaxed controller tries before it selects by score: the likeliest architecture, then samples, none of them twice.

A sample without replacement is the order of all log-probabilities with Gumbel noise added (Kool et al. 2019, arXiv:1903.06059,
section 2.3). In a space too large to list, samples are drawn one by one, and some may repeat.
Shapes: `S` seeds, `B` architectures a step, `D` decisions, `C` choices, `N` valid architectures.
"""

from __future__ import annotations

import torch
from torch import Tensor

from search_spaces import Space, _noise, _ops, _sampling

_KEYS = 253
"""Stream of random numbers that order the architectures."""


def candidates(space: Space, seeds: Tensor, log_p_SDC: Tensor, tried_S: Tensor, batch: int) -> Tensor:
    """The next of them, int64 `[S, B, D]`, of a space with a list; when all have been tried they begin anew.

    Args:
        log_p_SDC: of each decision's options.
        tried_S: how many were tried before.
    """
    every_ND, valid_N = _ops.enumerate_all(space.choices), _sampling.valid_indices(space)
    every_ND = every_ND if valid_N is None else every_ND[valid_N]
    # Decision by decision: a sum over an axis may round by the place in the tensor, so by the other seeds.
    log_p_SN = torch.zeros(len(seeds), len(every_ND))
    for d in range(len(space.choices)):
        log_p_SN = log_p_SN + log_p_SDC[:, d, every_ND[:, d]]
    key_SN = log_p_SN + _noise.gumbel(seeds, 0, len(every_ND), stream=_KEYS)
    key_SN = key_SN.scatter(1, log_p_SN.argmax(1, keepdim=True), torch.inf)
    number_SB = (tried_S[:, None] + torch.arange(batch)) % len(every_ND)
    return every_ND[key_SN.argsort(dim=1, descending=True, stable=True).gather(1, number_SB)]
