"""What the relaxed controllers share: a search by the gradient of a mixture, and how one architecture is selected in the end.

A relaxed controller has parameters `alpha` for every option of every decision. It proposes mixtures of options, and follows the
slope of their score. Its own file says how `alpha` becomes a mixture (`mix`); everything else is here. A search has three parts:

1. `warmup` steps train the evaluator's shared weights by random single paths; `alpha` stays.
2. Up to step `steps`, Adam follows the slope of the mixture's score by `alpha`, through `mix`.
3. Then an architecture is selected: the likeliest option of each decision (`argmax`); the option whose removal costs most, one
   decision after the other (`perturbation`); or the best by score of the likeliest one and of samples (`one_shot`).

An evaluator that knows no mixtures scores samples and says no slope. The gradient is then estimated by their scores (REINFORCE,
Williams 1992), without a warm-up: there are no shared weights to warm.
Shapes: `S` seeds, `B` mixtures, `D` decisions, `C` choices.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from controller._base import Prior, Proposal, Results
from controller.policies import baseline, nets, one_shot, optim, perturbation
from controller.policies.perturbation import Selection
from search_spaces import Space, UserError, _noise, _sampling

Select = Literal["argmax", "perturbation", "one_shot"]
_BETAS = (0.5, 0.999)
"""Of Adam, as in the code of DARTS: a mean over two steps follows weights that move."""
_DECAY = 0.9
"""Of the moving average that scores without a slope are measured against, as in `reinforce`."""
_INIT, _REPLACE = 255, 1
"""Streams of random numbers: the first `alpha`, architectures in place of invalid ones."""


class State(NamedTuple):
    seeds: Tensor
    """int64 `[S]`."""
    step: Tensor
    """int64 `[S]` steps taken."""
    params: optim.Params
    """`alpha` `[S, D, C]`, and what else a controller's mixture has."""
    adam: optim.Adam
    baseline: baseline.Baseline
    selection: Selection
    """What `perturbation` has found out so far."""
    sloped: Tensor
    """bool `[S]` whether the evaluator has said a slope, so that it scores mixtures."""
    tried: Tensor
    """int64 `[S]` architectures evaluated since the last mixture."""


class Final(NamedTuple):
    """What an architecture is selected from: the mixture at the end of the search, without noise."""

    logits: Tensor
    """Of each decision's options, `[S, D, C]`, at the last step's temperature."""
    share: Tensor
    """Of each decision, `[S, D]`: what its options sum to in a mixture."""


class Relaxation(Protocol):
    """What a relaxed controller says of itself."""

    @property
    def space(self) -> Space: ...
    @property
    def lr(self) -> float: ...
    @property
    def steps(self) -> int: ...
    @property
    def warmup(self) -> int: ...
    @property
    def beta_decay(self) -> float: ...
    @property
    def select(self) -> Select: ...
    @property
    def tune(self) -> int: ...

    def logits(self, params: optim.Params) -> Tensor:
        """Of the distribution that architectures are drawn from, `[S, D, C]`; differentiable."""
        ...

    def mix(self, params: optim.Params, state: State, batch: int) -> Tensor:
        """The weights of `batch` mixtures, `[S, B, D, C]`; differentiable, 0 beyond a decision's own options."""
        ...

    def final(self, params: optim.Params) -> Final:
        """What an architecture is selected from after the last step."""
        ...

    def penalty(self, params: optim.Params) -> Tensor:
        """What the loss has beside minus the score, `[S]`."""
        ...


def begin(space: Space, seeds: Tensor, prior: Prior | None = None, **more: Tensor) -> State:
    """Fresh searches, near to the prior's `alpha` `[D, C]` where there is one; `more` are further parameters `[S, ...]`.

    Raises `UserError` for a prior of another space.
    """
    D, C = len(space.choices), max(space.choices)
    # 1e-3: DARTS' own start. Options begin alike but for a tie-break.
    alpha = 1e-3 * _noise.normal(seeds, 0, D, C, stream=_INIT)
    if prior is not None:
        learned = prior.params.get("alpha")
        if learned is None or learned.shape != (D, C) or not bool(learned.isfinite().all()):
            raise UserError(
                f"The prior holds no architecture parameters of space '{space.name}' ({D} decisions of up to {C} options)."
            )
        alpha = alpha + learned
    params = {"alpha": alpha, **more}
    zero_S, nothing = torch.zeros_like(seeds), perturbation.begin(space, seeds)
    unknown_S = torch.zeros(len(seeds), dtype=torch.bool)
    return State(seeds, zero_S, params, optim.adam_begin(params), baseline.begin(seeds), nothing, unknown_S, zero_S)


