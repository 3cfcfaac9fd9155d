"""Policies: distributions over architectures whose parameters lead with `S`, the seeds.

Shapes: `S` seeds, `B` architectures, `D` decisions, `C` the most choices of a decision, `H` hidden units.
Everything is either elementwise or a product of one seed's matrices, so that a seed's numbers do not depend on its company.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from controller import _moves
from controller._base import Prior
from controller._optim import Params
from search_spaces import _noise, _ops
from search_spaces._base import Space


class Policy(Protocol):
    """A distribution over the architectures of a space."""

    @property
    def space(self) -> Space: ...

    def init(self, seeds: Tensor) -> Params: ...

    def sample(self, params: Params, seeds: Tensor, step: Tensor, batch: int) -> Tensor:
        """Valid architectures `[S, B, D]`."""
        ...

    def log_probs(self, params: Params, archs: Tensor) -> Tensor:
        """`[S, B, D, C]`: of each choice, given the decisions before it in `archs`; minus infinity where closed."""
        ...


@dataclass(frozen=True)
class Independent:
    """One table of logits, each decision by itself: the policy of NATS-Bench's REINFORCE."""

    space: Space

    def init(self, seeds: Tensor) -> Params:
        D, C = len(self.space.choices), max(self.space.choices)
        return {"logits": 1e-3 * _noise.normal(seeds, 0, D, C, stream=_INIT)}

    def sample(self, params: Params, seeds: Tensor, step: Tensor, batch: int) -> Tensor:
        return _draw(self.space, seeds, step, batch, lambda d, _archs: params["logits"][:, None, d])

    def log_probs(self, params: Params, archs: Tensor) -> Tensor:
        logits_SBDC = params["logits"][:, None].expand(-1, archs.shape[1], -1, -1)
        return (logits_SBDC + closed(self.space, archs)).log_softmax(-1)


