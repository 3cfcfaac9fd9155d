"""A Gaussian process on the logarithm of a constrained quantity, value / bound.

What an architecture costs on a device adds up over its operations, whether or not they reach the output. Where the prior knows
what architectures of the space cost on other devices, that counts too, for as long as it explains what was measured.

Shapes: `S` seeds, `E` evaluations so far, `M` candidates, `N` architectures, `F` features, `A` factors in which devices differ,
`K` kinds of covariance.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from controller.models import kernels
from controller.models.kernels import KernelInputs
from search_spaces import Space, _ops

# The constants below were chosen on the four devices of split `devices` (`runs/devices.sh`), nothing on those of `more-devices`;
# none was ablated by itself. Without the factors of other devices `runs/ablations.sh` has 15.6 evaluations in place of 11.4.
_KINDS = tuple((smooth, noise) for smooth in (0.1, 0.5) for noise in (0.003, 0.03, 0.15))
"""Variance of the radial part and of noise, in variances of what was measured; the likeliest of each search counts. The linear
part is left wide: device tables have outliers, and searches that are sure of them miss the best architectures."""
_KINDS_BY_FACTORS = tuple((smooth, noise) for smooth in (0.003, 0.03) for noise in (0.0003, 0.003, 0.02, 0.06))
"""The same in nats squared, of what the mean and the factors of other devices leave unexplained."""
_LINEAR_VAR = 0.01
"""With factors: variance of the linear part, in nats squared."""
_SLOPE, _LEVEL = 0.3, 2.0
"""Standard deviations of the device's slope against the mean over devices, less one, and of its level."""
_FIRST_STD = 0.5
"""Standard deviation over the space, in nats, before `_FEW` evaluations give one."""
_FEW = 3
_CLIP, _CLIP_BY_FACTORS = (0.3, 5.0), (0.05, 20.0)
"""Value / bound below and above which architectures are not told apart: all clearly feasible, or clearly not."""
_SCREEN = 32
"""Evaluations by which the kind of covariance is chosen."""
_RIDGE_NOISE, _RIDGE_NOISE_BY_FACTORS = 0.03, 0.01
"""Variance of noise for `ridge_features`."""


class ConstraintInputs(NamedTuple):
    """Architectures as this process sees them. Leading axes are free."""

    features: Tensor
    """float64 `[..., F]` operations chosen, and of those what is live."""
    mean_log: Tensor
    """float64 `[...]` the mean logarithm over devices; zero where the prior knows none."""
    factors: Tensor
    """float64 `[..., A]` in which devices differ; A = 0 where the prior knows none."""

    def rows(self, index: Tensor) -> ConstraintInputs:
        """The rows of an index `[...]` of architectures."""
        return ConstraintInputs(*(kernels.rows(x, index) for x in self))


def inputs(space: Space, archs: Tensor, seen: KernelInputs, factors: Tensor | None) -> ConstraintInputs:
    """Of architectures `[..., D]` with kernel inputs `seen` and, of a space's list, `SpaceMemory.constraint_factors`."""
    chosen = _ops.one_hot(archs, space.choices).double() / 2
    path_stats = seen.path_stats * 2 / math.sqrt(seen.path_stats.shape[-1])
    one = torch.ones_like(path_stats[..., :1])
    every = torch.cat([chosen, seen.one_hot * 0.3, seen.op_pairs, path_stats, one], -1)
    if factors is None:
        return ConstraintInputs(every, torch.zeros_like(every[..., 0]), every[..., :0])
    mean = factors[:, 0]
    own = torch.stack([mean * _SLOPE, torch.full_like(mean, _LEVEL)], 1)
    return ConstraintInputs(every, mean, torch.cat([factors[:, 1:], own], 1))


def joined(
    space: Space, evaluated: Tensor, seen: KernelInputs, archs: Tensor, ahead: KernelInputs
) -> tuple[ConstraintInputs, Tensor, Tensor]:
    """`inputs` of `evaluated` `[S, E, D]` and `archs` `[S, M, D]` in one list, and the rows of each there."""
    E, both = evaluated.shape[1], torch.cat([evaluated, archs], 1)
    kernel_inputs = KernelInputs(*(torch.cat(pair, 1).flatten(0, 1) for pair in zip(seen, ahead)))
    row = torch.arange(len(both) * both.shape[1]).view(len(both), -1)
    return inputs(space, both.flatten(0, 1), kernel_inputs, None), row[:, :E], row[:, E:]


def clipped_log_ratio(ratio: Tensor, every: ConstraintInputs) -> Tensor:
    """Logarithms of `ratio` = value / bound, of the same shape."""
    ends = _CLIP_BY_FACTORS if every.factors.shape[-1] else _CLIP
    return ratio.double().clamp(*ends).log()


