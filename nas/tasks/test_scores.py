"""The test metric of a whole space, and where an architecture stands in it: read after a search, by what judges it.

Shapes: `N` architectures of a space, `F` functions.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from nas.evaluators.constrained import Constrained
from nas.evaluators.tabular import Tabular
from nas.tasks import top
from nas.types import Evaluator
from search_spaces import _ops


class Place(NamedTuple):
    """Of architectures among all of their space, by test score."""

    regret: Tensor
    """float32 `[...]`: how far the score is below the best of the space."""
    rank: Tensor
    """int64 `[...]`: 1 + the functions above."""
    functions: int
    """Distinct ones that have a test score."""


def of(evaluator: Evaluator) -> Tensor | None:
    """The test scores of a table by index, float32 `[N]`, less the penalties that the objective has.

    None where there is no test column, and where the test of an architecture is no look-up.
    """
    inner = evaluator.inner if isinstance(evaluator, Constrained) else evaluator
    if not isinstance(inner, Tabular):
        return None
    score_N = inner.report(_ops.enumerate_all(inner.space.choices))
    if score_N is None or bool(score_N.isnan().all()):
        return None
    # The best accuracy of the space is no goal under a constraint that it does not keep.
    return score_N if inner is evaluator else score_N - points(evaluator)


def points(evaluator: Evaluator) -> Tensor:
    """What the constraints of a task take off the score of each architecture, `[N]`; zeros without constraints."""
    if isinstance(evaluator, Constrained):
        return evaluator.penalties()[1]
    return torch.zeros(_ops.size(evaluator.space.choices))


def place(evaluator: Evaluator, archs: Tensor) -> Place | None:
    """Where `archs` `[..., D]` stand; None where `of` is. Meaningless for those without a test score."""
    score_N = of(evaluator)
    if score_N is None:
        return None
    best_F = top.best_of_functions(score_N, evaluator.space)
    score = score_N[_ops.index(archs, evaluator.space.choices)]
    return Place(best_F[0] - score, top.rank(score, best_F), len(best_F))
