"""The best of a space, counted by function: architectures that compute the same count once.

Shapes: `N` architectures of a space, `F` functions.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from nas.tables.functions import function_index
from search_spaces import Space

TOP_SHARE = 0.001
"""Of the functions of a space, the best that a search is to find: 1 in 1,000, the 5 best of NAS-Bench-201."""
COARSE_SHARE = 2 * TOP_SHARE
"""A measure is coarse where ties put more than this share into the top: it is twice as easy to reach as it says, or more."""


class Top(NamedTuple):
    """Which architectures of a space are among its best, and how many they are."""

    threshold: float
    """The score from which an architecture is in the top: that of the function of rank `ceil(TOP_SHARE * all_functions)`."""
    archs: int
    """In the top."""
    share: float
    """Of the architectures that have a score."""
    functions: int
    """Distinct ones in the top."""
    all_functions: int
    """Distinct ones that have a score."""

    @property
    def coarse(self) -> bool:
        """Whether the top is much larger than it is meant to be, by ties of functions or by one function of many names."""
        # By architectures too: it is those that a search draws, and the one that lets nothing through has hundreds of names.
        return self.share > COARSE_SHARE or self.functions > max(COARSE_SHARE * self.all_functions, 1)


def best_of_functions(score_N: Tensor, space: Space) -> Tensor:
    """The score of each function, from the best down, `[F]`: that of its best architecture; NaN left out."""
    known_N = ~score_N.isnan()
    function_N = function_index(space)[known_N]
    best = torch.full((len(score_N),), -torch.inf, dtype=score_N.dtype)
    best = best.scatter_reduce(0, function_N, score_N[known_N], "amax")
    return best[best > -torch.inf].sort(descending=True).values


def threshold(best_F: Tensor) -> float:
    """The score from which on an architecture is in the top, by `best_of_functions`."""
    return best_F[max(math.ceil(TOP_SHARE * len(best_F)) - 1, 0)].item()


def top(score_N: Tensor, space: Space) -> Top:
    """The top of a space by the scores of its architectures by index, NaN where there is none."""
    best_F = best_of_functions(score_N, space)
    least = threshold(best_F)
    archs = int((score_N >= least).sum())
    return Top(least, archs, archs / int((~score_N.isnan()).sum()), int((best_F >= least).sum()), len(best_F))


def rank(score: Tensor, best_F: Tensor) -> Tensor:
    """1 + the number of functions above each score, int64 of its shape; 1 is the best of the space."""
    return torch.searchsorted(-best_F, -score.contiguous()) + 1
