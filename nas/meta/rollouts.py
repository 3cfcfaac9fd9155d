"""Whole searches by the policy alone, and what reinforcement makes of them (RL^2, Duan et al. 2016).

Shapes: `S` searches, `T` evaluations of each, `N` architectures, `D` decisions, `H` the network's width.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from controller.models import features, gp_ensemble, transformer
from controller.policies import attention
from nas.meta import task_sampler

TASKS, EACH = 8, 8
"""Tasks at a time, and searches of each: their mean is what a search is measured by."""
_CLIP, _ENTROPY = 0.2, 0.01


class Searches(NamedTuple):
    """Finished searches on one ground."""

    ground: task_sampler.Ground
    told: Tensor
    """float32 `[S, features]`."""
    hidden: Tensor
    """float32 `[S, T, H]` what the network sees of the architectures tried."""
    archs: Tensor
    """int64 `[S, T, D]`."""
    score: Tensor
    """float32 `[S, T]`."""
    cost: Tensor
    """float32 `[S, T]`."""
    log_prob: Tensor
    """float32 `[S, T]` of each proposal, when it was made."""

    def best(self) -> Tensor:
        """The best score so far, `[S, T]`."""
        return self.score.cummax(1).values

    def advantage(self) -> Tensor:
        """The regret that evaluations from each on remove, against the other searches of the same task, `[S, T]`."""
        reward = torch.cat([self.score[:, :1], self.best().diff(dim=1)], 1)
        to_go = reward.flip(1).cumsum(1).flip(1).unflatten(0, (-1, EACH))
        return ((to_go - to_go.mean(1, keepdim=True)) / to_go.std(1, keepdim=True).clamp_min(0.1)).flatten(0, 1)


def stand(score: Tensor) -> Tensor:
    """Scores `[S, T]` as the network reads them; T may be 0."""
    return gp_ensemble.standing(score).float() if score.shape[1] else score


def pace(seconds: Tensor) -> Tensor:
    """Seconds `[S, T]` as the network reads them."""
    return transformer.pace(seconds).float()


@torch.no_grad()
def play(
    net: transformer.Reader, ground: task_sampler.Ground, hidden: Tensor, generator: torch.Generator, *, synthetic: bool
) -> Searches:
    """Searches of one random length; `hidden` `[N, H]` is what the network sees of the ground's architectures."""
    space, length = ground.space, int(torch.randint(4, 17, (1,), generator=generator))
    value, told, slow = task_sampler.draw_tasks(ground, TASKS, generator, synthetic=synthetic, everywhere=True)
    value, told, slow = (x.repeat_interleave(EACH, 0) for x in (value[1], told, slow))
    S, D = len(told), len(space.choices)
    archs, score = torch.zeros(S, 0, D, dtype=torch.long), torch.zeros(S, 0)
    cost, log_prob = score, []
    for _ in range(length):
        seen = hidden[features.rows(space, archs)]
        mood = net.mood(net.remember(told, seen, stand(score), pace(cost)))[:, None]
        luck = torch.rand(S, 1, D, max(space.choices), generator=generator)
        drawn = attention.draw(net, space, ground.sketch, mood, -torch.log(-torch.log(luck + 1e-9)))
        log_prob.append(attention.log_prob(net, space, ground.sketch, mood, drawn))
        row = features.rows(space, drawn)
        archs, score = torch.cat([archs, drawn], 1), torch.cat([score, value.gather(1, row)], 1)
        cost = torch.cat([cost, slow.gather(1, row)], 1)
    seen = hidden[features.rows(space, archs)]
    return Searches(ground, told, seen, archs, score, cost, torch.cat(log_prob, 1))


def loss(net: transformer.Reader, searches: Searches, advantage: Tensor) -> tuple[Tensor, float]:
    """What the policy is to make smaller (PPO, Schulman et al. 2017, equation 7, less its entropy), and the entropy."""
    now = torch.cat([_log_prob_at(net, searches, t) for t in range(searches.score.shape[1])], 1)
    ratio = (now - searches.log_prob).exp()
    clipped = torch.minimum(ratio * advantage, ratio.clamp(1 - _CLIP, 1 + _CLIP) * advantage)
    return -clipped.mean() + _ENTROPY * now.mean(), -now.mean().item()


def _log_prob_at(net: transformer.Reader, x: Searches, t: int) -> Tensor:
    memory = net.remember(x.told, x.hidden[:, :t], stand(x.score[:, :t]), pace(x.cost[:, :t]))
    return attention.log_prob(net, x.ground.space, x.ground.sketch, net.mood(memory)[:, None], x.archs[:, t : t + 1])
