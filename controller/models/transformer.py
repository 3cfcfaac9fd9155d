"""One network for every space: it reads cells by computing with them, and a search by attending to what was tried.

Shapes: `S` searches, `N` architectures, `n` tried, `M` asked about, `D` decisions, `C` choices, `H` width, `R` directions.

`Cells` runs a cell on vectors as the cell runs on pictures: a node is the sum of its incoming edges, `none` gives zero,
`skip` hands on, every other operation is one small network told its traits and its place. So twins read alike, and a cell
with other edges, choices or operations needs no new weights. `Reader` is a transformer over the evaluations so far (prior-data
fitted, Müller et al. 2022, arXiv:2112.10510) with two heads: a distribution of the score of any architecture, and a policy,
autoregressive over decisions, that scores each option by its traits.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from controller.models import features
from search_spaces import Space, Task

WIDTH, HEADS, LAYERS, DIRECTIONS, NODES, MODES = 64, 4, 3, 16, 8, 3
_PLACE = 2 * NODES + 2
_TOGETHER = 1024
"""Architectures that are computed at a time: what they need then stays in the processor's cache."""
DESCRIPTION = 8
TOLD = 6 + DESCRIPTION


class Draft(NamedTuple):
    """What the network knows of a space: its options' traits and places. `D` decisions, `C` choices."""

    traits: Tensor
    """float32 `[D, C, traits]`."""
    place: Tensor
    """float32 `[D, places]`."""
    links: tuple[tuple[int, int], ...]
    """(from, to) of each decision."""


def draft(space: Space, dtype: torch.dtype = torch.float32) -> Draft:
    links = features.edges(space)
    last = max(j for _, j in links)
    place = torch.zeros(len(links), _PLACE, dtype=dtype)
    for d, (i, j) in enumerate(links):
        place[d, min(i, NODES - 1)] = 1
        place[d, NODES + min(j, NODES - 1)] = 1
        place[d, -2], place[d, -1] = i / last, j / last
    return Draft(features.trait_table(space).to(dtype), place, links)


def task_features(task: Task) -> Tensor:
    """Logarithms of classes, channels, picture size, one; where known the examples, then one and the data's description.

    float32 `[TOLD]`; zeros where nothing is known of the data.
    """
    channels, height, width = task.input_shape
    numbers = (task.num_classes / 30, channels / 2, height * width / 1024)
    shape = [*(math.log(max(x, 1e-6)) for x in numbers), 1.0]
    examples = [math.log(max(task.features[0], 1.0) / 5000)] if task.features else [0.0]
    described = list(task.features[1 : 1 + DESCRIPTION])
    known = [1.0, *described] if len(described) == DESCRIPTION else [0.0] * (1 + DESCRIPTION)
    return torch.tensor([*shape, *examples, *known])


def likeness(told: Tensor, others: Tensor) -> Tensor:
    """How like a task is to each of others by what is told of them, `[K]` from 0 to 1; `told` `[TOLD]`, `others` `[K, TOLD]`.

    What is known of one alone makes two tasks neither more nor less alike.
    """
    both = torch.ones_like(others)
    both[:, 4] = ((told[4] != 0) & (others[:, 4] != 0)).to(both.dtype)
    both[:, 6:] = (told[5] * others[:, 5])[:, None] / DESCRIPTION**0.5
    both[:, 5] = 0.0
    return torch.exp(-((told - others) * both).square().sum(-1) / 2)


def pace(seconds: Tensor) -> Tensor:
    """What evaluations took: logarithms in deviations from their mean, float64 `[S, n]`; zero where unknown or all the same."""
    known = (seconds > 0) & seconds.isfinite()
    count = known.sum(-1, keepdim=True).clamp_min(1)
    long = torch.where(known, seconds, 1.0).double().log()
    off = torch.where(known, long - torch.where(known, long, 0.0).sum(-1, keepdim=True) / count, 0.0)
    deviation = (off.square().sum(-1, keepdim=True) / count).sqrt()
    return torch.where(deviation > 1e-3, off / deviation.clamp_min(1e-3), 0.0).clamp(-3, 3)


