"""Rules by which a policy of independent logits changes after evaluations; other tasks have taught their numbers.

- `Rates`: a step up the policy gradient, each logit with its own rate (Meta-SGD, Li et al. 2017, arXiv:1707.09835, equation 1).
- `Written`: an LSTM reads each logit's gradient and writes its update (Andrychowicz et al. 2016, arXiv:1606.04474, section 2).
- `Recurrent`: an LSTM reads the evaluations one by one and writes the logits (RL^2, Duan et al. 2016, arXiv:1611.02779; with an
  LSTM in place of the GRU, as Wang et al. 2016, arXiv:1611.05763, have it).

Shapes: `S` seeds, `B` architectures, `D` decisions, `C` choices, `E` evaluations so far, `H` hidden units.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from controller.models import scores
from controller.policies import nets, optim
from controller.policies.optim import Params
from search_spaces import Space, _products, _sampling

Memory = dict[str, Tensor]
"""What a rule has made of a search so far, each `[S, ...]`; `logits` `[S, D, C]` is the policy."""


class Rule(Protocol):
    """From what was evaluated to the next policy. `params` are the learned numbers, each `[S, ...]`; in training, where all
    searches share them, `[1, ...]` but for `logits`."""

    def begin(self, params: Params) -> Memory: ...

    def learn(self, params: Params, memory: Memory, archs: Tensor, signal: Tensor) -> Memory:
        """The memory after architectures `[S, B, D]` of `signals` `[S, B]`; differentiable by `params`."""
        ...


def rule(space: Space, params: Params) -> Rule:
    """The rule that these numbers are for."""
    if "rates" in params:
        return Rates(space)
    return Written(space) if "window" in params else Recurrent(space)


def signals(score: Tensor, batch: int) -> Tensor:
    """What the last `batch` of all scores `[S, E]` say: their normal scores, float32 `[S, batch]`.

    Ranks, since a new task's scores have a scale that is not known beforehand; NaN ranks last.
    """
    return scores.normal_scores(score)[:, score.shape[1] - batch :].float()


def gradient(space: Space, logits: Tensor, archs: Tensor, signal: Tensor) -> Tensor:
    """The sum over `B` of signal times the gradient of log p by the logits, `[S, D, C]`, a constant (Williams 1992)."""
    with torch.enable_grad():
        leaf = optim.leaves({"logits": logits})
        log_prob_SB = nets.log_prob(nets.Independent(space).log_probs(leaf, archs), archs)
        return optim.grads((signal * log_prob_SB).sum(-1), leaf)["logits"]


def begin_windows(params: Params) -> Memory:
    """The start `logits`, and a window without evaluations."""
    logits = params["logits"]
    return {"logits": logits, "gradient": torch.zeros_like(logits), "count": logits.new_zeros(len(logits))}


def _add(space: Space, params: Params, memory: Memory, archs: Tensor, signal: Tensor) -> tuple[Memory, Tensor, Tensor]:
    """The memory with evaluations counted in; the mean gradient `[S, D, C]`; whether a window of them is full, `[S]`."""
    total = memory["gradient"] + gradient(space, memory["logits"], archs, signal)
    count_S = memory["count"] + archs.shape[1]
    full_S = count_S >= params["window"]
    left = {"gradient": torch.where(full_S[:, None, None], 0.0, total), "count": torch.where(full_S, 0.0, count_S)}
    return memory | left, total / count_S[:, None, None], full_S


def _lstm(params: Params, read: Tensor, out: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """The LSTM's next output and cell `[S, P, H]` after `read` `[S, P, I]`, P sequences of each search."""
    shape, shared = out.shape, len(params["hidden"]) == 1
    if shared:  # As many rows of one product, in place of as many products.
        read, out, cell = (x.reshape(1, -1, x.shape[-1]) for x in (read, out, cell))
    gates = _products.product(read, params["input"]) + params["bias"]
    out, cell = nets.lstm(params, _products.fixed(params["hidden"].detach()), gates, (out, cell))
    return out.view(shape), cell.view(shape)


