"""SNAIL (Mishra, Rohaninejad, Chen & Abbeel 2018, arXiv:1707.03141): temporal convolutions and attention over the support.

An episode is a sequence: each image of the support with its label, in random order, then a query without one. Figure 2: a
dense block joins tanh(xf) * sigmoid(xg) to its input, both causal convolutions of width 2; a TC block has dilations 1, 2, 4,
... until the sequence is seen; an attention block reads the past by softmax(q k / sqrt(d)) v. The last place gives the query's
logits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

import torch
from torch import Tensor, nn

from controller import Range
from nas.few_shot import learner
from nas.few_shot.backbone import Network, Params
from nas.few_shot.episodes import Episodes
from nas.few_shot.learner import Gradient, Problem

__all__ = ["Snail"]

_PREFIX = "snail."
_SHARP = 3.0
"""By how much the weights of queries and keys are larger before training than PyTorch draws them. After 0.3 core-minutes on
Omniglot (5-way 1-shot, validation classes) 76% with 3, 79% with 6, 60% with 1; with layers that are drawn apart 25%."""


@dataclass(frozen=True)
class Snail:
    """Learns to read a labeled sequence and to name the class of what comes last."""

    problem: Problem
    lr: float = 1e-3
    tasks: int = 16
    train_way: int = 0
    train_shot: int = 0
    train_queries: int = 1
    """The paper has one query an episode."""
    filters: Annotated[int, Range(1)] = 64
    """Of a dense block; the paper has 128, in twice the time."""
    features: Annotated[int, Range(0)] = 64
    """Numbers that an image is read as, by a linear layer above the embedding (the paper's); 0: the embedding itself. After 1.5
    core-minutes on Omniglot (5-way 1-shot, validation classes) 72% with it, 58% without."""

    former = {"features": "0"}

    optimizer = "adam"
    transductive = False
    fixed_way = True
    halving = "stride"
    """Of the default backbone. A step takes two thirds of the time, and after as many steps it is as good: 48% after 650 on
    validation classes of Omniglot, 5-way 1-shot."""

    @cached_property
    def embedding(self) -> Network:
        return self.problem.backbone.embedding()

    @cached_property
    def reader(self) -> Network:
        way, size = self.problem.way, self.problem.backbone.size()[0]
        return Network(lambda: Reader(size, self.features, way, way * self.problem.shot + 1, self.filters))

    def init(self, seed: int) -> Params:
        return self.embedding.init(seed) | {_PREFIX + n: p for n, p in self.reader.init(seed).items()}

    def gradient(self, params: Params, episodes: Episodes, seed: int, step: int) -> Gradient:
        def loss(params: Params) -> tuple[Tensor, Params]:
            support, query, statistics = learner.train_together(self.embedding.train, self._embedding(params), episodes)
            known = self._labeled(support, seed, step)
            return learner.cross_entropy(self._answer(params, known, query), episodes.query), statistics

        return learner.gradient(loss, params, self.embedding.statistics)

    def adapt(self, params: Params, support: Tensor) -> Tensor:
        """The labeled sequence `[T, W K, E + W]`."""
        embedded = learner.over_tasks(self.embedding, self._embedding(params), learner.flat(support))
        return self._labeled(embedded.unflatten(1, support.shape[1:3]), 0, 0)

    def logits(self, params: Params, adapted: Tensor, query: Tensor) -> Tensor:
        return self._answer(params, adapted, learner.over_tasks(self.embedding, self._embedding(params), query))

    def _embedding(self, params: Params) -> Params:
        return {name: params[name] for name in self.embedding.names}

    def _labeled(self, support: Tensor, seed: int, step: int) -> Tensor:
        return torch.cat(learner.shuffled(support, seed, step, stream=9), -1)

    def _answer(self, params: Params, known: Tensor, query: Tensor) -> Tensor:
        """Each query ends a sequence of its own; known `[T, W K, E + W]`, query `[T, N, E]`."""
        last = torch.cat([query, query.new_zeros(*query.shape[:2], self.problem.way)], -1)
        return self.reader(learner.part(params, _PREFIX), known, last)


# Sequences that begin alike are read together: `rows` `[T, S + N, F]` are the S places of what is known and N queries, each of
# which stands at place S after them and sees no other. Nothing that is known sees a query, so that it is computed once.


class Dense(nn.Module):
    """`[T, S + N, F]` to `[T, S + N, F + filters]`: a causal convolution of width 2."""

    def __init__(self, inputs: int, filters: int, dilation: int):
        super().__init__()
        self.dilation = dilation
        self.value, self.gate = (nn.Conv1d(inputs, filters, 2, dilation=dilation) for _ in range(2))

    def forward(self, rows: Tensor, known: int) -> Tensor:
        past = nn.functional.pad(rows[:, :known], (0, 0, self.dilation, 0))
        before = torch.cat([past[:, :known], past[:, known, None].expand(-1, rows.shape[1] - known, -1)], 1)
        # As one product of matrices: on sequences as short as these a convolution takes several times as long.
        weight = torch.cat([self.value.weight, self.gate.weight]).mT.flatten(1)
        bias = torch.cat([self.value.bias, self.gate.bias])  # pyright: ignore[reportArgumentType]
        value, gate = nn.functional.linear(torch.cat([before, rows], -1), weight, bias).chunk(2, -1)
        return torch.cat([rows, value.tanh() * gate.sigmoid()], -1)


class Attention(nn.Module):
    """`[T, S + N, F]` to `[T, S + N, F + values]`; a place sees itself and what came before."""

    def __init__(self, inputs: int, keys: int, values: int):
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(inputs, size) for size in (keys, keys, values))
        # Two layers drawn apart give scores of about 0: every place reads the mean of all, and training spends its first
        # thousands of steps at chance. Alike, a place begins by reading those that look like it.
        with torch.no_grad():
            self.query.load_state_dict(self.key.state_dict())
            for layer in (self.query, self.key):
                layer.weight.mul_(_SHARP)

    def forward(self, rows: Tensor, known: int) -> Tensor:
        score = self.query(rows) @ self.key(rows).mT / math.sqrt(self.key.out_features)
        seen = torch.ones(score.shape[1:], dtype=torch.bool).tril()
        seen[known:, known:] = torch.eye(len(seen) - known, dtype=torch.bool)
        return torch.cat([rows, score.masked_fill(~seen, -torch.inf).softmax(-1) @ self.value(rows)], -1)


class Reader(nn.Module):
    """What is known `[T, S, F]` and queries `[T, N, F]` to logits `[T, N, way]` (section 5.1, with its widths by `filters`).

    The last `way` numbers of a place are its label; what is before them is read as `features` numbers, or as it is.
    """

    def __init__(self, size: int, features: int, way: int, length: int, filters: int):
        super().__init__()
        self.features = nn.Linear(size, features) if features else nn.Identity()
        self.way, inputs = way, (features or size) + way
        layers: list[Dense | Attention] = [Attention(inputs, filters, filters // 2)]
        width = inputs + filters // 2
        for _ in range(2):
            for level in range(math.ceil(math.log2(length))):
                layers.append(Dense(width, filters, 2**level))
                width += filters
            layers.append(Attention(width, 2 * filters, filters))
            width += filters
        self.layers, self.last = nn.ModuleList(layers), nn.Linear(width, way)

    def forward(self, known: Tensor, query: Tensor) -> Tensor:
        rows, count = torch.cat([known, query], 1), known.shape[1]
        images, labels = rows.split([rows.shape[-1] - self.way, self.way], -1)
        rows = torch.cat([self.features(images), labels], -1)
        for layer in self.layers:
            rows = layer(rows, count)
        return self.last(rows[:, count:])
