"""The sign test: whether one thing is better than another in more pairs than fair coins explain (Conover 1999, section 3.4)."""

from __future__ import annotations

import math

ERROR = 1e-4
"""The probability at most that a law takes luck for a difference: a suite of a hundred such laws is then right for a hundred
years of daily runs, with other seeds each day."""


def p_value(better: int, worse: int) -> float:
    """The probability of at least `better` heads in `better + worse` tosses of a fair coin. Ties are left out beforehand."""
    n = better + worse
    return sum(math.comb(n, k) for k in range(better, n + 1)) / 2**n