def selects_after(relaxation: Relaxation, batch: int) -> int:
    """Steps before the one that proposes what was selected. Raises `UserError` for a warm-up that leaves no step to learn."""
    if relaxation.warmup >= relaxation.steps:
        raise UserError(
            f"Setting warmup is {relaxation.warmup} and steps is {relaxation.steps}: no step is left in which the architecture "
            "is learned. warmup takes less than steps."
        )
    if relaxation.select != "perturbation":
        return relaxation.steps
    choices = relaxation.space.choices
    return relaxation.steps + sum(-(-options // batch) for options in choices) + relaxation.tune * (len(choices) - 1)


def propose(relaxation: Relaxation, state: State, batch: int) -> Proposal:
    """The next mixtures of each search, with an architecture for each; once one is selected, architectures alone.

    The architecture is drawn, as the gradient needs it where mixtures are not scored. Where they are, it is the likeliest of the
    mixture: what a search hands out that ends before it selects.
    """
    space, step = relaxation.space, int(state.step[0])
    unread_SB = torch.zeros(len(state.seeds), batch, dtype=torch.bool)
    with torch.no_grad():
        logits_SDC = relaxation.logits(state.params)
        if step < relaxation.steps:
            archs = nets.Independent(space).sample({"logits": logits_SDC}, state.seeds, state.step, batch)
            if step < relaxation.warmup:
                return Proposal(archs, weights=one_hot(archs, space), slopes=unread_SB)
            weights = relaxation.mix(state.params, state, batch)
            archs = torch.where(state.sloped[:, None, None], _likeliest(space, weights, state), archs)
            return Proposal(archs, weights=weights)
        final = relaxation.final(state.params)
        mixture_SDC = softmax(relaxation, final.logits)
        if relaxation.select == "perturbation":
            if bool((state.selection.fixed < 0).any()):
                at = perturbation.Turn(state.seeds, state.step - relaxation.steps, batch, relaxation.tune)
                weights, resting = perturbation.turn(space, at, state.selection, mixture_SDC)
                # Last, since without an option the others are normalized anew.
                weights = weights * final.share[:, None, :, None]
                return Proposal(_likeliest(space, weights, state), weights=weights, resting=resting, slopes=unread_SB)
            mixture_SDC = perturbation.selected(state.selection, mixture_SDC)
        if relaxation.select == "one_shot" and _sampling.is_listed(space):
            log_p_SDC = log_softmax(relaxation, final.logits)
            return Proposal(one_shot.candidates(space, state.seeds, log_p_SDC, state.tried, batch))
        chosen = _likeliest(space, mixture_SDC[:, None].expand(-1, batch, -1, -1), state)
        if relaxation.select == "one_shot":
            drawn = nets.Independent(space).sample({"logits": final.logits}, state.seeds, state.step, batch)
            # The likeliest architecture is the first candidate; the others are samples.
            first = state.tried[:, None] + torch.arange(batch) == 0
            chosen = torch.where(first[..., None], chosen, drawn)
    return Proposal(chosen)


def learn(relaxation: Relaxation, state: State, proposal: Proposal, results: Results) -> State:
    """The state after a step along the slope of the score, or of the selection."""
    step, after = int(state.step[0]), state._replace(step=state.step + 1)
    if step >= relaxation.steps:
        if proposal.weights is None:
            return after._replace(tried=state.tried + proposal.archs.shape[1])
        at = perturbation.Turn(state.seeds, state.step - relaxation.steps, results.score.shape[1], relaxation.tune)
        with torch.no_grad():
            mixture_SDC = softmax(relaxation, relaxation.final(state.params).logits)
        found = perturbation.learn(relaxation.space, at, state.selection, mixture_SDC, results.score)
        return after._replace(selection=found)
    after = after._replace(sloped=torch.full_like(state.sloped, results.slope is not None))
    if results.slope is not None and step < relaxation.warmup:
        return after
    params = optim.leaves(state.params)
    if results.slope is None:
        base, advantage_SB = baseline.advantage(state.baseline, results.score, _DECAY)
        after = after._replace(baseline=base)
        log_probs_SDC = _masked(relaxation.logits(params), relaxation.space).log_softmax(-1)
        log_probs_SBDC = log_probs_SDC[:, None].expand(*proposal.archs.shape, -1)
        gain_S = (advantage_SB * nets.log_prob(log_probs_SBDC, proposal.archs)).sum(1)
    else:
        # The chain rule: the slope is the evaluator's part of the derivative, the mixture the controller's.
        mixed_SBDC = relaxation.mix(params, state, proposal.archs.shape[1])
        gain_S = (mixed_SBDC * results.slope.nan_to_num(0.0)).sum((1, 2, 3))
    batch = proposal.archs.shape[1]
    progress = (step + 1) / relaxation.steps
    loss_S = (
        relaxation.penalty(params) - gain_S / batch + progress * relaxation.beta_decay * _smooth_max(relaxation, params)
    )
    moved, adam = optim.adam(state.params, optim.grads(loss_S, params), state.adam, relaxation.lr, _BETAS)
    return after._replace(params=moved, adam=adam)


def probabilities(relaxation: Relaxation, state: State) -> Tensor:
    """Of each decision's options, `[S, D, C]`."""
    with torch.no_grad():
        return _masked(relaxation.logits(state.params), relaxation.space).softmax(-1)


def unscaled(logits: Tensor) -> Final:
    """That of decisions which count alike."""
    return Final(logits, torch.ones_like(logits[..., 0]))


def log_softmax(relaxation: Relaxation, logits: Tensor) -> Tensor:
    """Of `[..., D, C]` over each decision's own options; minus infinity beyond them."""
    return _masked(logits, relaxation.space).log_softmax(-1)


def softmax(relaxation: Relaxation, logits: Tensor) -> Tensor:
    """Of `[..., D, C]` over each decision's own options; 0 beyond them."""
    return log_softmax(relaxation, logits).exp()


def gumbel(space: Space, state: State, batch: int) -> Tensor:
    """The noise by which this step's architectures are drawn, `[S, B, D, C]`."""
    return _noise.gumbel(state.seeds, state.step, batch, len(space.choices), max(space.choices))


def annealed(relaxation: Relaxation, state: State, first: float, last: float) -> Tensor:
    """A temperature that falls linearly over the steps of the search, float32 `[S, 1, 1, 1]`."""
    share = (state.step.float() / max(1, relaxation.steps - 1)).clamp(max=1)
    return (first + (last - first) * share)[:, None, None, None]


def one_hot(archs: Tensor, space: Space) -> Tensor:
    """Architectures `[..., D]` as mixtures of one option each, `[..., D, C]`."""
    return torch.nn.functional.one_hot(archs, max(space.choices)).float()


def _masked(logits: Tensor, space: Space) -> Tensor:
    return logits.masked_fill(_sampling.padding_mask(space.choices), -torch.inf)


def _smooth_max(relaxation: Relaxation, params: optim.Params) -> Tensor:
    """The mean over decisions of log sum exp alpha, `[S]`: beta-decay (Ye et al. 2022, arXiv:2203.01665).

    Its gradient is the softmax: it takes most from the option that leads, so that none runs away while weights are raw.
    """
    return _masked(params["alpha"], relaxation.space).logsumexp(-1).mean(-1)


def _likeliest(space: Space, mixture_SBDC: Tensor, state: State) -> Tensor:
    """The likeliest option of each decision after those before it, `[S, B, D]`; valid."""
    archs = torch.zeros(mixture_SBDC.shape[:3], dtype=torch.long)
    for d in range(archs.shape[-1]):
        invalid = _sampling.invalid_mask(space, archs[..., :d], d)
        archs[..., d] = mixture_SBDC[:, :, d].masked_fill(invalid, -1.0).argmax(-1)
    if _sampling.may_draw_invalid(space):
        bits = _noise.bits(state.seeds, state.step, *archs.shape[1:], stream=_REPLACE)
        archs = _sampling.replace_invalid(archs, bits, space)
    return archs
