"""The transformer policy at work in a search: its context, its predictions, its samples.

Shapes: `S` seeds, `B` architectures, `E` evaluations, `M` asked about, `D` decisions, `C` choices, `H` the network's width.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from controller.models import cell_encoder
from controller.models.cell_encoder import SpaceEncoding
from controller.models.scores import context_window, normal_scores
from controller.models.task_features import standardised_log_cost
from controller.models.transfer_model import TransferModel
from controller.models.transformer import TaskTransformer
from controller.policies import nets
from search_spaces import Space, _noise, _sampling

_CONTEXT = 64
"""Evaluations the network attends to at most: the best and the latest, half each. It was trained on 48 at most."""

_REPLACE = 253
"""Stream of random numbers, apart from those of whoever samples."""


class Evaluated(Protocol):
    """What is read of a search's state."""

    @property
    def seeds(self) -> Tensor: ...
    @property
    def archs(self) -> Tensor: ...
    @property
    def score(self) -> Tensor: ...
    @property
    def cost(self) -> Tensor: ...


def _context(model: TransferModel, state: Evaluated) -> tuple[TaskTransformer, list[Tensor]]:
    assert model.prior is not None
    assert model.prior.network is not None
    assert model.task_features is not None
    kept_SE = context_window(state.score, _CONTEXT)
    score_SE, log_cost_SE = (
        x.gather(1, kept_SE) for x in (normal_scores(state.score), standardised_log_cost(state.cost))
    )
    archs_SED = state.archs.gather(1, kept_SE[..., None].expand(-1, -1, state.archs.shape[-1]))
    task_SF = model.task_features.repeat(len(state.seeds), 1)
    network = model.prior.network
    return network, network.context(task_SF, model.embedding(archs_SED), score_SE, log_cost_SE)


def predict(model: TransferModel, state: Evaluated, archs_SMD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`TaskTransformer.predict` of architectures for a search's state."""
    network, context = _context(model, state)
    return network.predict(context, model.embedding(archs_SMD))


def sample(model: TransferModel, state: Evaluated, batch: int, turn: int, stream: int) -> Tensor:
    """Architectures `[S, batch, D]` drawn from the policy; only options that can still end in a valid one; in a space
    without a list random ones take the place of what is not valid.

    Args:
        turn: the random numbers' step.
    """
    network, context = _context(model, state)
    encoding, choices = cell_encoder.encode_space(model.space, torch.float64), model.space.choices
    query_S1H = network.policy_query(context)[:, None]
    noise_SBDC = _noise.gumbel(state.seeds, turn, batch, len(choices), max(choices), stream=stream).double()
    archs_SBD = draw(network, model.space, encoding, query_S1H, noise_SBDC)
    if _sampling.may_draw_invalid(model.space):
        bits_SBD = _noise.bits(state.seeds, turn, batch, len(choices), stream=_REPLACE)
        archs_SBD = _sampling.replace_invalid(archs_SBD, bits_SBD, model.space)
    return archs_SBD


def draw(network: TaskTransformer, space: Space, encoding: SpaceEncoding, query: Tensor, noise: Tensor) -> Tensor:
    """Architectures `[S, B, D]` for queries `[S, 1 or B, H]` and Gumbel noise `[S, B, D, C]`."""
    policy = network.cached_policy(encoding, query)
    prefix, archs = torch.zeros_like(policy.bias[..., 0, :]), noise.new_zeros(*noise.shape[:2], 0, dtype=torch.long)
    for d in range(len(space.choices)):
        choice = (policy.logits(prefix, d) + invalid_mask(space, archs, d) + noise[:, :, d]).argmax(-1)
        archs = torch.cat([archs, choice[..., None]], -1)
        prefix = prefix + policy.prefix_update[d][choice]
    return archs


def log_probs(network: TaskTransformer, space: Space, encoding: SpaceEncoding, query: Tensor, archs: Tensor) -> Tensor:
    """Log probabilities `[S, B, D, C]` of each option of `archs` `[S, B, D]`, given the decisions before it; -inf where invalid.

    Args:
        query: `[S, B, H]`.
    """
    options_DCH = network.encoder.options(encoding)
    prefix, found = torch.zeros_like(query), []
    for d in range(len(space.choices)):
        logits = network.policy_logits(encoding, options_DCH, query, prefix, d) + invalid_mask(space, archs[..., :d], d)
        found.append(logits.log_softmax(-1))
        prefix = prefix + options_DCH[d][archs[..., d]]
    return torch.stack(found, 2)


def log_prob(network: TaskTransformer, space: Space, encoding: SpaceEncoding, query: Tensor, archs: Tensor) -> Tensor:
    """Log probability `[S, B]` of `archs` `[S, B, D]` for queries `[S, B, H]`."""
    return nets.log_prob(log_probs(network, space, encoding, query, archs), archs)


def invalid_mask(space: Space, begun: Tensor, d: int) -> Tensor:
    """0 for the options of decision `d` that can end in a valid architecture after `begun` `[S, B, d]`, else -inf."""
    invalid = _sampling.invalid_mask(space, begun, d)
    return torch.zeros(invalid.shape, dtype=torch.float64).masked_fill(invalid, -torch.inf)
