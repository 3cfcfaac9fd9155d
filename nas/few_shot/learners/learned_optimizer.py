"""A learned optimizer (Ravi & Larochelle 2017, "Optimization as a model for few-shot learning"): an LSTM writes the updates.

The cell state of an LSTM is the classifier's weights, c_t = f_t c_(t-1) + i_t (-grad L_t). Both gates read the gradient, the
loss, the weight and the gate's last value, so that i_t is a learned step size and f_t a learned decay. One LSTM serves all
weights, each with a state of its own. Gradients and losses enter scaled as Andrychowicz et al. 2016 (arXiv:1606.04474, appendix
A) have it, and pass through a first plain LSTM. The initial state c_0, the start of every task, is learned along. Gradients and
losses count as constants in training ("gradient independence assumption").
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from nas.few_shot import learner
from nas.few_shot.backbone import Network, Params
from nas.few_shot.episodes import Episodes
from nas.few_shot.learner import Gradient, Problem

__all__ = ["LearnedOptimizer"]

_PREFIX = "lstm."
_SCALE = 10.0
"""p of Andrychowicz et al. 2016: below exp(-p) a number enters by its value, above by its logarithm."""
_KEEP = 6.0
"""The bias of f_t before training: sigmoid(6) = 0.998, so that weights hardly decay at first."""


@dataclass(frozen=True)
class LearnedOptimizer:
    """Learns initial weights and an LSTM that turns the gradients on a support into updates of them."""

    problem: Problem
    lr: float = 3e-3
    tasks: int = 4
    """The paper has 1. Each weight of each task has a state of the LSTM, so that more take gigabytes."""
    train_way: int = 0
    train_shot: int = 0
    train_queries: int = 5
    inner_lr: float = 0.2
    """i_t before training. The paper's is 0.01 over many more updates. Not ablated."""
    inner_steps: int = 3
    hidden: int = 5
    """Of the first LSTM; Andrychowicz et al. 2016 have 20, with which nearly all of the time goes into it. On Omniglot (5-way
    1-shot, validation classes) 64% after 12 core-seconds with 5, 58% after 16 with 20."""
    first_order: bool = True
    """Take gradients and losses as constants."""

    former = {"hidden": "20"}

    optimizer = "adam"
    transductive = True
    fixed_way = True
    filters = 32
    """Of the paper's backbone."""

    @cached_property
    def network(self) -> Network:
        return self.problem.backbone.classifier(self.problem.way, batch_statistics=True)

    @cached_property
    def embedding(self) -> Network:
        return self.problem.backbone.embedding(batch_statistics=True)

    @cached_property
    def updates(self) -> Network:
        return Network(lambda: Updates(self.hidden, self.inner_lr))

    def init(self, seed: int) -> Params:
        return self.network.init(seed) | {_PREFIX + n: p for n, p in self.updates.init(seed).items()}

    def gradient(self, params: Params, episodes: Episodes, seed: int, step: int) -> Gradient:
        def loss(params: Params) -> tuple[Tensor, Params]:
            logits = self.logits(params, self.adapt(params, episodes.support), learner.flat(episodes.query))
            return learner.cross_entropy(logits, episodes.query), {}

        return learner.gradient(loss, params)

    def adapt(self, params: Params, support: Tensor) -> Params:
        """Weights of each task, `[T, ...]` each."""
        T, target, module = len(support), learner.labels(support), self.updates.module
        begin, lstm = {n: params[n] for n in self.network.names}, learner.part(params, _PREFIX)

        def loss(weights: Params, images: Tensor) -> Tensor:
            return torch.nn.functional.cross_entropy(self.network(weights, images), target)

        slope = torch.func.vmap(torch.func.grad_and_value(loss))
        weights = {n: p.expand(T, *p.shape) for n, p in begin.items()}
        # Of each weight of each task: state of the first LSTM, and the gates' last values.
        count = sum(p.numel() for p in begin.values())
        zero = next(iter(begin.values())).new_zeros
        state = (zero(T, count, self.hidden), zero(T, count, self.hidden), zero(T, count), zero(T, count))
        for _ in range(self.inner_steps):
            grads, losses = slope(weights, learner.flat(support))
            if self.first_order:
                grads, losses = {n: g.detach() for n, g in grads.items()}, losses.detach()
            given = (_line(weights), _line(grads), losses, state)
            line, state = torch.func.functional_call(module, lstm, given)
            parts = line.split([p.numel() for p in begin.values()], 1)
            weights = {n: w.unflatten(1, p.shape) for (n, p), w in zip(begin.items(), parts, strict=True)}
        return weights

    def logits(self, params: Params, adapted: Params, query: Tensor) -> Tensor:
        return torch.func.vmap(self.network)(adapted, query)


def _line(by_name: Params) -> Tensor:
    """All weights of a task in a line, `[T, P]`."""
    return torch.cat([p.flatten(1) for p in by_name.values()], 1)


State = tuple[Tensor, Tensor, Tensor, Tensor]
"""Hidden and cell `[T, P, H]` of the first LSTM, and the last i and f `[T, P]`."""


class Updates(nn.Module):
    """Weights and gradients `[T, P]` and losses `[T]` to the next weights `[T, P]`; every weight is a sequence of its own."""

    def __init__(self, hidden: int, rate: float):
        super().__init__()
        # Not `nn.LSTM`: its states lead with layers, and one step at a time gains nothing by it.
        self.gates = nn.Linear(4 + hidden, 4 * hidden)
        self.step_size, self.keep = nn.Linear(hidden + 2, 1), nn.Linear(hidden + 2, 1)
        for layer, bias in ((self.step_size, math.log(rate / (1 - rate))), (self.keep, _KEEP)):
            nn.init.normal_(layer.weight, std=0.01)  # So that both gates begin near what their biases say.
            nn.init.constant_(layer.bias, bias)

    def forward(self, weight: Tensor, slope: Tensor, loss: Tensor, state: State) -> tuple[Tensor, State]:
        hidden, cell, last_step, last_keep = state
        entered = torch.cat([scaled(slope), scaled(loss[:, None]).expand(*slope.shape, 2), hidden], -1)
        enter, forget, out, new = self.gates(entered).chunk(4, -1)
        cell = forget.sigmoid() * cell + enter.sigmoid() * new.tanh()
        hidden = out.sigmoid() * cell.tanh()
        step_size, keep = (
            layer(torch.cat([hidden, weight[..., None], last[..., None]], -1)).squeeze(-1).sigmoid()
            for layer, last in ((self.step_size, last_step), (self.keep, last_keep))
        )
        return keep * weight - step_size * slope, (hidden, cell, step_size, keep)


def scaled(x: Tensor) -> Tensor:
    """Numbers `[...]` as two of about 1, `[..., 2]`: magnitude and sign, or -1 and the value where it is small."""
    large = x.abs() >= math.exp(-_SCALE)
    # Inside of the logarithm no 0, whose slope would be NaN even where it is not taken.
    magnitude = torch.where(large, x.abs(), torch.ones_like(x)).log() / _SCALE
    one = torch.where(large, magnitude, -torch.ones_like(x))
    return torch.stack([one, torch.where(large, x.sign(), math.exp(_SCALE) * x)], -1)
