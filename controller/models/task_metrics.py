"""How alike a new task and known ones are, by what a few architectures score on them: four metrics of few-shot learning.

A task is embedded by the normal scores of `P` probes and by what is known of its data. Classes are families of tasks.

- `prototypical`: a softmax over minus squared distances to the mean of each family (Snell et al. 2017,
  arXiv:1703.05175, equation 2)
- `matching`: a softmax over cosines with each known task (Vinyals et al. 2016, arXiv:1606.04080, section 2.1.1)
- `siamese`: a sigmoid of the weighted absolute difference of two embeddings (Koch et al. 2015, section 3.1)
- `relation`: a network gives two embeddings side by side a score from 0 to 1 (Sung et al. 2018, arXiv:1711.06025, equation 1)

Each starts with a gain of 0, by which all known tasks are alike.

Shapes: `Q` new tasks, `T` known ones, `F` families, `I` inputs, `H` hidden units.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Metric = Literal["prototypical", "matching", "siamese", "relation"]
Params = dict[str, Tensor]
"""`w1` `[I, H]`, `b1` `[H]`, `w2` `[H, H]`, `gain` `[]`; of siamese `alpha` `[H]` and `bias` `[]`; of relation `r1` `[2H, H]` and
`r2` `[H]`."""


def similarity(metric: Metric, params: Params, asked: Tensor, known: Tensor, member: Tensor) -> Tensor:
    """How much each known task counts for each new one, `[Q, T]`, from 0 to 1.

    Args:
        asked, known: inputs `[Q, I]` and `[T, I]`.
        member: float `[Q, F, T]` 1 where a known task is of a family and counts for the new one, else 0.
    """
    a, k, gain = embed(params, asked), embed(params, known), params["gain"]
    if metric == "prototypical":
        return (family_probability(params, a, k, member) @ member).squeeze(1)
    if metric == "matching":
        cosine = torch.nn.functional.normalize(a, dim=-1) @ torch.nn.functional.normalize(k, dim=-1).T
        open_QT = member.sum(1) > 0
        return (gain * cosine).masked_fill(~open_QT, -torch.inf).softmax(-1)
    return torch.sigmoid(gain * pair_logit(metric, params, a, k))


def embed(params: Params, inputs: Tensor) -> Tensor:
    """`[..., H]`."""
    return (inputs @ params["w1"] + params["b1"]).tanh() @ params["w2"]


def family_probability(params: Params, a: Tensor, k: Tensor, member: Tensor) -> Tensor:
    """Of each family, by the distance to the mean of its known tasks, `[Q, 1, F]`; a family without any has none."""
    count_QF1 = member.sum(-1, keepdim=True)
    mean_QFH = member @ k / count_QF1.clamp_min(1)
    distance_QF = (a[:, None] - mean_QFH).square().sum(-1)
    logit_QF = (-params["gain"] * distance_QF).masked_fill(count_QF1.squeeze(-1) == 0, -torch.inf)
    return logit_QF.softmax(-1)[:, None]


def pair_logit(metric: Metric, params: Params, a: Tensor, k: Tensor) -> Tensor:
    """Of being of one family, of each pair, `[Q, T]`."""
    if metric == "siamese":
        return (a[:, None] - k).abs() @ params["alpha"] + params["bias"]
    both = torch.cat([a[:, None].expand(-1, len(k), -1), k.expand(len(a), -1, -1)], -1)
    return (both @ params["r1"]).relu() @ params["r2"]


def loss(metric: Metric, params: Params, asked: Tensor, known: Tensor, member: Tensor, family: Tensor) -> Tensor:
    """What training makes smaller, `[Q]`; `family` int64 `[Q]` is what each new task truly is of.

    Minus the log-probability of the family; of pairs the cross-entropy (siamese) or the squared error (relation).
    """
    found_QT = similarity(metric, params, asked, known, member)
    same_QT = member.gather(1, family[:, None, None].expand(-1, 1, member.shape[2])).squeeze(1)
    if metric == "prototypical":
        count_Q = same_QT.sum(-1).clamp_min(1)
        return -(((found_QT * same_QT).sum(-1) / count_Q).clamp_min(1e-9)).log()
    if metric == "matching":
        return -((found_QT * same_QT).sum(-1).clamp_min(1e-9)).log()
    open_QT = member.sum(1)
    if metric == "siamese":
        error_QT = torch.nn.functional.binary_cross_entropy(found_QT, same_QT, reduction="none")
    else:
        error_QT = (found_QT - same_QT).square()
    # As many pairs of one family as of two, as Koch et al. draw them.
    other_QT = open_QT - same_QT
    return sum((error_QT * x).sum(-1) / x.sum(-1).clamp_min(1) for x in (same_QT, other_QT)) / 2  # pyright: ignore
