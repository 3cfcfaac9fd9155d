"""A bank of Gaussian processes that share their kernels, weighted by what each makes of the scores seen so far.

Shapes: `S` seeds, `n` evaluations, `M` candidates, `E` members, `G` kinds of them, `K` members kept, `F` mean landscapes, `R`
directions.

Member `e` believes of a score's standing `y = a + (m_e + g) / s`: `m_e` is the prior's mean landscape of one family of tasks, or
zero; `g` a Gaussian process with covariance `v (near exp(-|whole|^2) + alike exp(-|whole|^2 - 5 |psi|^2) + place
exp(-|place|^2 / 6) + pair exp(-|pair|^2) + trend whole.whole) + span psi.psi`, where `psi` are the prior's directions; `a` an
unknown constant; and `s^2` the variance it expects of the standings seen, which are scaled to have one.
A member's weight is its evidence (Rasmussen & Williams 2006, equation 5.8): a prior that predicts badly gives way to the
members that use none. Bayesian model averaging is the rule of when to trust.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from controller.models import gp_members, kernels, ridge
from controller.models.gp_members import Kinds, Members
from controller.models.kernels import Sight

_SCREEN = 24
"""Evaluations that decide which members are kept; those kept are weighed by all."""


class Belief(NamedTuple):
    """What the members kept predict."""

    weight: Tensor
    """float64 `[S, K]`, sums to 1."""
    mean: Tensor
    """float64 `[S, K, M]` in units of standing."""
    deviation: Tensor
    """float64 `[S, K, M]`."""
    warm: Tensor
    """float64 `[S]` the weight of all members that use the prior."""

    def improvement(self, best: Tensor) -> Tensor:
        """Expected improvement `[S, M]` over `best` `[S, 1, 1]` or, one for each candidate, `[S, 1, M]`."""
        return (self.weight[..., None] * improvement(self.mean, self.deviation, best)).sum(1)


def standing(score: Tensor) -> Tensor:
    """Scores `[S, n]` by rank on a normal curve, scaled to deviation 1; ties share a rank, NaN stands at the bottom."""
    value = torch.where(score.isnan(), -torch.inf, score)
    ordered = value.sort(dim=-1).values
    below, upto = (torch.searchsorted(ordered, value, right=right) for right in (False, True))
    z = torch.special.ndtri((below + upto).double() / (2 * score.shape[-1]))
    return z / z.square().mean(-1, keepdim=True).sqrt().clamp_min(1e-6)


def _covariance(kernels: Tensor, e: Members, unit: Tensor | None = None) -> Tensor:
    """`[S, K, n, M]` for kernels `[S, 6, n, M]` and members `[S or 1, K]`, over `unit` `[S, K]` if there is one."""
    share = torch.stack([e.near, e.place, e.pair, e.trend, e.alike], -1) * e.variance[..., None]
    share = torch.cat([share, e.span[..., None]], -1)
    share = share if unit is None else share / unit[..., None]
    return (share @ kernels.flatten(2)).unflatten(-1, kernels.shape[2:])


def _means(e: Members, sight: Sight) -> Tensor:
    """Each member's mean landscape, `[S, K, N]`."""
    if not sight.mean.shape[-1]:
        return torch.zeros(*e.family.shape, sight.whole.shape[-2], dtype=torch.float64)
    means = sight.mean.mT[:, None].expand(-1, e.family.shape[1], -1, -1)
    index = e.family.clamp_min(0).long()[..., None, None].expand(len(means), -1, 1, means.shape[-1])
    return means.gather(2, index).squeeze(2) * (e.family >= 0)[..., None]


def _evidence(members: Members, kinds: Kinds, among: Tensor, seen: Sight, standing_Sn: Tensor) -> Tensor:
    """The evidence of `_fit` for all members, `[S, E]`, by one factorisation a kind.

    A member's covariance is `K / unit + 1`, with its kind's `K`: by Sherman and Morrison's formula products with the inverse of
    `K` tell all. Of those, `ab` is `a' K^-1 b` for a, b among one, the standings and the mean landscapes: `o`, `y`, `m`.
    """
    n = standing_Sn.shape[1]
    K_SGnn, noise_1G = _covariance(among, kinds.each), kinds.each.variance * kinds.each.noise
    expected_SG = K_SGnn.diagonal(dim1=-2, dim2=-1).mean(-1) - K_SGnn.mean((-1, -2)) + noise_1G * (1 - 1 / n)
    K_SGnn.diagonal(dim1=-2, dim2=-1).add_(noise_1G[..., None])
    lower = torch.linalg.cholesky(K_SGnn)
    mean_SnF = torch.nn.functional.pad(seen.mean - seen.mean.mean(1, keepdim=True), (1, 0))
    told = torch.cat([torch.ones_like(standing_Sn[..., None]), standing_Sn[..., None], mean_SnF], -1)
    white = torch.linalg.solve_triangular(lower, told[:, None], upper=False)
    with_o, with_y = (white[..., :2].mT @ white).unbind(-2)
    of, m = kinds.of, members.family.long() + 3  # The first landscape is that of members that have none.
    oo, oy, yy = with_o[:, of, 0], with_o[:, of, 1], with_y[:, of, 1]
    om, ym, mm = with_o[:, of, m], with_y[:, of, m], white.square().sum(-2)[:, of, m]
    unit = mean_SnF.square().mean(1)[:, m - 2] + expected_SG[:, of] if n > 1 else torch.ones_like(oo)
    slope, wide = unit.rsqrt(), 1 + unit * oo
    misfit = unit * (yy - 2 * slope * ym + mm / unit - unit / wide * (oy - slope * om).square())
    certain = lower.diagonal(dim1=-2, dim2=-1).log().sum(-1)[:, of] + (wide.log() - n * unit.log()) / 2
    return -misfit / 2 - certain + members.log_weight