def ridge_features(every: ConstraintInputs) -> tuple[Tensor, float]:
    """What a ridge regression sees of each architecture, `[N, A + F]`, and the variance of noise for it."""
    known = bool(every.factors.shape[-1])
    scaled = every.features * (_LINEAR_VAR**0.5 if known else 1.0)
    return torch.cat([every.factors, scaled], -1), _RIDGE_NOISE_BY_FACTORS if known else _RIDGE_NOISE


@torch.inference_mode()
def predict(every: ConstraintInputs, at_SE: Tensor, log_SE: Tensor, ahead_SM: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation `[S, M]` at rows `ahead_SM` of `every`, after `log_SE` at its rows `at_SE`."""
    found = (
        _predict(every.rows(at), value, every.rows(ahead))
        for at, value, ahead in kernels.by_search(at_SE, log_SE, ahead_SM)
    )
    mean, std = zip(*found)
    return torch.cat(mean), torch.cat(std)


class _Weights(NamedTuple):
    """What covariances are made of, in nats squared, `[S, K]` each."""

    linear: Tensor
    rbf: Tensor
    factor: Tensor
    noise: Tensor

    def covariance(self, kernels: Tensor) -> Tensor:
        """`[S, K, ...]` for kernels `[S, 3, ...]`."""
        weight = torch.stack([self.linear, self.rbf, self.factor], -1)
        return (weight @ kernels.flatten(2)).unflatten(-1, kernels.shape[2:])


def _predict(seen: ConstraintInputs, value: Tensor, ahead: ConstraintInputs) -> tuple[Tensor, Tensor]:
    S, E = value.shape
    center = value.mean(-1, keepdim=True)
    unit = torch.full_like(center, _FIRST_STD) if E < _FEW else value.std(-1, keepdim=True).clamp_min(0.02)
    weights = _weights(unit.square(), known=bool(seen.factors.shape[-1]))
    by_factors = weights.factor > 0
    target = value[:, None] - torch.where(by_factors[..., None], seen.mean_log[:, None], center[..., None])
    subset = torch.arange(min(E, _SCREEN)) * E // min(E, _SCREEN)
    among = _kernels(seen, seen)
    likelihood, _, _ = _fit(weights, among[:, :, subset][..., subset], target[..., subset])
    best = likelihood.argmax(-1, keepdim=True)
    weights = _Weights(*(x.expand(S, -1).gather(1, best) for x in weights))
    target = target.gather(1, best[..., None].expand(-1, -1, E))
    _, chol, whitened = _fit(weights, among, target)
    half = weights.covariance(_kernels(seen, ahead))
    torch.linalg.solve_triangular(chol, half, upper=False, out=half)
    own = torch.stack(
        [ahead.features.square().sum(-1), torch.ones_like(ahead.mean_log), ahead.factors.square().sum(-1)], 1
    )
    variance = weights.covariance(own) + weights.noise[..., None] - half.square().sum(-2)
    mean = torch.where(weights.factor > 0, ahead.mean_log, center)
    return mean + (whitened.mT @ half)[:, 0, 0], variance.clamp_min(1e-6).sqrt()[:, 0]


def _weights(variance: Tensor, *, known: bool) -> _Weights:
    """The kinds of covariance there are, `[S, K]`, for measurements of variance `[S, 1]`."""
    smooth, noise = torch.tensor(_KINDS, dtype=torch.float64).unbind(1)
    plain = _Weights(
        variance.expand(-1, len(smooth)), variance * smooth, torch.zeros_like(variance * smooth), variance * noise
    )
    if not known:
        return plain
    smooth, noise = torch.tensor(_KINDS_BY_FACTORS, dtype=torch.float64).expand(len(variance), -1, -1).unbind(-1)
    by_factors = _Weights(torch.full_like(smooth, _LINEAR_VAR), smooth, torch.ones_like(smooth), noise)
    return _Weights(*(torch.cat(pair, 1) for pair in zip(plain, by_factors)))


def _fit(weights: _Weights, among: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Log marginal likelihood `[S, K]`, the factor `[S, K, E, E]`, and the whitened target `[S, K, E, 1]`."""
    covariance = weights.covariance(among)
    covariance.diagonal(dim1=-2, dim2=-1).add_(weights.noise[..., None])
    chol = torch.linalg.cholesky(covariance)
    whitened = torch.linalg.solve_triangular(chol, target[..., None], upper=False)
    log_det = chol.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return -whitened.square().sum((-1, -2)) / 2 - log_det, chol, whitened


def _kernels(a: ConstraintInputs, b: ConstraintInputs) -> Tensor:
    """`[S, 3, n, m]`: linear in the features, radial on them, linear in the factors."""
    found = a.features.new_empty(len(a.features), 3, a.features.shape[1], b.features.shape[1])
    linear, rbf, factor = found.unbind(1)
    torch.matmul(a.features, b.features.mT, out=linear)
    torch.matmul(a.factors, b.factors.mT, out=factor)
    torch.exp(kernels.squared_distances_from_gram(a.features, b.features, linear).div_(-2), out=rbf)
    return found