def _head(params: Params, out: Tensor) -> Tensor:
    """What is read off outputs `[S, P, H]`, `[S, P, O]`."""
    rows = out.reshape(1, -1, out.shape[-1]) if len(params["head"]) == 1 else out
    return _products.product(rows, params["head"], bound=1.0).reshape(*out.shape[:-1], -1)


@dataclass(frozen=True)
class Rates:
    """`logits` += `rates` `[S, D, C]` times the gradient, the mean over a `window` `[S]` of evaluations."""

    space: Space

    def begin(self, params: Params) -> Memory:
        return begin_windows(params)

    def learn(self, params: Params, memory: Memory, archs: Tensor, signal: Tensor) -> Memory:
        memory, mean_SDC, full_S = _add(self.space, params, memory, archs, signal)
        moved_SDC = memory["logits"] + params["rates"] * mean_SDC
        return memory | {"logits": torch.where(full_S[:, None, None], moved_SDC, memory["logits"])}


@dataclass(frozen=True)
class Written:
    """`logits` += what an LSTM writes; one LSTM serves all logits, each with a state of its own, and knows none by its place.

    It reads the gradient and the log-probability of the choice. Its numbers: `input` `[S, 2, 4H]`, `hidden` `[S, H, 4H]`,
    `bias` `[S, 1, 4H]`, `head` `[S, H, 1]`; `window` `[S]`.
    """

    space: Space

    def begin(self, params: Params) -> Memory:
        logits = params["logits"]
        zero = logits.new_zeros(len(logits), logits[0].numel(), params["hidden"].shape[1])
        return begin_windows(params) | {"out": zero, "cell": zero.clone()}

    def learn(self, params: Params, memory: Memory, archs: Tensor, signal: Tensor) -> Memory:
        memory, mean_SDC, full_S = _add(self.space, params, memory, archs, signal)
        if not bool(full_S.any()):
            return memory
        before, padding = memory["logits"], _sampling.padding_mask(self.space.choices)
        # Of a decision's own options; what stands beyond them has no probability to be read.
        log_p_SDC = before.masked_fill(padding, -torch.inf).log_softmax(-1).masked_fill(padding, 0.0)
        read_SP2 = torch.stack([mean_SDC, log_p_SDC], -1).flatten(1, 2).detach()
        out, cell = _lstm(params, read_SP2, memory["out"], memory["cell"])
        after = {"logits": before + _head(params, out).view(before.shape), "out": out, "cell": cell}
        return memory | {n: torch.where(full_S[:, None, None], after[n], memory[n]) for n in after}


@dataclass(frozen=True)
class Recurrent:
    """`logits` are read off the state of an LSTM that has read every architecture and its signal.

    Its numbers: `input` `[S, D * C + 1, 4H]`, `hidden` `[S, H, 4H]`, `bias` `[S, 1, 4H]`, `head` `[S, H, D * C]` and the start,
    `logits`.
    """

    space: Space

    def begin(self, params: Params) -> Memory:
        zero = params["hidden"].new_zeros(len(params["logits"]), 1, params["hidden"].shape[1])
        return {"logits": params["logits"], "out": zero, "cell": zero.clone()}

    def learn(self, params: Params, memory: Memory, archs: Tensor, signal: Tensor) -> Memory:
        one_hot = torch.nn.functional.one_hot(archs, max(self.space.choices)).flatten(2).float()
        read_SBI = torch.cat([one_hot, signal[..., None]], -1)
        out, cell = memory["out"], memory["cell"]
        for b in range(archs.shape[1]):
            out, cell = _lstm(params, read_SBI[:, b : b + 1], out, cell)
        return {"logits": params["logits"] + _head(params, out).view(params["logits"].shape), "out": out, "cell": cell}
