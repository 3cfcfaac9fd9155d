"""Whether one classifier is better than another, by the test images on which they differ (McNemar 1947)."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Paired(NamedTuple):
    """Two classifiers on the same images."""

    first_only: int
    """Images that only the first has right."""
    second_only: int
    p: float
    """Of the exact test, two-sided: how likely a split at least so uneven is where both are equally good."""


def paired(first: Tensor, second: Tensor) -> Paired:
    """McNemar's exact test on the hits of two classifiers, bool `[N]` each.

    The images on which both are right, or both wrong, say nothing: of the others each is a fair coin under the null hypothesis
    (Dietterich 1998, "Approximate statistical tests for comparing supervised classification learning algorithms", section 3).
    """
    from scipy.stats import binomtest  # Not above: it takes half a second, and most commands do without.

    ours, theirs = int((first & ~second).sum()), int((~first & second).sum())
    differ = ours + theirs
    return Paired(ours, theirs, float(binomtest(ours, differ).pvalue) if differ else 1.0)
