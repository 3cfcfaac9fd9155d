"""How many architectures of a search are within noise of its best score, and where the noise comes from."""

from __future__ import annotations

import math
from typing import NamedTuple

_Z = 1.959964
"""Two-sided 95% of the normal distribution."""


class Noise(NamedTuple):
    """Of the scores of one search, in points of accuracy."""

    distinct: int
    """Architectures that compute different functions and were trained to the full length of an evaluation."""
    tied: int
    """Those that share the highest score."""
    within: int
    """Those whose score is at most `margin` below the highest."""
    margin: float
    """The scores of two equally good architectures differ by less, 95% of the time."""
    validation: float
    """Standard error of one score, as the validation split has only so many images."""
    seeds: float | None
    """Standard deviation between training seeds of one architecture; None: no leader was trained again."""
    images: int
    """Of the validation split."""

    def sentence(self) -> str:
        """How sure the choice is, for people."""
        between = "unknown" if self.seeds is None else f"{self.seeds:.2f}"
        ties = f", {self.tied} share it" if self.tied > 1 else ""
        return (
            f"{self.within} of {self.distinct} architectures are within noise of the best score{ties}. Two equally "
            f"good ones differ by less than {self.margin:.2f} points in 95% of cases: the standard error of a score is "
            f"{self.validation:.2f} for {self.images} validation images, and the standard deviation between training seeds "
            f"is {between}"
        )


def estimate(scores: list[float], accuracy: float, images: int, repeats: list[list[float]]) -> Noise:
    """The noise of a search.

    margin = 1.96 sqrt(2 (validation^2 + seeds^2)). The two errors are added as if each were measured without the other, and all
    architectures share their validation images, so the margin is at most too wide.

    Args:
        scores: one for each distinct architecture, best first.
        accuracy: of the best, in percent of `images`.
        repeats: the scores of each leader over training seeds.
    """
    validation, seeds = standard_error(accuracy, images), between_seeds(repeats)
    margin = _Z * math.sqrt(2 * (validation**2 + (seeds or 0.0) ** 2))
    return Noise(
        distinct=len(scores),
        tied=sum(score == scores[0] for score in scores),
        within=sum(score >= scores[0] - margin for score in scores),
        margin=margin,
        validation=validation,
        seeds=seeds,
        images=images,
    )


def standard_error(accuracy: float, images: int) -> float:
    """Of an accuracy in percent on so many images, in points."""
    # Two hits and two misses more, after Agresti & Coull 1998: 100% of few images is not without error.
    share = (accuracy / 100 * images + 2) / (images + 4)
    return 100 * math.sqrt(share * (1 - share) / (images + 4))


def between_seeds(repeats: list[list[float]]) -> float | None:
    """The standard deviation over training seeds, pooled over architectures; None where no architecture has two scores."""
    several = [[score for score in scores if not math.isnan(score)] for scores in repeats]
    several = [scores for scores in several if len(scores) > 1]
    if not several:
        return None
    means = [sum(scores) / len(scores) for scores in several]
    squares = sum((score - mean) ** 2 for scores, mean in zip(several, means) for score in scores)
    return math.sqrt(squares / sum(len(scores) - 1 for scores in several))
