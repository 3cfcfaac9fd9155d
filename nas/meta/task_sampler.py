"""The grounds that a prior is trained on, a space each, and the tasks drawn from them.

Shapes: `N` architectures of a space, `K` landscapes, `n` rows drawn.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from controller.models import features, transformer
from nas import plugins
from nas.meta import task_distribution
from nas.meta.task_distribution import Landscape
from search_spaces import Space, _sampling


class Ground(NamedTuple):
    """One space's share of the training tasks."""

    space: Space
    sketch: transformer.Draft
    described: features.Described
    columns: list[int]
    """Where its landscapes are in the library."""
    standing: Tensor
    """float32 `[N, K]`."""
    pace: Tensor
    """float32 `[N, K]`."""
    weight: Tensor
    """float32 `[K]` so that a large family does not drown a small one."""
    told: Tensor
    """float32 `[K, features]`."""


def lay(library: list[Landscape], task_features: bool) -> list[Ground]:
    """Every listed space there is; those without a table have made-up landscapes alone."""
    spaces = [plugins.load("space", name)() for name in plugins.names("space")]
    grounds = []
    for space in spaces:
        described = features.listed(space)
        if described is None:
            continue
        at = [i for i, x in enumerate(library) if x.space == space]
        if not at and _sampling.valid_ranks(space) is not None:
            continue
        kinds = [library[i].family for i in at]
        weight = torch.tensor([kinds.count(k) ** -0.7 for k in kinds])
        standing = torch.stack([library[i].standing for i in at], 1) if at else torch.zeros(len(described.archs), 0)
        pace = torch.stack([library[i].pace for i in at], 1) if at else standing
        known = torch.stack([told(library[i], task_features) for i in at]) if at else torch.zeros(0, transformer.TOLD)
        weight = weight / weight.mean() if at else weight
        grounds.append(Ground(space, transformer.draft(space), described, at, standing, pace, weight, known))
    return grounds


def told(x: Landscape, features: bool) -> Tensor:
    """What the network is told of a task, `[features]`; zeros without `features`."""
    known = transformer.task_features(x.task)
    return known if features else torch.zeros_like(known)


def rows(g: Ground, count: int, generator: torch.Generator) -> Tensor:
    """Half of them uniform, half among the best of one task: it is there that a search spends its evaluations."""
    N, half = len(g.described.archs), count // 2
    column = int(torch.multinomial(g.weight, 1, generator=generator))
    lot = 1.5 * g.standing[:, column] - torch.log(-torch.log(torch.rand(N, generator=generator) + 1e-9))
    return torch.cat([torch.randint(N, (half,), generator=generator), lot.topk(half).indices])


def draw(grounds: list[Ground], generator: torch.Generator) -> tuple[int, Ground]:
    """One of them with its index: a large space with many columns more often than not."""
    large = [i for i, g in enumerate(grounds) if len(g.described.archs) > 10_000 and len(g.columns) > 4]
    if large and torch.rand(1, generator=generator) < 0.6:
        return large[0], grounds[large[0]]
    i = int(torch.randint(len(grounds), (1,), generator=generator))
    return i, grounds[i]


def draw_tasks(
    g: Ground, count: int, generator: torch.Generator, *, synthetic: bool, everywhere: bool = False
) -> tuple[tuple[Tensor, Tensor], Tensor, Tensor]:
    """`((rows [n], scores [count, n]), told [count, features], seconds [count, n])`: mixtures of columns, made-up ones, both,
    with noise."""
    N = len(g.described.archs)
    rows = torch.arange(N) if everywhere else torch.randint(N, (1500,), generator=generator)
    made = task_distribution.synthetic(g.space, rows, count, generator)
    scores, told, pace = [], [], task_distribution.synthetic_pace(g.space, rows, count, generator)
    for s in range(count):
        score, what = made[:, s], torch.zeros(g.told.shape[1] if len(g.told) else transformer.TOLD)
        real = len(g.columns) and (not synthetic or torch.rand(1, generator=generator) < 0.6)
        if real:
            k = int(torch.randint(1, 4, (1,), generator=generator))
            chosen = torch.multinomial(g.weight, k, replacement=True, generator=generator)
            share = torch.rand(k, generator=generator) + 0.05
            extra = torch.rand(1, generator=generator) * 0.6 * (torch.rand(1, generator=generator) < 0.6)
            score = g.standing[rows][:, chosen] @ (share / share.norm()) + extra * score * synthetic
            what = g.told[chosen[0]]
            pace[:, s] = g.pace[rows, chosen[0]]
        noise = 0.02 + 0.3 * torch.rand(1, generator=generator).square()
        scores.append(score + noise * torch.randn(len(rows), generator=generator))
        told.append(what)
    score = torch.stack(scores)
    score = (score - score.mean(1, keepdim=True)) / score.std(1, keepdim=True).clamp_min(1e-6)
    return (rows, score), torch.stack(told), (pace * 0.3).T.exp()
