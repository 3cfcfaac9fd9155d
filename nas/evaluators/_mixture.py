"""The expected score of a mixture of architectures, by contraction of a table.

Decisions of a mixture are independent: F(w) = sum over architectures a of prod over d of w[d, a_d] times score(a). F is linear in
the weights of each decision, so its derivative by `w[d, c]` is F with decision `d` held at option `c`. Weights that are no
distribution, as one option alone or less than one in all, are answered by the same polynomial.

Shapes: `M` mixtures, `D` decisions, `C` choices, `N` architectures by index.
"""

from __future__ import annotations

import torch
from torch import Tensor


def expectation(score_N: Tensor, weights_MDC: Tensor, choices: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """F of each mixture, float64 `[M]`, and its derivative by the weights, `[M, D, C]`; 0 beyond a decision's own options.

    `score_N` holds no NaN. All sums are elementwise, in an order that the space alone decides: the numbers of a mixture do not
    depend on how many stand beside it.
    """
    weights = weights_MDC.double()
    slope = torch.zeros_like(weights)

    def fill(rest_MP: Tensor, first: int, end: int) -> None:
        """Slopes of decisions `first` to `end - 1`, from the scores with all others contracted, by index of these."""
        if end - first == 1:
            slope[:, first, : choices[first]] = rest_MP
            return
        # Halves: every score is read a few times in all, and not once for each decision.
        middle, left, right = (first + end) // 2, rest_MP, rest_MP
        for d in reversed(range(middle, end)):
            left = _held(left.unflatten(1, (-1, choices[d])), weights[:, d], 2)
        fill(left, first, middle)
        for d in range(first, middle):
            right = _held(right.unflatten(1, (choices[d], -1)), weights[:, d], 1)
        fill(right, middle, end)

    fill(score_N.double()[None], 0, len(choices))
    return _held(slope[:, :1, : choices[0]], weights[:, 0], 2).squeeze(1), slope


def _held(score: Tensor, weights_MC: Tensor, dim: int) -> Tensor:
    """The scores `[M, P, Q]` with their axis `dim` contracted, `[M, P or Q]`."""
    parts = score.unbind(dim)
    total = parts[0] * weights_MC[:, 0, None]
    for c, part in enumerate(parts[1:], 1):
        total = total + part * weights_MC[:, c, None]
    return total
