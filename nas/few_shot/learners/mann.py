"""MANN, memory-augmented neural networks (Santoro, Bartunov, Botvinick, Wierstra & Lillicrap 2016, arXiv:1605.06065).

An LSTM reads the support image by image, and keeps what it needs in an external memory. Equations 2 to 4: it reads by the
cosine between a key and each row. Equations 5 to 8, least recently used access: it writes its key where it has read last or
into the row that was used least, which is cleared first. After the support the state is fixed, and each query is read from
there.

The paper asks about every image before it tells the label, so that a label comes with the next image. Here the support's
labels are known, each comes with its own image, and the loss is that of the queries.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor, nn

from nas.few_shot import learner
from nas.few_shot.backbone import Network, Params
from nas.few_shot.episodes import Episodes
from nas.few_shot.learner import Gradient, Problem

__all__ = ["Mann"]

_PREFIX = "mann."
_DECAY = 0.95
"""Gamma of equation 5: how slowly use is forgotten. The paper names no value; not ablated."""

_SHARPNESS = 10.0
"""Of the cosines in equation 3. The paper has none, so that the best of 128 rows gets 5% of what is read at most; neural Turing
machines, from which it comes, learn one."""


@dataclass(frozen=True)
class Mann:
    """Learns to write a support into a memory and to read the class of a query from it."""

    problem: Problem
    lr: float = 3e-3
    """Leaves the loss of guessing sooner: 39% where 1e-3 has 33%, as said at `halving`; both with `writes_queries`."""
    tasks: int = 16
    train_way: int = 0
    train_shot: int = 0
    train_queries: int = 3
    hidden: int = 200
    """Of the LSTM; this and `columns` are the paper's (appendix A.1)."""
    rows: int = 0
    """Of the memory; 0: one for each image of the support. Of the paper's 128 most stay empty, and it learns slower."""
    columns: int = 40
    writes_queries: bool = False
    """Whether a query is written into the memory before it reads, which clears the row of an image of the support. In the paper
    queries are images of one long sequence; here each is asked by itself."""

    former = {"writes_queries": "true"}
    optimizer = "adam"
    transductive = False
    fixed_way = True
    halving = "stride"
    """Of the default backbone. An image takes a quarter of the time, and this learner needs many steps: after 0.4 core-minutes
    on Omniglot (5-way 1-shot, validation classes) 33%, by max-pooling 22% after a whole one."""

    @cached_property
    def embedding(self) -> Network:
        return self.problem.backbone.embedding()

    @cached_property
    def controller(self) -> Network:
        way = self.problem.way
        size = self.problem.backbone.size()[0] + way
        rows = self.rows or way * self.problem.shot
        return Network(lambda: Controller(size, way, self.hidden, rows, self.columns, self.writes_queries))

    def init(self, seed: int) -> Params:
        return self.embedding.init(seed) | {_PREFIX + n: p for n, p in self.controller.init(seed).items()}

    def gradient(self, params: Params, episodes: Episodes, seed: int, step: int) -> Gradient:
        def loss(params: Params) -> tuple[Tensor, Params]:
            support, query, statistics = learner.train_together(self.embedding.train, self._embedding(params), episodes)
            logits = self._answer(params, learner.shuffled(support, seed, step, stream=9), query)
            return learner.cross_entropy(logits, episodes.query), statistics

        return learner.gradient(loss, params, self.embedding.statistics)

    def adapt(self, params: Params, support: Tensor) -> tuple[Tensor, Tensor]:
        """The support's embeddings in the order in which they are read, `[T, W K, E]`, and their labels `[T, W K, W]`."""
        embedded = learner.over_tasks(self.embedding, self._embedding(params), learner.flat(support))
        return learner.shuffled(embedded.unflatten(1, support.shape[1:3]), 0, 0, stream=9)

    def logits(self, params: Params, adapted: tuple[Tensor, Tensor], query: Tensor) -> Tensor:
        return self._answer(params, adapted, learner.over_tasks(self.embedding, self._embedding(params), query))

    def _embedding(self, params: Params) -> Params:
        return {name: params[name] for name in self.embedding.names}

    def _answer(self, params: Params, support: tuple[Tensor, Tensor], query: Tensor) -> Tensor:
        return self.controller(learner.part(params, _PREFIX), *support, query)


