"""Policies: distributions over architectures whose parameters lead with `S`, the seeds.

Shapes: `S` seeds, `B` architectures, `D` decisions, `C` the most choices of a decision, `H` hidden units.
Everything is either elementwise or an exact product of one seed's matrices (`_products`), so that a seed's numbers do not depend
on its company.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor

from controller._base import Prior
from controller.policies.optim import Params
from search_spaces import Space, UserError, _noise, _products, _sampling


class Policy(Protocol):
    """A distribution over the architectures of a space."""

    @property
    def space(self) -> Space: ...

    def init(self, seeds: Tensor) -> Params: ...

    def sample(self, params: Params, seeds: Tensor, step: Tensor, batch: int) -> Tensor:
        """Valid architectures `[S, B, D]`."""
        ...

    def log_probs(self, params: Params, archs: Tensor) -> Tensor:
        """`[S, B, D, C]`: of each choice, given the decisions before it in `archs`; minus infinity if not valid."""
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
        logits_SBDC = _products.spread(params["logits"][:, None], 1, archs.shape[1])
        return _mask(logits_SBDC, self.space, archs).log_softmax(-1)


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
        # The bias begins at 0: no option is preferred before anything was scored.
        return {**params, "bias": torch.zeros(len(seeds), D, C)}

    def sample(self, params: Params, seeds: Tensor, step: Tensor, batch: int) -> Tensor:
        memory, turn_SHG = self._memory(params, batch), _products.fixed(params["hidden"].detach())

        def logits(d: int, archs_SBd: Tensor) -> Tensor:
            nonlocal memory
            last_SB1 = archs_SBd[..., -1:]
            read_SBG = self._start(params, batch) if d == 0 else _rows(params["input"][:, d - 1], last_SB1)
            memory = lstm(params, turn_SHG, read_SBG, memory)
            return _products.product(memory[0], params["head"][:, d], bound=1.0) + params["bias"][:, d, None]

        return _draw(self.space, seeds, step, batch, logits)

    def log_probs(self, params: Params, archs: Tensor) -> Tensor:
        S, B, D = archs.shape
        memory = self._memory(params, B)
        table_SdCG, before_SdB = params["input"], archs[..., :-1].transpose(1, 2)
        read = _rows(table_SdCG.flatten(0, 1), before_SdB.reshape(S * (D - 1), B, 1)).unflatten(0, (S, D - 1)).unbind(1)
        hidden, turn_SHG = [], _products.fixed(params["hidden"].detach())
        for gates_SBG in (self._start(params, B), *read):
            memory = lstm(params, turn_SHG, gates_SBG, memory)
            hidden.append(memory[0])
        logits_SDBC = _products.product(torch.stack(hidden, 1), params["head"], bound=1.0)
        logits_SBDC = (logits_SDBC + _products.spread(params["bias"][:, :, None], 2, B)).transpose(1, 2)
        return _mask(logits_SBDC, self.space, archs).log_softmax(-1)

    def _memory(self, params: Params, batch: int) -> tuple[Tensor, Tensor]:
        zero_SBH = params["start"].new_zeros(len(params["start"]), batch, self.hidden)
        return zero_SBH, zero_SBH

    def _start(self, params: Params, batch: int) -> Tensor:
        return _products.spread(params["start"][:, None], 1, batch)


class _Rows(torch.autograd.Function):
    """`gather` forwards copies number by number; `index_select` copies whole rows."""

    @staticmethod
    def forward(ctx, table_SCG, which_SB1):  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.save_for_backward(which_SB1)
        S, C, G = ctx.shape = table_SCG.shape
        row_SB = torch.arange(0, S * C, C)[:, None] + which_SB1.squeeze(-1)
        return table_SCG.reshape(S * C, G).index_select(0, row_SB.flatten()).view(*row_SB.shape, G)

    @staticmethod
    def backward(ctx, *grads):
        (grad_SBG,), (which_SB1,) = grads, ctx.saved_tensors
        zero_SCG = grad_SBG.new_zeros(ctx.shape)
        return zero_SCG.scatter_add(1, which_SB1.expand(-1, -1, ctx.shape[-1]), grad_SBG), None


def _rows(table_SCG: Tensor, which_SB1: Tensor) -> Tensor:
    """The table's row of each choice, `[S, B, G]`."""
    return _Rows.apply(table_SCG, which_SB1)


