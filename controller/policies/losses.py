"""Losses of policies, term by term. Leading axes are free."""

from __future__ import annotations

import torch
from torch import Tensor


def clipped_gain(log_prob: Tensor, old_log_prob: Tensor, advantage: Tensor, clip: float) -> Tensor:
    """PPO's clipped objective of each sample, to be made larger (Schulman et al. 2017, arXiv:1707.06347, equation 7).

    Args:
        log_prob: of the samples under the policy that learns; differentiable.
        old_log_prob: the same under the policy that drew them.
        clip: how far from 1 the ratio of the two probabilities still counts.
    """
    ratio = (log_prob - old_log_prob).exp()
    return torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)