class Cells(nn.Module):
    """Architectures `[N, D]` to what they are to the network, `[N, H]`."""

    def __init__(self) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.randn(WIDTH) * 0.5)
        self.option = nn.Linear(len(features.TRAITS) + _PLACE, WIDTH)
        self.into = nn.Linear(2 * WIDTH, 2 * WIDTH)
        self.out = nn.Linear(2 * WIDTH, WIDTH)
        self.norm = nn.LayerNorm(WIDTH)
        self.read = nn.Sequential(nn.Linear(2 * WIDTH + 14, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH))
        self.mean = nn.Linear(WIDTH, 1)
        self.span = nn.Linear(WIDTH, DIRECTIONS)
        self.lean = nn.Linear(TOLD, DIRECTIONS, bias=False)

    def options(self, sketch: Draft) -> Tensor:
        """Every option as a vector, `[D, C, H]`."""
        C = sketch.traits.shape[1]
        return self.option(torch.cat([sketch.traits, sketch.place[:, None].expand(-1, C, -1)], -1))

    def forward(self, sketch: Draft, archs: Tensor, whole: Tensor) -> Tensor:
        options_DCH = self.options(sketch)
        zero = torch.zeros(len(archs), WIDTH, dtype=self.start.dtype)
        nodes = [self.start.expand(len(archs), -1), *[zero] * max(j for _, j in sketch.links)]
        said = zero
        for d, (i, j) in _in_order(sketch):
            edge, word = self._edge(sketch, options_DCH, d, nodes[i], archs[:, d])
            nodes[j], said = edge + nodes[j], said + word
        return self._whole(sketch, nodes[-1], said, whole)

    @torch.no_grad()
    def shared(self, sketch: Draft, archs: Tensor, whole: Tensor) -> Tensor:
        """The same for many architectures: what several of them have in common is computed once."""
        options_DCH, C = self.options(sketch), sketch.traits.shape[1]
        nothing_N = torch.zeros(len(archs), dtype=torch.long)
        begun = [(torch.zeros(1, WIDTH, dtype=self.start.dtype), nothing_N)] * (1 + max(j for _, j in sketch.links))
        nodes = [(self.start[None], nothing_N), *begun[1:]]
        said = torch.zeros(len(archs), WIDTH, dtype=self.start.dtype)
        for d, (i, j) in _in_order(sketch):
            (source, from_N), (node, at_N) = nodes[i], nodes[j]
            distinct, edge_N = (from_N * C + archs[:, d]).unique(return_inverse=True)
            edge, word = self._edge(sketch, options_DCH, d, source[distinct // C], distinct % C)
            sums, sum_N = (edge_N * len(node) + at_N).unique(return_inverse=True)
            nodes[j] = edge[sums // len(node)] + node[sums % len(node)], sum_N
            said += word[edge_N]
        end, at_N = nodes[-1]
        parts = zip(*(x.split(_TOGETHER) for x in (at_N, said, whole)))
        return torch.cat([self._whole(sketch, end[at], *rest) for at, *rest in parts])

    def _edge(
        self, sketch: Draft, options_DCH: Tensor, d: int, source: Tensor, choice: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What the edge of decision `d` hands on from `source` `[N, H]`, and what it says of itself, `[N, H]` each."""
        token = options_DCH[d][choice]
        none, same = sketch.traits[d, :, 0][choice, None], sketch.traits[d, :, 1][choice, None]
        present = (source.abs().amax(-1, keepdim=True) > 0).to(source.dtype)
        made = self.out(F.gelu(self.into(torch.cat([self.norm(source), token], -1)))) * present
        return (1 - none) * torch.where(same > 0, source, made), (1 - none) * F.gelu(token) * present

    def _whole(self, sketch: Draft, end: Tensor, said: Tensor, whole: Tensor) -> Tensor:
        return self.read(torch.cat([self.norm(end), said / len(sketch.links), whole.to(end.dtype)], -1))

    def prior(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Mean landscape `[N]` over tasks and its directions of variation `[N, R]`."""
        return self.mean(hidden).squeeze(-1), self.span(hidden)


def _in_order(sketch: Draft) -> list[tuple[int, tuple[int, int]]]:
    """Decisions with their (from, to), each after those that lead to where it begins."""
    return sorted(enumerate(sketch.links), key=lambda e: e[1][1])


class _Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.before, self.between = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.query, self.pair, self.join = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.think = nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH))

    def forward(self, x: Tensor, memory: Tensor, hide: Tensor | None) -> Tensor:
        """`x` `[S, q, H]` reads `memory` `[S, n, H]`; `hide` `[S, n]` is True where there is nothing."""
        q, k, v = (self._heads(t) for t in (self.query(self.before(x)), *self.pair(self.before(memory)).chunk(2, -1)))
        mask = None if hide is None else torch.where(hide, -torch.inf, 0.0).to(q.dtype)[:, None, None]
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        x = x + self.join(mixed.transpose(1, 2).flatten(2))
        return x + self.think(self.between(x))

    @staticmethod
    def _heads(x: Tensor) -> Tensor:
        return x.unflatten(-1, (HEADS, -1)).transpose(1, 2)


class Choosing(NamedTuple):
    """`Reader.logits` taken apart: linear in the options taken before one function, in the options asked for after it."""

    begin: Tensor
    """`[..., D, 2 H]` before any option is taken."""
    taken: Tensor
    """`[D, C, 2 H]` what each option adds."""
    wanted: Tensor
    """`[D, C, 2 H]`."""
    usual: Tensor
    """`[D, C]`."""

    def logits(self, added: Tensor, d: int) -> Tensor:
        """Preferences `[..., C]` among decision `d`'s options, after `added` `[..., 2 H]` by the options taken."""
        return F.gelu(self.begin[..., d, :] + added) @ self.wanted[d].T + self.usual[d]


class Reader(nn.Module):
    """The controller's network."""

    def __init__(self) -> None:
        super().__init__()
        self.cells = Cells()
        self.cell = nn.Linear(WIDTH + 1 + DIRECTIONS, WIDTH)
        self.score = nn.Linear(2, WIDTH)
        self.task = nn.Linear(TOLD, WIDTH)
        self.layers = nn.ModuleList(_Layer() for _ in range(LAYERS))
        self.predicts = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 3 * MODES))
        self.ask = nn.Parameter(torch.randn(WIDTH) * 0.1)
        self.pace = nn.Parameter(torch.zeros(WIDTH))
        self.choose = nn.Sequential(nn.Linear(3 * WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH))

    def fits(self, weights: dict[str, Tensor]) -> bool:
        """Whether these are weights of a network of these names and shapes."""
        return {n: t.shape for n, t in weights.items()} == {n: t.shape for n, t in self.state_dict().items()}

    def _token(self, hidden: Tensor) -> Tensor:
        mean, span = self.cells.prior(hidden)
        return self.cell(torch.cat([hidden, mean[..., None], span], -1))

    def remember(
        self, task: Tensor, tried: Tensor, standing: Tensor, pace: Tensor, hide: Tensor | None = None
    ) -> list[Tensor]:
        """The memory each layer offers, `[S, 1 + n, H]` each: the task, then the evaluations.

        Args:
            task: `[S, features]`.
            tried: `[S, n, H]` hidden vectors of what was tried.
            standing: `[S, n]` how it stood; NaN where it failed.
            pace: `[S, n]` what it cost, as the function `pace` says.
            hide: `[S, 1 + n]` True where there is nothing.
        """
        failed = standing.isnan()
        seen = self._token(tried) + self.score(torch.stack([standing.nan_to_num(0.0), failed.to(tried.dtype)], -1))
        seen = seen + pace[..., None] * self.pace
        memory = [torch.cat([self.task(task)[:, None], seen], 1)]
        for layer in self.layers[:-1]:
            memory.append(layer(memory[-1], memory[-1], hide))
        return memory

    def predict(self, memory: list[Tensor], asked: Tensor, hide: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Log weights, means and deviations `[S, M, MODES]` of the standing of `asked` `[S, M, H]`: normal mixtures."""
        x = self._token(asked)
        for layer, m in zip(self.layers, memory):
            x = layer(x, m, hide)
        weight, mean, deviation = self.predicts(x).unflatten(-1, (3, MODES)).unbind(-2)
        return weight.log_softmax(-1), mean, F.softplus(deviation) + 0.05

    def mood(self, memory: list[Tensor], hide: Tensor | None = None) -> Tensor:
        """What the policy knows of each search, `[S, H]`."""
        x = self.ask.expand(len(memory[0]), 1, -1)
        for layer, m in zip(self.layers, memory):
            x = layer(x, m, hide)
        return x.squeeze(1)

    def logits(self, sketch: Draft, options_DCH: Tensor, mood: Tensor, prefix: Tensor, d: int) -> Tensor:
        """Preferences `[..., C]` among decision `d`'s options after `prefix` `[..., H]`, the sum of the options taken."""
        place = self.cells.option(torch.cat([torch.zeros(len(features.TRAITS), dtype=mood.dtype), sketch.place[d]]))
        wanted = self.choose(torch.cat([mood.expand(*prefix.shape[:-1], -1), prefix, place.expand_as(prefix)], -1))
        return wanted @ options_DCH[d].T / math.sqrt(WIDTH)

    def choosing(self, sketch: Draft, mood: Tensor) -> Choosing:
        """`logits` for many samples after moods `[..., H]`."""
        options_DCH, nothing = self.cells.options(sketch), torch.zeros_like(sketch.traits[:, 0])
        place_DH = self.cells.option(torch.cat([nothing, sketch.place], -1))
        weight, bias, last_weight, last_bias = self.choose.parameters()
        of_mood, of_prefix, of_place = weight.split(WIDTH, 1)
        begin = (mood @ of_mood.T)[..., None, :] + place_DH @ of_place.T + bias
        asked_DCH = options_DCH / math.sqrt(WIDTH)
        return Choosing(begin, options_DCH @ of_prefix.T, asked_DCH @ last_weight, asked_DCH @ last_bias)


def log_density(predicted: tuple[Tensor, Tensor, Tensor], standing: Tensor) -> Tensor:
    """Log density `[S, M]` of `standing` `[S, M]` under `Reader.predict`'s mixtures."""
    weight, mean, deviation = predicted
    z = (standing[..., None] - mean) / deviation
    return (weight - z.pow(2) / 2 - deviation.log() - math.log(2 * math.pi) / 2).logsumexp(-1)
