"""Selecting an architecture by perturbation: DARTS-PT (Wang et al. 2021, arXiv:2108.04392, algorithm 1).

One decision after the other: the mixture is scored without each of the decision's options, and the option without which it scores
least is selected; of options that tie, the one of most weight. Between two decisions the mixture that is left is proposed as it
is, a few times: the paper tunes the shared weights there. An evaluator that still trains its weights does so, and lets them rest
while options are compared.
Shapes: `S` seeds, `B` mixtures, `D` decisions, `C` choices.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from search_spaces import Space, _noise

_ORDER = 254
"""Stream of random numbers that order the decisions."""
_TINY = 1e-12
"""Below every weight that is left: a decision of one option has nothing left without it."""


class Selection(NamedTuple):
    """What is known so far."""

    score: Tensor
    """float32 `[S, D, C]` of the mixture without that option; NaN before it is known."""
    fixed: Tensor
    """int64 `[S, D]` the option selected; -1 before."""


class Turn(NamedTuple):
    """Where the searches stand."""

    seeds: Tensor
    """int64 `[S]`."""
    since: Tensor
    """int64 `[S]` steps since the first option was removed."""
    batch: int
    """Mixtures of each step."""
    tune: int
    """Steps between two decisions that train weights."""


def begin(space: Space, seeds: Tensor) -> Selection:
    """Nothing selected."""
    D, C = len(space.choices), max(space.choices)
    return Selection(torch.full((len(seeds), D, C), torch.nan), seeds.new_full((len(seeds), D), -1))


def selected(selection: Selection, mixture_SDC: Tensor) -> Tensor:
    """The mixture, one-hot where an option is selected."""
    chosen = torch.nn.functional.one_hot(selection.fixed.clamp_min(0), mixture_SDC.shape[-1]).float()
    return torch.where((selection.fixed >= 0)[..., None], chosen, mixture_SDC)


def turn(space: Space, at: Turn, selection: Selection, mixture_SDC: Tensor) -> tuple[Tensor, Tensor | None]:
    """What is to be scored next, `[S, B, D, C]`, and where weights are to rest, bool `[S, B]`; None: the evaluator decides."""
    weights = mixtures(space, at.seeds, selection, mixture_SDC, at.batch)
    if not at.tune:
        return weights, None
    tuned_S = tuning(space, at, selection)
    whole_SDC = selected(selection, mixture_SDC)
    return torch.where(tuned_S[:, None, None, None], whole_SDC[:, None], weights), (~tuned_S)[:, None].expand(
        -1, at.batch
    )


def mixtures(space: Space, seeds: Tensor, selection: Selection, mixture_SDC: Tensor, batch: int) -> Tensor:
    """What is to be scored next, `[S, B, D, C]`: the mixture with the decision at hand without one of its options."""
    at_S1 = _at_hand(seeds, selection)[:, None]
    weights = selected(selection, mixture_SDC)[:, None].repeat(1, batch, 1, 1)
    rows, columns = torch.arange(len(seeds))[:, None], torch.arange(batch)[None]
    own_SBC = weights[rows, columns, at_S1].scatter(2, _removed(space, seeds, selection, batch)[..., None], 0.0)
    weights[rows, columns, at_S1] = own_SBC / own_SBC.sum(-1, keepdim=True).clamp_min(_TINY)
    return weights


def tuning(space: Space, at: Turn, selection: Selection) -> Tensor:
    """Which searches train weights before their next decision, bool `[S]`."""
    turns_D = -(-torch.tensor(space.choices) // at.batch)
    made_SD, at_S = selection.fixed >= 0, _at_hand(at.seeds, selection)
    known_S = (~selection.score[torch.arange(len(at_S)), at_S].isnan()).sum(1)
    # All steps that judged no option trained weights: so many after each decision.
    judged_S = (made_SD * turns_D).sum(1) - (-known_S // at.batch)
    return at.since - judged_S < at.tune * made_SD.sum(1)


def learn(space: Space, at: Turn, selection: Selection, mixture_SDC: Tensor, score_SB: Tensor) -> Selection:
    """The selection once the scores of `turn` are known."""
    found = judged(space, at.seeds, selection, mixture_SDC, score_SB)
    if not at.tune:
        return found
    tuned_S = tuning(space, at, selection)
    return Selection(
        torch.where(tuned_S[:, None, None], selection.score, found.score),
        torch.where(tuned_S[:, None], selection.fixed, found.fixed),
    )


def judged(space: Space, seeds: Tensor, selection: Selection, mixture_SDC: Tensor, score_SB: Tensor) -> Selection:
    """The selection once the scores of `mixtures` are known."""
    (score, fixed), at_S, rows = selection, _at_hand(seeds, selection), torch.arange(len(seeds))
    # A mixture that failed says nothing of its option, which must not be selected for it.
    known_SB = score_SB.nan_to_num(torch.inf, posinf=torch.inf, neginf=-torch.inf)
    own_SC = score[rows, at_S].scatter(1, _removed(space, seeds, selection, score_SB.shape[1]), known_SB)
    beyond_SC = _beyond(space, at_S)
    done_S = (~own_SC.isnan() | beyond_SC).all(1)
    open_SC = own_SC.masked_fill(beyond_SC | own_SC.isnan(), torch.inf)
    # Accuracies on a few hundred images are often equal: then the mixture's own weight decides, and not the order of the options.
    least_SC = (open_SC == open_SC.min(1, keepdim=True).values) & ~beyond_SC
    missed_S = mixture_SDC[rows, at_S].masked_fill(~least_SC, -1.0).argmax(1)
    score, fixed = score.clone(), fixed.clone()
    score[rows, at_S] = own_SC
    fixed[rows, at_S] = torch.where(done_S, missed_S, fixed[rows, at_S])
    return Selection(score, fixed)


def _at_hand(seeds: Tensor, selection: Selection) -> Tensor:
    """The decision that is being made, int64 `[S]`: the first that is open in an order of the seed's own."""
    order_SD = _noise.bits(seeds, 0, selection.fixed.shape[1], stream=_ORDER).argsort(dim=1, stable=True)
    open_SD = (selection.fixed < 0).gather(1, order_SD)
    return order_SD.gather(1, open_SD.long().argmax(1, keepdim=True)).squeeze(1)


def _removed(space: Space, seeds: Tensor, selection: Selection, batch: int) -> Tensor:
    """The option that each mixture lacks, int64 `[S, B]`: first those whose score is not known yet."""
    at_S = _at_hand(seeds, selection)
    known_SC = ~selection.score[torch.arange(len(at_S)), at_S].isnan()
    order_SC = (known_SC.long() + 2 * _beyond(space, at_S).long()).argsort(dim=1, stable=True)
    return order_SC.gather(1, torch.arange(batch) % torch.tensor(space.choices)[at_S][:, None])


def _beyond(space: Space, at_S: Tensor) -> Tensor:
    """Which choices are beyond the options of a decision, bool `[S, C]`."""
    return torch.arange(max(space.choices)) >= torch.tensor(space.choices)[at_S][:, None]
