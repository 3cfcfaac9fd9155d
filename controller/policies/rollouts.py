"""Whole searches by the attention policy alone, and the loss that reinforces it (RL^2, Duan et al. 2016, arXiv:1611.02779).

Shapes: `K` tasks, `S` searches (some of each task), `T` evaluations of each, `N` architectures, `D` decisions, `H` the network's
width.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from controller._base import TaskSample
from controller.models import cell_encoder, features, scores, task_features, transformer
from controller.policies import attention, nets
from controller.policies.losses import clipped_gain
from search_spaces import Space

_CLIP = 0.2
"""Of the ratio of probabilities: the best value in table 1 of Schulman et al. 2017. Not ablated."""
_LEAST_DEVIATION = 0.1
"""Of the returns of a task's searches, whose scores have deviation 1: smaller differences are not blown up. Not ablated."""


class Rollouts(NamedTuple):
    """Finished searches on one space."""

    space: Space
    task_features: Tensor
    """float32 `[S, F]`."""
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
    searches: int
    """Of each task, one beside the other."""

    def best(self) -> Tensor:
        """The best score so far, `[S, T]`."""
        return self.score.cummax(1).values

    def advantage(self) -> Tensor:
        """The regret that evaluations from each on remove, against the other searches of the same task, `[S, T]`."""
        reward = torch.cat([self.score[:, :1], self.best().diff(dim=1)], 1)
        # What an evaluation changes for the better, it changes for the rest of the search: undiscounted return.
        to_go = reward.flip(1).cumsum(1).flip(1).unflatten(0, (-1, self.searches))
        deviation = to_go.std(1, keepdim=True).clamp_min(_LEAST_DEVIATION)
        return ((to_go - to_go.mean(1, keepdim=True)) / deviation).flatten(0, 1)


def normal_scores(score: Tensor) -> Tensor:
    """Scores `[S, T]` as the network reads them; T may be 0."""
    return scores.normal_scores(score).float() if score.shape[1] else score


def log_cost(seconds: Tensor) -> Tensor:
    """Seconds `[S, T]` as the network reads them."""
    return task_features.standardised_log_cost(seconds).float()


@torch.no_grad()
def rollout(net: transformer.TaskTransformer, sample: TaskSample, hidden_NH: Tensor) -> Rollouts:
    """Searches of the sample's tasks over their whole space, for as many evaluations as the sample has noise."""
    assert sample.noise is not None
    space, sketch = sample.space, cell_encoder.encode_space(sample.space)
    T, S = sample.noise.shape[:2]
    each = S // len(sample.scores)
    score_SN, known_SF, cost_SN = (
        x.repeat_interleave(each, 0) for x in (sample.scores, sample.task_features, sample.cost)
    )
    archs = torch.zeros(S, 0, len(space.choices), dtype=torch.long)
    score, cost, log_prob = torch.zeros(S, 0), torch.zeros(S, 0), []
    for t in range(T):
        seen = hidden_NH[features.row_of(space, archs)]
        query = net.policy_query(net.context(known_SF, seen, normal_scores(score), log_cost(cost)))[:, None]
        # Gumbel noise of the uniform numbers: argmax of logits plus it is a sample; 1e-9 keeps log(0) out.
        drawn = attention.draw(net, space, sketch, query, -torch.log(-torch.log(sample.noise[t] + 1e-9)))
        log_prob.append(attention.log_prob(net, space, sketch, query, drawn))
        row = features.row_of(space, drawn)
        archs, score = torch.cat([archs, drawn], 1), torch.cat([score, score_SN.gather(1, row)], 1)
        cost = torch.cat([cost, cost_SN.gather(1, row)], 1)
    seen = hidden_NH[features.row_of(space, archs)]
    return Rollouts(space, known_SF, seen, archs, score, cost, torch.cat(log_prob, 1), each)


def policy_loss(
    net: transformer.TaskTransformer, x: Rollouts, advantage: Tensor, entropy_weight: float
) -> tuple[Tensor, float]:
    """What the policy is to make smaller (PPO, Schulman et al. 2017, equations 7 and 9), and its entropy in nats."""
    log_probs_STDC = torch.cat([_log_probs_at(net, x, t) for t in range(x.score.shape[1])], 1)
    clipped = clipped_gain(nets.log_prob(log_probs_STDC, x.archs), x.log_prob, advantage, _CLIP)
    entropy = nets.entropy(log_probs_STDC).mean().item()
    return -(clipped + entropy_weight * entropy_bonus(log_probs_STDC, x.archs)).mean(), entropy


def entropy_bonus(log_probs_SBDC: Tensor, archs_SBD: Tensor) -> Tensor:
    """Of sampled architectures, `[S, B]`: its mean has the gradient of the policy's exact entropy. Its value means nothing.

    The entropy of a whole architecture is H = E[sum_d H_d(a_<d)], with H_d the exact entropy of decision d after the decisions
    before it. Its gradient is E[sum_d (grad H_d + grad log p(a_d) sum_{e>d} H_e)]: a decision also counts for the entropy of
    those that it leads to, against the mean of all samples: without that baseline the noise of samples closed policies. The log
    probability of a sample has no gradient in expectation, and is no such term.
    """
    entropy_SBD = nets.entropy_terms(log_probs_SBDC).sum(-1)
    later_SBD = (entropy_SBD.flip(-1).cumsum(-1).flip(-1) - entropy_SBD).detach()
    later_SBD = later_SBD - later_SBD.mean((0, 1), keepdim=True)
    chosen_SBD = log_probs_SBDC.gather(-1, archs_SBD[..., None]).squeeze(-1)
    return (entropy_SBD + chosen_SBD * later_SBD).sum(-1)


def _log_probs_at(net: transformer.TaskTransformer, x: Rollouts, t: int) -> Tensor:
    seen = x.hidden[:, :t], normal_scores(x.score[:, :t]), log_cost(x.cost[:, :t])
    query = net.policy_query(net.context(x.task_features, *seen))[:, None]
    return attention.log_probs(net, x.space, cell_encoder.encode_space(x.space), query, x.archs[:, t : t + 1])
