"""A transformer over the evaluations so far, with two heads: what any architecture will score, and what to propose next.

It is prior-data fitted (Müller et al. 2022, arXiv:2112.10510): one forward pass takes the place of fitting a model to a search.
The policy is autoregressive over decisions and scores each option by its embedding, so that it serves any space.

Shapes: `S` searches, `n` evaluated, `M` asked about, `D` decisions, `C` choices, `H` width.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from controller.models import features
from controller.models.cell_encoder import COMPONENTS, WIDTH, CellEncoder, SpaceEncoding
from controller.models.task_features import NUM_TASK_FEATURES

HEADS, LAYERS = 4, 3
MODES = 3
"""Normal distributions in a predicted score. None of the three was ablated."""


class _Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm_attention, self.norm_mlp = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.query, self.key_value, self.output = (
            nn.Linear(WIDTH, WIDTH),
            nn.Linear(WIDTH, 2 * WIDTH),
            nn.Linear(WIDTH, WIDTH),
        )
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH))

    def forward(self, x: Tensor, context: Tensor, padding: Tensor | None) -> Tensor:
        """`x` `[S, q, H]` reads `context` `[S, n, H]`; `padding` `[S, n]` is True where there is nothing."""
        q, k, v = (
            self._heads(t)
            for t in (self.query(self.norm_attention(x)), *self.key_value(self.norm_attention(context)).chunk(2, -1))
        )
        mask = None if padding is None else torch.where(padding, -torch.inf, 0.0).to(q.dtype)[:, None, None]
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        x = x + self.output(mixed.transpose(1, 2).flatten(2))
        return x + self.mlp(self.norm_mlp(x))

    @staticmethod
    def _heads(x: Tensor) -> Tensor:
        return x.unflatten(-1, (HEADS, -1)).transpose(1, 2)


class CachedPolicy(NamedTuple):
    """`TaskTransformer.policy_logits` for many samples of the same query: what does not depend on the sample is computed once."""

    bias: Tensor
    """`[..., D, 2 H]` before any option is taken."""
    prefix_update: Tensor
    """`[D, C, 2 H]` what each option taken adds to it."""
    key: Tensor
    """`[D, C, 2 H]` of the options asked for."""
    key_bias: Tensor
    """`[D, C]`."""

    def logits(self, added: Tensor, d: int) -> Tensor:
        """Preferences `[..., C]` among decision `d`'s options, after `added` `[..., 2 H]` by the options taken."""
        return F.gelu(self.bias[..., d, :] + added) @ self.key[d].T + self.key_bias[d]


class TaskTransformer(nn.Module):
    """The network of `attention_policy`: a distribution of the normal score of any architecture, and a policy."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = CellEncoder()
        self.arch_token = nn.Linear(WIDTH + 1 + COMPONENTS, WIDTH)
        self.score_token = nn.Linear(2, WIDTH)
        self.task_token = nn.Linear(NUM_TASK_FEATURES, WIDTH)
        self.layers = nn.ModuleList(_Layer() for _ in range(LAYERS))
        self.prediction_head = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 3 * MODES))
        self.policy_token = nn.Parameter(torch.randn(WIDTH) * 0.1)
        self.cost_embedding = nn.Parameter(torch.zeros(WIDTH))
        self.policy_head = nn.Sequential(nn.Linear(3 * WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH))

    def matches(self, weights: dict[str, Tensor]) -> bool:
        """Whether these are weights of a network of these names and shapes."""
        return {n: t.shape for n, t in weights.items()} == {n: t.shape for n, t in self.state_dict().items()}

    def _token(self, embedding: Tensor) -> Tensor:
        mean, components = self.encoder.mean_and_components(embedding)
        return self.arch_token(torch.cat([embedding, mean[..., None], components], -1))

    def context(
        self, task: Tensor, evaluated: Tensor, score: Tensor, log_cost: Tensor, padding: Tensor | None = None
    ) -> list[Tensor]:
        """The context each layer offers, `[S, 1 + n, H]` each: the task, then the evaluations.

        Args:
            task: `[S, features]`.
            evaluated: `[S, n, H]` embeddings of the architectures evaluated.
            score: `[S, n]` normal scores; NaN where evaluation failed.
            log_cost: `[S, n]` `standardised_log_cost`.
            padding: `[S, 1 + n]` True where there is nothing.
        """
        failed = score.isnan()
        seen = self._token(evaluated) + self.score_token(
            torch.stack([score.nan_to_num(0.0), failed.to(evaluated.dtype)], -1)
        )
        seen = seen + log_cost[..., None] * self.cost_embedding
        context = [torch.cat([self.task_token(task)[:, None], seen], 1)]
        for layer in self.layers[:-1]:
            context.append(layer(context[-1], context[-1], padding))
        return context

    def predict(
        self, context: list[Tensor], asked: Tensor, padding: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Log weights, means and standard deviations `[S, M, MODES]` of normal scores of `asked` `[S, M, H]`: mixtures."""
        x = self._token(asked)
        for layer, m in zip(self.layers, context):
            x = layer(x, m, padding)
        weight, mean, std = self.prediction_head(x).unflatten(-1, (3, MODES)).unbind(-2)
        return weight.log_softmax(-1), mean, F.softplus(std) + 0.05

    def policy_query(self, context: list[Tensor], padding: Tensor | None = None) -> Tensor:
        """What the policy knows of each search, `[S, H]`."""
        x = self.policy_token.expand(len(context[0]), 1, -1)
        for layer, m in zip(self.layers, context):
            x = layer(x, m, padding)
        return x.squeeze(1)

    def policy_logits(
        self, encoding: SpaceEncoding, options_DCH: Tensor, query: Tensor, prefix: Tensor, d: int
    ) -> Tensor:
        """Preferences `[..., C]` among decision `d`'s options after `prefix` `[..., H]`, the sum of the options taken."""
        no_op = torch.zeros(len(features.OPERATION_FEATURES), dtype=query.dtype)
        place = self.encoder.op_embedding(torch.cat([no_op, encoding.edge_position[d]]))
        wanted = self.policy_head(
            torch.cat([query.expand(*prefix.shape[:-1], -1), prefix, place.expand_as(prefix)], -1)
        )
        return wanted @ options_DCH[d].T / math.sqrt(WIDTH)

    def cached_policy(self, encoding: SpaceEncoding, query: Tensor) -> CachedPolicy:
        """`policy_logits` for many samples of queries `[..., H]`."""
        options_DCH, nothing = self.encoder.options(encoding), torch.zeros_like(encoding.op_traits[:, 0])
        place_DH = self.encoder.op_embedding(torch.cat([nothing, encoding.edge_position], -1))
        weight, bias, last_weight, last_bias = self.policy_head.parameters()
        of_query, of_prefix, of_place = weight.split(WIDTH, 1)
        begin = (query @ of_query.T)[..., None, :] + place_DH @ of_place.T + bias
        asked_DCH = options_DCH / math.sqrt(WIDTH)
        return CachedPolicy(begin, options_DCH @ of_prefix.T, asked_DCH @ last_weight, asked_DCH @ last_bias)


def log_density(predicted: tuple[Tensor, Tensor, Tensor], score: Tensor) -> Tensor:
    """Log density `[S, M]` of `score` `[S, M]` under `TaskTransformer.predict`'s mixtures."""
    weight, mean, std = predicted
    z = (score[..., None] - mean) / std
    return (weight - z.pow(2) / 2 - std.log() - math.log(2 * math.pi) / 2).logsumexp(-1)
