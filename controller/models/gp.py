"""A Gaussian process on the architectures tried, expected improvement on their neighbours and on random ones.

The process: mean 0, covariance exp(-distance / length) + noise (Rasmussen & Williams 2006, algorithm 2.1) on scores turned
into normal quantiles of their ranks; expected improvement is Jones et al. 1998, equation 15. With `encoding="path"` the
distance is that of BANANAS's encoding (White et al. 2021, arXiv:1910.11858).

Shapes: `S` seeds, `B` architectures, `D` decisions, `E` evaluations so far, `M` candidates, `F` features, `L` lengths tried.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from controller.models import encodings, scores
from search_spaces import Space, _ops, _sampling
from search_spaces._figures import HasFigures

_FIRST, _RANDOM = 0, 1
QUEUE = 64
"""Candidates kept of a fit, so that a batch and the evaluations up to the next fit find enough."""


class Searched(Protocol):
    """What the process needs to know of a search; other controllers' states have it too."""

    @property
    def seeds(self) -> Tensor: ...
    @property
    def step(self) -> Tensor: ...
    @property
    def archs(self) -> Tensor: ...
    @property
    def score(self) -> Tensor: ...


@dataclass(frozen=True)
class GaussianProcess:
    """What to try next by what was tried."""

    space: Space
    encoding: Literal["one_hot", "path"] = "one_hot"
    num_incumbents: int = 6
    """The best so far whose neighbours are candidates."""
    num_random_candidates: int = 96
    noise: float = 0.1
    """Variance of the scores' noise, in units of their variance."""
    max_observations: int = 96
    """Observations it is conditioned on at most: the latest and the best, half each."""

    def next(self, state: Searched) -> Tensor:
        """The candidates of the highest expected improvement, the best first, `[S, Q, D]`."""
        candidates_SMD = self._candidates(state)
        gain_SM = self._expected_improvement(state, candidates_SMD)
        usable_SM = self._new(state, candidates_SMD)
        order_SQ = torch.where(usable_SM, gain_SM, -torch.inf).argsort(dim=-1, descending=True, stable=True)[:, :QUEUE]
        chosen_SQD = candidates_SMD.gather(1, order_SQ[..., None].expand(-1, -1, candidates_SMD.shape[-1]))
        # Where fewer than Q candidates are new, random ones fill up: a queue must never run empty between fits.
        spare_SQD = _sampling.sample(self.space, state.seeds, state.step, order_SQ.shape[1], stream=_FIRST)
        return torch.where(usable_SM.gather(1, order_SQ)[..., None], chosen_SQD, spare_SQD)

    def _candidates(self, state: Searched) -> Tensor:
        """Neighbours of the best and random architectures, valid ones, `[S, M, D]`."""
        best_SP = scores.nan_to_worst(state.score).argsort(dim=-1, descending=True, stable=True)[
            :, : self.num_incumbents
        ]
        parents_SPD = state.archs.gather(1, best_SP[..., None].expand(-1, -1, state.archs.shape[-1]))
        around_SMD = _ops.neighbours(parents_SPD, self.space.choices).flatten(1, 2)
        valid_SM1 = self.space.valid(around_SMD)[..., None]
        # Invalid neighbours become the best parent, which was tried and drops out below: the shape stays the same for every seed.
        around_SMD = torch.where(valid_SM1, around_SMD, parents_SPD[:, :1])
        return torch.cat(
            [
                around_SMD,
                _sampling.sample(self.space, state.seeds, state.step, self.num_random_candidates, stream=_RANDOM),
            ],
            1,
        )

    def _new(self, state: Searched, candidates_SMD: Tensor) -> Tensor:
        """Which candidates were not tried and are not the same as an earlier candidate, bool `[S, M]`."""
        return _ops.first_unseen(*_ops.keys(self.space.choices, candidates_SMD, state.archs))

    def _expected_improvement(self, state: Searched, candidates_SMD: Tensor) -> Tensor:
        archs_SED, target_SE = self._remembered(state)
        mean_SM, std_SM = self._posterior(archs_SED, target_SE, candidates_SMD)
        return scores.expected_improvement(mean_SM, std_SM, target_SE.amax(-1, keepdim=True))

    def _remembered(self, state: Searched) -> tuple[Tensor, Tensor]:
        """What the process sees: architectures `[S, E, D]` and the normal quantiles of their scores' ranks `[S, E]`."""
        kept_SE = scores.context_window(state.score, self.max_observations)
        kept_SED = kept_SE[..., None].expand(-1, -1, state.archs.shape[-1])
        return state.archs.gather(1, kept_SED), scores.rank_quantiles(state.score).float().gather(1, kept_SE)

    def _posterior(self, archs_SED: Tensor, target_SE: Tensor, candidates_SMD: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation at the candidates, `[S, M]`, at the length of the highest marginal likelihood."""
        known_SEF, asked_SMF = self._features(archs_SED), self._features(candidates_SMD)
        figures = _figures(self.space, archs_SED, candidates_SMD)
        # Of a count of features that differ, exp(-count / length) is a product over features: positive definite at any length.
        distance_SEE, distance_SEM = _distance(known_SEF, known_SEF), _distance(known_SEF, asked_SMF)
        identity = torch.eye(target_SE.shape[1])
        best_S = torch.full(target_SE.shape[:1], -torch.inf)
        root, length_S, share_S = torch.zeros_like(distance_SEE), torch.ones_like(best_S), torch.ones_like(best_S)
        for share, length in itertools.product(_SHARES if figures else (1.0,), _LENGTHS):
            covariance_SEE = (distance_SEE / -length).exp_()
            if figures and share < 1:
                covariance_SEE = share * covariance_SEE + (1 - share) * figures.known
            chol_SEE = torch.linalg.cholesky(covariance_SEE + self.noise * identity)
            white_SE1 = torch.linalg.solve_triangular(chol_SEE, target_SE[..., None], upper=False)
            # Rasmussen & Williams 2006, equation 5.8; the constant -E/2 log 2 pi is the same for all lengths.
            evidence_S = -white_SE1.square().sum((-1, -2)) / 2 - chol_SEE.diagonal(dim1=-1, dim2=-2).log().sum(-1)
            wins_S = evidence_S > best_S
            root = torch.where(wins_S[:, None, None], chol_SEE, root)
            length_S, best_S = torch.where(wins_S, length, length_S), torch.where(wins_S, evidence_S, best_S)
            share_S = torch.where(wins_S, share, share_S)
        cross_SEM, own_SM = (distance_SEM / -length_S[:, None, None]).exp_(), torch.ones(())
        if figures:
            cross_SEM = share_S[:, None, None] * cross_SEM + (1 - share_S[:, None, None]) * figures.cross
            own_SM = share_S[:, None] + (1 - share_S[:, None]) * figures.own
        both = torch.linalg.solve_triangular(root, torch.cat([target_SE[..., None], cross_SEM], -1), upper=False)
        white_SE1, half_SEM = both[..., :1], both[..., 1:]
        # Rounding can make the variance of an architecture near tried ones negative, and its root NaN.
        variance_SM = (own_SM - half_SEM.square().sum(1)).clamp(min=1e-6)
        return (half_SEM * white_SE1).sum(1), variance_SM.sqrt()

    def _features(self, archs: Tensor) -> Tensor:
        if self.encoding == "path":
            return encodings.paths(archs, self.space)
        return _ops.one_hot(archs, self.space.choices)


_LENGTHS = (1.5, 4.0, 12.0)
"""In features that differ: one decision is two of them, and two six-edge cells differ in 12 at most. So from neighbours alone
being alike to a space that is alike everywhere; marginal likelihood chooses. Not ablated."""


_SHARES = (1.0, 0.5, 0.2)
"""Of the variance that is not linear in what the space knows of each architecture: nothing of it is at 1, and at 0.2 it
correlates with scores as the best zero-cost proxies do (0.9, docs/proxies.md). Marginal likelihood chooses. Not ablated."""


class _Linear(NamedTuple):
    """Covariances of a linear function of the space's figures, of mean variance one (Rasmussen & Williams 2006, section 2.7)."""

    known: Tensor
    """`[S, E, E]`."""
    cross: Tensor
    """`[S, E, M]`."""
    own: Tensor
    """`[S, M]`."""


def _figures(space: Space, archs_SED: Tensor, candidates_SMD: Tensor) -> _Linear | None:
    """Of a space with figures (`search_spaces._figures`); None of any other."""
    if not isinstance(space, HasFigures):
        return None
    known_SEP, asked_SMP = space.figures(archs_SED), space.figures(candidates_SMD)
    P = known_SEP.shape[-1]
    # Sums of products, not `bmm`: its order of summation depends on the company of other seeds.
    cross_SEM = (known_SEP[:, :, None] * asked_SMP[:, None]).sum(-1) / P
    known_SEE = (known_SEP[:, :, None] * known_SEP[:, None]).sum(-1) / P
    return _Linear(known_SEE, cross_SEM, asked_SMP.square().sum(-1) / P)


def _distance(ours_SEF: Tensor, theirs_SMF: Tensor) -> Tensor:
    """How many features differ, `[S, E, M]`: whole numbers, so that no order of summation changes them."""
    shared_SEM = torch.bmm(ours_SEF, theirs_SMF.transpose(1, 2))
    return (ours_SEF.sum(-1)[:, :, None] + theirs_SMF.sum(-1)[:, None]).sub_(shared_SEM, alpha=2)
