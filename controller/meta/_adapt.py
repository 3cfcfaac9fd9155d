"""The inner steps of MAML on a policy's logits, and the score after them: exact over a table, or estimated from draws.

`exact` sums the expected score F_k of task k over the whole table, so that both gradients are exact, the second one through the
first. `sampled` sees scores of drawn architectures alone, as a learner must that has no table. There the policy also decides what
the inner step sees. E-MAML (Stadie et al. 2018, arXiv:1803.01118) adds that part of the gradient, which MAML's own estimate
leaves out: grad E = E[grad F_k(theta_k) + F_k(theta_k) sum over drawn grad log p(drawn)]. The MagicBox of DiCE (Foerster et al.
2018, arXiv:1802.05098) writes both as one expression. The inner step itself is a function of what was drawn, so that it has no
MagicBox.

Shapes: `K` tasks, `D` decisions, `C` choices, `M` architectures drawn.
"""

from __future__ import annotations

import torch
from torch import Tensor

from controller.meta import _start
from search_spaces import _noise


def exact(logits: Tensor, scores: Tensor, rate: float | Tensor, steps: int) -> Tensor:
    """The expected score after the inner steps, `[K]`, from logits `[D, C]` and scores `[K, *choices]`.

    Args:
        rate: of the inner steps, one number (MAML) or `[D, C]` (Meta-SGD).
    """
    choices, adapted = tuple(scores.shape[1:]), logits.expand(len(scores), *logits.shape)
    for _ in range(steps):
        (slope,) = torch.autograd.grad(_start.expected(scores, adapted, choices).sum(), adapted, create_graph=True)
        adapted = adapted + rate * slope
    return _start.expected(scores, adapted, choices)


def sampled(
    logits: Tensor, scores: Tensor, rate: float | Tensor, steps: int, samples: int, seeds: Tensor, step: int
) -> Tensor:
    """An estimate of the same by draws, `[K]`: its gradient by `logits` and `rate` is without bias."""
    adapted = logits.expand(len(scores), *logits.shape)
    drawn = logits.new_zeros(len(scores))  # The log-probability of all that decides where the inner steps lead.
    for turn in range(steps):
        log_prob_KM, score_KM = _draw(adapted, scores, samples, seeds, step, turn)
        (slope,) = torch.autograd.grad((log_prob_KM * score_KM).mean(1).sum(), adapted, create_graph=True)
        drawn = drawn + log_prob_KM.sum(1)
        adapted = adapted + rate * slope
    log_prob_KM, score_KM = _draw(adapted, scores, samples, seeds, step, steps)
    both = drawn[:, None] + log_prob_KM
    return ((both - both.detach()).exp() * score_KM).mean(1)


def _draw(logits: Tensor, scores: Tensor, samples: int, seeds: Tensor, step: int, turn: int) -> tuple[Tensor, Tensor]:
    """Log-probabilities and scores `[K, M]` of architectures drawn by `logits` `[K, D, C]`."""
    K, D, C = logits.shape
    known_KDC = _start.log_probs(logits, tuple(scores.shape[1:]))
    noise = _noise.gumbel(seeds, step, K, samples, D, C, stream=turn)[0]
    archs_KMD = (known_KDC.detach()[:, None] + noise).argmax(-1)
    log_prob_KM = known_KDC[:, None].expand(-1, samples, -1, -1).gather(-1, archs_KMD[..., None]).sum((2, 3))
    place = (torch.arange(K)[:, None], *archs_KMD.unbind(-1))
    return log_prob_KM, scores[place]