class _Fit(NamedTuple):
    lower: Tensor
    """`[S, K, n, n]`."""
    white: Tensor
    """`[S, K, n, 1]`."""
    centre: Tensor
    """`[S, K, 1]`."""
    unit: Tensor
    """`[S, K]`."""
    evidence: Tensor
    """`[S, K]`."""


def _fit(e: Members, among: Tensor, seen: Sight, standing_Sn: Tensor) -> _Fit:
    at = _means(e, seen)
    centre, n = at.mean(-1, keepdim=True), standing_Sn.shape[1]
    covariance = _covariance(among, e)
    expected = covariance.diagonal(dim1=-2, dim2=-1).mean(-1) - covariance.mean((-1, -2))
    unit = at.sub(centre).square().mean(-1) + expected + e.variance * e.noise * (1 - 1 / n)
    unit = torch.ones_like(unit) if n == 1 else unit
    covariance = covariance.div_(unit[..., None, None]).add_(1.0)
    covariance.diagonal(dim1=-2, dim2=-1).add_((e.variance * e.noise / unit)[..., None])
    lower = torch.linalg.cholesky(covariance)
    rest = standing_Sn[:, None] - (at - centre) * unit.rsqrt()[..., None]
    white = torch.linalg.solve_triangular(lower, rest[..., None], upper=False)
    certain = lower.diagonal(dim1=-2, dim2=-1).log().sum(-1) - e.log_weight
    return _Fit(lower, white, centre, unit, -white.square().sum((-1, -2)) / 2 - certain)


def predict(members: Members, seen: Sight, standing_Sn: Tensor, ahead: Sight, keep: int) -> Belief:
    """What the `keep` weightiest members believe of `ahead` `[S, M]` after `standing_Sn` of `seen` `[S, n]`.

    A few searches at a time: their covariances then stay in the processor's cache, which is worth a factor of five.
    """
    kinds, some = gp_members.kinds(members), zip(*(x.split(ridge.TOGETHER) for x in (*seen, standing_Sn, *ahead)))
    parts = [_predict(members, kinds, Sight(*x[:5]), x[5], Sight(*x[6:]), keep) for x in some]
    return Belief(*(torch.cat(x) for x in zip(*parts)))


def _predict(members: Members, kinds: Kinds, seen: Sight, standing_Sn: Tensor, ahead: Sight, keep: int) -> Belief:
    n = standing_Sn.shape[1]
    some = torch.arange(min(n, _SCREEN)) * n // min(n, _SCREEN)
    few = Sight(*(x[:, some] for x in seen))
    evidence = _evidence(members, kinds, kernels.kernels(few, few), few, standing_Sn[:, some])
    chosen = evidence.argsort(dim=-1, descending=True, stable=True)[:, : keep if n <= _SCREEN else max(keep // 2, 1)]
    kept, toward = members.take(chosen), kernels.kernels(seen, ahead)
    fit = _fit(kept, kernels.kernels(seen, seen), seen, standing_Sn)
    weight = fit.evidence.softmax(1)
    parts = [
        _ahead(Members(*(x[:, k : k + 1] for x in kept)), _Fit(*(x[:, k : k + 1] for x in fit)), toward, ahead)
        for k in range(chosen.shape[1])
    ]
    mean, deviation = (torch.cat(x, 1) for x in zip(*parts))
    return Belief(weight, mean, deviation, (weight * ((kept.family >= 0) | (kept.span > 0))).sum(1))


def _ahead(e: Members, fit: _Fit, toward: Tensor, ahead: Sight) -> tuple[Tensor, Tensor]:
    """Means and deviations `[S, 1, M]` of one member."""
    unit = fit.unit[..., None]
    cross = _covariance(toward, e, fit.unit).add_(1.0)
    half = torch.linalg.solve_triangular(fit.lower, cross, upper=False)
    mean = (fit.white.mT @ half).squeeze(-2) + (_means(e, ahead) - fit.centre) * unit.rsqrt()
    steep = ahead.whole.square().mean(-1)[:, None]
    own = e.variance * (e.near + e.place + e.pair + e.alike + e.luck * e.noise)
    own = own[..., None] + (e.variance * e.trend)[..., None] * steep
    own = own + e.span[..., None] * ahead.span.square().sum(-1)[:, None]
    return mean, (own / unit + 1.0 - half.square_().sum(-2)).clamp_min(1e-8).sqrt()


def improvement(mean: Tensor, deviation: Tensor, best: Tensor) -> Tensor:
    """Expected improvement over `best` (Jones et al. 1998, equation 15)."""
    u = (mean - best) / deviation
    return deviation * (u * torch.special.ndtr(u) + torch.exp(-u * u / 2) / math.sqrt(2 * math.pi))
