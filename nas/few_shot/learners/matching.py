"""Matching networks (Vinyals, Blundell, Lillicrap, Kavukcuoglu & Wierstra 2016, arXiv:1606.04080): attention over the support.

Equation 1: p(y | x, S) = sum over i of a(x, x_i) y_i. Section 2.1.1: a(x, x_i) = softmax over i of c(f(x, S), g(x_i, S)), with
the cosine c. With `full_context` the embeddings see the whole support (section 2.1.2): g is a bidirectional LSTM over it
(appendix A.2), f an LSTM with attention that reads it `reads` times (equations 3 to 6). The order in which g reads the support
is drawn anew for each task, so that it cannot tell the classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from nas.few_shot import learner
from nas.few_shot.backbone import Network, Params
from nas.few_shot.episodes import Episodes
from nas.few_shot.learner import Gradient, Problem
from search_spaces import _noise

__all__ = ["Matching"]

_TINY = 1e-12
"""Under the logarithm of a probability."""


@dataclass(frozen=True)
class Matching:
    """Learns an embedding in which an image attends to the support images of its class."""

    problem: Problem
    lr: float = 2e-3
    tasks: int = 2
    train_way: int = 40
    """More than 5 make training harder, as for prototypical networks; `tasks` of them are a batch."""
    train_shot: int = 0
    train_queries: int = 3
    scale: float = 40.0
    """Of the cosine before the softmax; the paper has 1, with which no answer on 5 images can be surer than 0.65. Embeddings end
    in a rectifier, so that no cosine is negative and most are alike. After 0.75 core-minutes on Omniglot (20-way 1-shot,
    validation classes, 20 classes in training) 84% with 10, 87% with 20, 89% with 40 and 80; with 40 classes in training 90%.
    """
    full_context: bool = False
    reads: int = 3

    former = {"scale": "10.0", "train_way": "20", "tasks": "4"}
    """Of runs and exports that do not name them."""
    optimizer = "adam"
    transductive = False
    fixed_way = False

    @cached_property
    def embedding(self) -> Network:
        return self.problem.backbone.embedding()

    @cached_property
    def context(self) -> Network:
        size = self.problem.backbone.size()[0]
        return Network(lambda: FullContext(size, self.reads))

    def init(self, seed: int) -> Params:
        context = {_CONTEXT + n: p for n, p in self.context.init(seed).items()} if self.full_context else {}
        return self.embedding.init(seed) | context

    def gradient(self, params: Params, episodes: Episodes, seed: int, step: int) -> Gradient:
        def loss(params: Params) -> tuple[Tensor, Params]:
            embedded = {n: params[n] for n in self.embedding.names}
            support, query, statistics = learner.train_together(self.embedding.train, embedded, episodes)
            logits = self._logits(params, support, query, seed, step)
            return learner.cross_entropy(logits, episodes.query), statistics

        return learner.gradient(loss, params, self.embedding.statistics)

    def adapt(self, params: Params, support: Tensor) -> Tensor:
        """The support's embeddings without context, `[T, W, K, E]`."""
        embedded = {n: params[n] for n in self.embedding.names}
        return learner.over_tasks(self.embedding, embedded, learner.flat(support)).unflatten(1, support.shape[1:3])

    def logits(self, params: Params, adapted: Tensor, query: Tensor) -> Tensor:
        embedded = {n: params[n] for n in self.embedding.names}
        return self._logits(params, adapted, learner.over_tasks(self.embedding, embedded, query), 0, 0)

    def _logits(self, params: Params, support: Tensor, query: Tensor, seed: int, step: int) -> Tensor:
        """Log-probabilities `[T, N, W]`; support `[T, W, K, E]`, query `[T, N, E]`."""
        known = support.flatten(1, 2)
        if self.full_context:
            context = {n.removeprefix(_CONTEXT): p for n, p in params.items() if n.startswith(_CONTEXT)}
            # Stream 8 draws the order alone.
            bits = _noise.bits(torch.tensor([seed]), step, *known.shape[:2], stream=8)[0]
            known, query = self.context(context, known, query, bits.argsort(dim=-1, stable=True))
        return attention(query, known.unflatten(1, support.shape[1:3]), self.scale)


_CONTEXT = "context."


def attention(query: Tensor, support: Tensor, scale: float) -> Tensor:
    """The log of the attention that falls on each class, `[T, N, W]`; query `[T, N, E]`, support `[T, W, K, E]`."""
    normal = torch.nn.functional.normalize
    cosine = normal(query, dim=-1) @ normal(support, dim=-1).flatten(1, 2).mT
    share = (scale * cosine).softmax(-1).unflatten(-1, support.shape[1:3]).sum(-1)
    return (share + _TINY).log()


class FullContext(nn.Module):
    """The embeddings g of a support and f of queries, each with the whole support in view."""

    def __init__(self, size: int, reads: int):
        super().__init__()
        self.reads, self.size = reads, size
        self.forwards, self.backwards = nn.LSTMCell(size, size), nn.LSTMCell(size, size)
        self.reading = nn.LSTMCell(size, 2 * size)

    def forward(self, support: Tensor, query: Tensor, order: Tensor) -> tuple[Tensor, Tensor]:
        """Both `[T, n, E]` again.

        Args:
            order: int64 `[T, n]` in which the support is read.
        """
        index = order[..., None].expand(support.shape)
        ordered = support.gather(1, index)
        # Appendix A.2: g(x_i, S) = h_i forwards + h_i backwards + g'(x_i).
        both = ordered + self._run(self.forwards, ordered) + self._run(self.backwards, ordered.flip(1)).flip(1)
        known = torch.zeros_like(support).scatter(1, index, both)
        return known, self._read(known, query)

    def _run(self, cell: nn.LSTMCell, sequence: Tensor) -> Tensor:
        state, out = None, []
        for x in sequence.unbind(1):
            state = cell(x, state)
            out.append(state[0])
        return torch.stack(out, 1)

    def _read(self, known: Tensor, query: Tensor) -> Tensor:
        """Equations 3 to 6: an LSTM whose input is f'(x) each time, and whose state is joined with what it attends to."""
        T, N, E = query.shape
        x = query.flatten(0, 1)
        hidden, read, cell = torch.zeros_like(x), torch.zeros_like(x), x.new_zeros(T * N, 2 * E)
        for _ in range(self.reads):
            state, cell = self.reading(x, (torch.cat([hidden, read], -1), cell))
            hidden = state[:, :E] + x
            weight = (hidden.unflatten(0, (T, N)) @ known.mT).softmax(-1)
            read = (weight @ known).flatten(0, 1)
        return hidden.unflatten(0, (T, N))