@dataclass(frozen=True)
class Autoregressive:
    """An LSTM that reads the decisions made so far and gives the logits of the next (Zoph & Le 2017, arXiv:1611.01578).

    The embedding of a choice and the LSTM's input matrix are one table, since their product is all that enters.
    """

    space: Space
    hidden: int = 16

    def init(self, seeds: Tensor) -> Params:
        D, C, H = len(self.space.choices), max(self.space.choices), self.hidden
        shapes = {"start": (4 * H,), "input": (D - 1, C, 4 * H), "hidden": (H, 4 * H), "head": (D, H, C)}
        span = 1 / math.sqrt(H)
        params = {
            name: span * (2 * _noise.uniform(seeds, i, *shape, stream=_INIT) - 1)
            for i, (name, shape) in enumerate(shapes.items())
        }
        return {**params, "bias": torch.zeros(len(seeds), D, C)}

    def sample(self, params: Params, seeds: Tensor, step: Tensor, batch: int) -> Tensor:
        memory = self._memory(params, batch)

        def logits(d: int, archs_SBd: Tensor) -> Tensor:
            nonlocal memory
            found_SBC, memory = self._decide(params, d, archs_SBd, memory)
            return found_SBC

        return _draw(self.space, seeds, step, batch, logits)

    def log_probs(self, params: Params, archs: Tensor) -> Tensor:
        memory = self._memory(params, archs.shape[1])
        logits = []
        for d in range(archs.shape[-1]):
            found_SBC, memory = self._decide(params, d, archs[..., :d], memory)
            logits.append(found_SBC)
        return (torch.stack(logits, 2) + closed(self.space, archs)).log_softmax(-1)

    def _memory(self, params: Params, batch: int) -> tuple[Tensor, Tensor]:
        zero_SBH = params["start"].new_zeros(len(params["start"]), batch, self.hidden)
        return zero_SBH, zero_SBH

    def _decide(
        self, params: Params, d: int, archs_SBd: Tensor, memory: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Logits of decision `d` `[S, B, C]` and the memory after it."""
        h_SBH, c_SBH = memory
        if d == 0:
            gates_SBG = params["start"][:, None].expand(-1, h_SBH.shape[1], -1)
        else:
            table_SCG = params["input"][:, d - 1]
            last_SBG = archs_SBd[..., -1:].expand(-1, -1, table_SCG.shape[-1])
            gates_SBG = table_SCG.gather(1, last_SBG) + torch.bmm(h_SBH, params["hidden"])
        i, f, o, g = gates_SBG.chunk(4, -1)
        c_SBH = _sigmoid(f + 1) * c_SBH + _sigmoid(i) * g.contiguous().tanh()
        h_SBH = _sigmoid(o) * c_SBH.tanh()
        return torch.bmm(h_SBH, params["head"][:, d]) + params["bias"][:, d, None], (h_SBH, c_SBH)


def log_prob(log_probs_SBDC: Tensor, archs_SBD: Tensor) -> Tensor:
    """Of whole architectures, `[S, B]`."""
    return log_probs_SBDC.gather(-1, archs_SBD[..., None]).squeeze(-1).sum(-1)


def entropy(log_probs_SBDC: Tensor) -> Tensor:
    """The entropy in nats of each decision given those before it, summed over decisions: `[S, B]`."""
    closed_SBDC = log_probs_SBDC.isinf()
    return -(log_probs_SBDC.exp() * log_probs_SBDC.masked_fill(closed_SBDC, 0.0)).sum((-1, -2))


def along_the_mode(policy: Policy, params: Params) -> Tensor:
    """Probabilities `[S, D, C]`: of each decision's choices, given the likeliest choice of those before it."""
    some = next(iter(params.values()))
    with torch.no_grad():
        archs_S1D = torch.zeros(len(some), 1, len(policy.space.choices), dtype=torch.long)
        for d in range(archs_S1D.shape[-1]):
            archs_S1D[..., d] = policy.log_probs(params, archs_S1D)[:, :, d].argmax(-1)
        return policy.log_probs(params, archs_S1D).squeeze(1).exp()


def begin(policy: Policy, seeds: Tensor, prior: Prior | None) -> Params:
    """Parameters to start from: a prior's, the same for each seed or one each, else fresh ones."""
    if prior is None:
        return policy.init(seeds)
    return {n: p.expand(len(seeds), *p.shape[1:]).clone() for n, p in prior.params.items()}


def closed(space: Space, archs: Tensor) -> Tensor:
    """What to add to logits `[S, B, D, C]`: 0 where a choice can follow, minus infinity where it cannot."""
    return torch.stack([_closed(space, archs[..., :d], d) for d in range(len(space.choices))], -2)


_INIT, _SAMPLE = 255, 0


def _closed(space: Space, archs_SBd: Tensor, d: int) -> Tensor:
    C, choices = max(space.choices), space.choices
    open_C = torch.arange(C) < choices[d]
    prefixes = _moves.open_prefixes(space)
    if prefixes is None:
        open_SBC = open_C.expand(*archs_SBd.shape[:-1], C)
    else:
        rank_SB = _ops.index(archs_SBd, choices[:d]) if d else archs_SBd.new_zeros(archs_SBd.shape[:-1])
        open_SBC = torch.nn.functional.pad(prefixes[d][rank_SB], (0, C - choices[d]))
    return torch.zeros(open_SBC.shape).masked_fill(~open_SBC, -torch.inf)


def _draw(space: Space, seeds: Tensor, step: Tensor, batch: int, logits) -> Tensor:
    """Architectures `[S, B, D]`, decision by decision from `logits(d, archs so far)`."""
    D, C = len(space.choices), max(space.choices)
    gumbel_SBDC = _noise.gumbel(seeds, step, batch, D, C, stream=_SAMPLE)
    archs_SBD = seeds.new_zeros(len(seeds), batch, 0)
    with torch.no_grad():
        for d in range(D):
            noisy_SBC = logits(d, archs_SBD) + _closed(space, archs_SBD, d) + gumbel_SBDC[:, :, d]
            archs_SBD = torch.cat([archs_SBD, noisy_SBC.argmax(-1, keepdim=True)], -1)
    return archs_SBD


def _sigmoid(x: Tensor) -> Tensor:
    """By way of tanh, which gives the same bits wherever in a tensor an element lies; torch.sigmoid does not."""
    return 0.5 + 0.5 * (0.5 * x).tanh()