class Memory(NamedTuple):
    """`B` sequences at one moment."""

    rows: Tensor
    """`[B, rows, columns]`."""
    use: Tensor
    """`[B, rows]` how much and how lately each row was used, as the next."""
    read: Tensor
    """`[B, rows]` where it has read last."""
    hidden: Tensor
    cell: Tensor


class Controller(nn.Module):
    """Supports `[T, S, E]`, their labels `[T, S, W]` and queries `[T, N, E]` to logits `[T, N, W]`."""

    def __init__(self, inputs: int, way: int, hidden: int, rows: int, columns: int, writes_queries: bool):
        super().__init__()
        self.writes_queries = writes_queries
        self.sizes = (rows, columns, hidden)
        self.lstm = nn.LSTMCell(inputs, hidden)
        self.key, self.gate = nn.Linear(hidden, columns), nn.Linear(hidden, 1)
        self.answer = nn.Linear(hidden + columns, way)

    def forward(self, support: Tensor, labels: Tensor, query: Tensor) -> Tensor:
        rows, columns, hidden = self.sizes
        T, N = query.shape[:2]
        # Not zeros: a cosine with zeros has no direction.
        begin = support.new_full((T, rows, columns), 1e-6)
        zeros = support.new_zeros(T, rows)
        memory = Memory(begin, zeros, zeros, support.new_zeros(T, hidden), support.new_zeros(T, hidden))
        for labeled in torch.cat([support, labels], -1).unbind(1):
            memory, _ = self.step(memory, labeled)
        each = Memory(*(x.repeat_interleave(N, 0) for x in memory))
        last = torch.cat([query, query.new_zeros(T, N, labels.shape[-1])], -1).flatten(0, 1)
        answer = self.step(each, last)[1] if self.writes_queries else self.read(each, last)
        return answer.unflatten(0, (T, N))

    def read(self, memory: Memory, x: Tensor) -> Tensor:
        """Logits `[B, W]` of inputs `[B, F]` that are not written."""
        hidden, _ = self.lstm(x, (memory.hidden, memory.cell))
        return self._from(memory.rows, self.key(hidden).tanh(), hidden)[1]

    def step(self, memory: Memory, x: Tensor) -> tuple[Memory, Tensor]:
        """The memory after one input `[B, F]`, and logits `[B, W]`."""
        hidden, cell = self.lstm(x, (memory.hidden, memory.cell))
        key, gate = self.key(hidden).tanh(), self.gate(hidden).sigmoid()
        # Equation 6, with one read: the least used row of all.
        least = nn.functional.one_hot(memory.use.argmin(-1), memory.use.shape[-1]).to(x.dtype)
        write = gate * memory.read + (1 - gate) * least  # Equation 7.
        cleared = memory.rows * (1 - least)[..., None]
        rows = cleared + write[..., None] * key[:, None]  # Equation 8.
        read, answer = self._from(rows, key, hidden)
        use = _DECAY * memory.use + read + write  # Equation 5.
        return Memory(rows, use, read, hidden, cell), answer

    def _from(self, rows: Tensor, key: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Where a key reads in the rows, `[B, rows]`, and the logits `[B, W]` of what it finds."""
        similar = nn.functional.cosine_similarity(rows, key[:, None], dim=-1)  # Equation 2.
        read = (_SHARPNESS * similar).softmax(-1)  # Equation 3.
        found = (read[:, None] @ rows)[:, 0]  # Equation 4.
        return read, self.answer(torch.cat([hidden, found], -1))
