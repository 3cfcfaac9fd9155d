"""The members of the bank: which Gaussian processes there are, and how likely each is before anything is seen (`_bank`).

Shapes: `E` members, `G` kinds of them, `F` mean landscapes, `S` seeds, `K` members kept.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor


class Members(NamedTuple):
    """The bank: each field holds one number a member, `[E]`, or for those kept of each seed `[S, K]`."""

    near: Tensor
    place: Tensor
    pair: Tensor
    trend: Tensor
    alike: Tensor
    variance: Tensor
    """Of what the prior does not explain, in variances over the space."""
    noise: Tensor
    """Variance of an evaluation's noise, over `variance`."""
    luck: Tensor
    """1: an evaluation's noise is worth having, as it is what is reported; 0: it is not."""
    family: Tensor
    """Whose mean landscape, from 0; -1: nobody's."""
    span: Tensor
    """Variance along the prior's directions."""
    log_weight: Tensor
    """Before anything is seen."""

    def take(self, index: Tensor) -> Members:
        return Members(*(field[index] for field in self))


_COLD = (
    (0.4, 0.4, 0.0, 0.2),
    (0.4, 0.4, 0.0, 1.0),
    (0.8, 0.0, 0.0, 0.2),
    (0.0, 1.0, 0.0, 0.0),
    (0.2, 0.2, 0.5, 0.2),
    (0.2, 0.2, 0.5, 1.0),
    (0.0, 0.0, 1.0, 0.0),
)
"""`near`, `place`, `pair` and `trend` of the members that know no other task."""
_NOISE = ((0.1, 0.0), (0.4, 1.0), (1.0, 1.0))
"""`noise` and `luck` of each of them."""


def bank(family_weight: Tensor | None) -> Members:
    """The members: 21 that know no other task, and with a prior six around each of its landscapes and two along its directions.

    Three of those that know nothing see places alone: slow to learn, hard to mislead.

    Args:
        family_weight: `[F]` how likely a new task is to follow each landscape; None without a prior.
    """
    rows = [
        (near, place, pair, trend, 0.0, 1.0, noise, luck, -1.0, 0.0, math.log(0.27 / 15 if near else 0.03 / 6))
        for near, place, pair, trend in _COLD
        for noise, luck in _NOISE
    ]
    if family_weight is not None:
        for family, weight in enumerate(family_weight.tolist()):
            prior = math.log(max(0.5 * weight / 6, 1e-9))
            rows += [
                (0.075, 0.075, 0.0, 0.0, 0.85, v, 0.2, 1.0, float(family), s, prior)
                for v in (0.02, 0.1, 0.4)
                for s in (0.0, 0.2)
            ]
        rows += [(0.075, 0.075, 0.0, 0.0, 0.85, v, 0.07, 1.0, -1.0, 1.0, math.log(0.2 / 2)) for v in (0.1, 0.4)]
    return Members(*torch.tensor(rows, dtype=torch.float64).unbind(1))


class Kinds(NamedTuple):
    """Members by their covariance; those of one kind differ in their mean landscape alone."""

    each: Members
    """Of each kind one, `[1, G]`."""
    of: Tensor
    """int64 `[E]` each member's kind."""


def kinds(members: Members) -> Kinds:
    alike = members._replace(family=torch.zeros_like(members.family), log_weight=torch.zeros_like(members.family))
    each, of = torch.stack(alike, 1).unique(dim=0, return_inverse=True)
    return Kinds(Members(*each.T[:, None]), of)