def lstm(params: Params, turn_SHG: Tensor, gates_SBG: Tensor, memory: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Output and cell `[S, B, H]` after an input that adds `gates` to the four gates (Hochreiter & Schmidhuber 1997).

    `turn` is `hidden` in fixed point; outputs lie in [-1, 1].
    """
    h_SBH, c_SBH = memory
    gates_SBG = gates_SBG + _products.product(h_SBH, params["hidden"], turn_SHG, bound=1.0)
    shift_G, scale_G = _squash(h_SBH.shape[-1], gates_SBG.dtype)
    ifo, g = ((gates_SBG + shift_G) * scale_G).tanh().split((3 * h_SBH.shape[-1], h_SBH.shape[-1]), -1)
    i, f, o = (0.5 + 0.5 * ifo).chunk(3, -1)
    c_SBH = f * c_SBH + i * g
    return o * c_SBH.tanh(), c_SBH


@lru_cache
def _squash(hidden: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """What to add to the gates `i, f, o, g` and to multiply them by, so that tanh gives the sigmoids of the first three.

    `sigmoid(x)` is `0.5 + 0.5 tanh(0.5 x)`: torch.sigmoid's bits depend on where in a tensor an element lies.
    """
    shift, scale = torch.tensor([[0.0, 1.0, 0.0, 0.0], [0.5, 0.5, 0.5, 1.0]], dtype=dtype)
    return shift.repeat_interleave(hidden), scale.repeat_interleave(hidden)


def log_prob(log_probs_SBDC: Tensor, archs_SBD: Tensor) -> Tensor:
    """Of whole architectures, `[S, B]`."""
    return log_probs_SBDC.gather(-1, archs_SBD[..., None]).squeeze(-1).sum(-1)


def entropy_terms(log_probs_SBDC: Tensor) -> Tensor:
    """What each choice adds to the entropy in nats of its decision, -p log p: `[S, B, D, C]`; 0 where p is 0."""
    never_SBDC = log_probs_SBDC.isinf()  # 0 times minus infinity would be NaN.
    return -(log_probs_SBDC.exp() * log_probs_SBDC.masked_fill(never_SBDC, 0.0))


def entropy(log_probs_SBDC: Tensor) -> Tensor:
    """The entropy in nats of each decision given those before it, summed over decisions: `[S, B]`."""
    return entropy_terms(log_probs_SBDC).sum((-1, -2))


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


def check_start(policy: Policy, prior: Prior) -> None:
    """Raise `UserError` for a prior that is neither a start of `policy` nor logits, as `controller.meta.maml` makes them."""
    D, C = len(policy.space.choices), max(policy.space.choices)
    own = {n: p.shape[1:] for n, p in policy.init(torch.tensor([0])).items()}
    given = {n: p.shape[1:] for n, p in prior.params.items()}
    if given != own and given != {"logits": (D, C)}:
        about = prior.about.get("space", "another space or policy")
        raise UserError(
            f"The prior's start is for '{about}', and the search is in '{policy.space.name}'; train one by nas meta-train "
            f"--learner maml --learner-option space={policy.space.name}."
        )


def _mask(logits_SBDC: Tensor, space: Space, archs: Tensor) -> Tensor:
    """Logits with minus infinity at options that cannot end in a valid architecture after those before them in `archs`."""
    if _sampling.valid_prefixes(space) is None:
        return logits_SBDC.masked_fill(_sampling.padding_mask(space.choices), -torch.inf)
    invalid = [_sampling.invalid_mask(space, archs[..., :d], d) for d in range(len(space.choices))]
    return logits_SBDC.masked_fill(torch.stack(invalid, -2), -torch.inf)


_INIT, _SAMPLE, _REPLACE = 255, 0, 1


def _draw(space: Space, seeds: Tensor, step: Tensor, batch: int, logits: Callable[[int, Tensor], Tensor]) -> Tensor:
    """Architectures `[S, B, D]`, decision by decision from `logits(d, archs so far)`."""
    D, C = len(space.choices), max(space.choices)
    gumbel_SBDC = _noise.gumbel(seeds, step, batch, D, C, stream=_SAMPLE)
    archs_SBD = seeds.new_zeros(len(seeds), batch, D)
    with torch.no_grad():
        for d in range(D):
            before_SBd = archs_SBD[..., :d]
            noisy_SBC = logits(d, before_SBd) + gumbel_SBDC[:, :, d]
            invalid = _sampling.invalid_mask(space, before_SBd, d)
            archs_SBD[..., d] = noisy_SBC.masked_fill(invalid, -torch.inf).argmax(-1)
    if _sampling.may_draw_invalid(space):
        archs_SBD = _sampling.replace_invalid(archs_SBD, _noise.bits(seeds, step, batch, D, stream=_REPLACE), space)
    return archs_SBD
