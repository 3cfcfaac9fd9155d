"""An ensemble of Gaussian processes that share their kernels, weighted by their marginal likelihood.

Shapes: `S` seeds, `n` evaluations, `M` candidates, `H` hypotheses, `G` distinct covariances of them, `K` hypotheses kept, `U`
mean functions, `A` components.

Hypothesis `h` models a normal score as `y = a + (m_h + g) / s`: `m_h` is one of the prior's mean functions, or zero; `g` a
Gaussian process with covariance

    signal_var (w_rbf rbf + w_task_rbf task_rbf + w_one_hot one_hot + w_pairs pairs + w_linear linear) + component_var components

of the kernels of `kernels.kernel_matrices`; `a` an unknown constant; and `s^2` the variance that `h` expects of the architectures
*observed*, whose normal scores have variance one. So a search that began in one region of the space knows that it has seen a
region.
A hypothesis's weight is its marginal likelihood (Rasmussen & Williams 2006, equation 5.8) times its prior probability: Bayesian
model averaging decides how far the prior is believed.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from controller.models.gp_members import Ensemble, Hypotheses
from controller.models.kernels import KernelInputs, by_search, kernel_matrices
from controller.models.scores import expected_improvement

_SCREEN, _KEEP = 24, 12
"""Evaluations that decide which hypotheses are kept, and how many are; those kept are weighted by all evaluations.

It bounds the cost alone: twelve kept by all evaluations need 1.00 as many on the development tasks."""


class Posterior(NamedTuple):
    """What the hypotheses kept predict: a mixture of normal distributions for each candidate."""

    weight: Tensor
    """float64 `[S, K]`, sums to 1."""
    mean: Tensor
    """float64 `[S, K, M]` in normal scores."""
    std: Tensor
    """float64 `[S, K, M]`."""
    prior_weight: Tensor
    """float64 `[S]` the weight of all hypotheses that use the prior."""

    def expected_improvement(self, best: Tensor) -> Tensor:
        """`[S, M]` over `best` `[S, 1, 1]` or, one for each candidate, `[S, 1, M]`."""
        return (self.weight[..., None] * expected_improvement(self.mean, self.std, best)).sum(1)


@torch.inference_mode()
def predict(ensemble: Ensemble, seen: KernelInputs, scores_Sn: Tensor, ahead: KernelInputs) -> Posterior:
    """The posterior at `ahead` `[S, M]` of the likeliest hypotheses after normal scores `scores_Sn` of `seen` `[S, n]`."""
    width = len(KernelInputs._fields)
    parts = [
        _predict(ensemble, KernelInputs(*x[:width]), x[width], KernelInputs(*x[width + 1 :]))
        for x in by_search(*seen, scores_Sn, *ahead)
    ]
    return Posterior(*(torch.cat(x) for x in zip(*parts)))


def _predict(ensemble: Ensemble, seen: KernelInputs, scores_Sn: Tensor, ahead: KernelInputs) -> Posterior:
    """The same for one search, S = 1: which covariances those kept share is its own."""
    n, every, shared = scores_Sn.shape[1], ensemble.hypotheses, ensemble.shared
    subset = torch.arange(min(n, _SCREEN)) * n // min(n, _SCREEN)
    among = kernel_matrices(seen, seen)
    few = among[:, :, subset[:, None], subset], seen.mean[:, subset], scores_Sn[:, subset]
    screened = _fit(every, shared.index, _factorise(shared.unique, *few)).log_marginal_likelihood
    # Beyond the screen's length half as many are kept: each then costs more, and fewer still matter.
    chosen = screened.argsort(dim=-1, descending=True, stable=True)[0, : _KEEP if n <= _SCREEN else _KEEP // 2]
    kept = every.take(chosen)
    used, index = shared.index[chosen].unique(return_inverse=True)
    unique = Hypotheses(*(x[:, used] for x in shared.unique))
    factors = _factorise(unique, among, seen.mean, scores_Sn)
    fit = _fit(kept, index, factors)
    weight = fit.log_marginal_likelihood.softmax(1)
    mean, std = _at(kept, index, fit, factors, _kernel_weights(unique), kernel_matrices(seen, ahead), ahead)
    return Posterior(weight, mean, std, (weight * ensemble.uses_prior[chosen]).sum(1))


class _Factors(NamedTuple):
    """Of distinct covariances `C` of what was seen, noise among them."""

    chol: Tensor
    """`[S, G, n, n]`."""
    whitened: Tensor
    """`[S, G, n, U + 3]` the inverse of `chol` times: one, the scores, zero, the mean functions less their averages."""
    expected: Tensor
    """`[S, G]` the variance that the process has among what was seen."""
    mean_var: Tensor
    """`[S, U + 1]` the same of zero and the mean functions."""
    mean_offset: Tensor
    """`[S, U + 1]` their averages over what was seen."""


def _factorise(unique: Hypotheses, among: Tensor, mean_SnU: Tensor, scores_Sn: Tensor) -> _Factors:
    n = scores_Sn.shape[1]
    C_SGnn, noise_1G = covariance(among, unique), unique.signal_var * unique.noise_ratio
    expected_SG = C_SGnn.diagonal(dim1=-2, dim2=-1).mean(-1) - C_SGnn.mean((-1, -2)) + noise_1G * (1 - 1 / n)
    C_SGnn.diagonal(dim1=-2, dim2=-1).add_(noise_1G[..., None])
    chol = torch.linalg.cholesky(C_SGnn)
    offset_S1U = mean_SnU.mean(1, keepdim=True)
    mean_SnU = torch.nn.functional.pad(mean_SnU - offset_S1U, (1, 0))
    columns = torch.cat([torch.ones_like(scores_Sn[..., None]), scores_Sn[..., None], mean_SnU], -1)
    whitened = torch.linalg.solve_triangular(chol, columns[:, None], upper=False)
    offset_SU = torch.nn.functional.pad(offset_S1U.squeeze(1), (1, 0))
    return _Factors(chol, whitened, expected_SG, mean_SnU.square().mean(1), offset_SU)


class _Fit(NamedTuple):
    scale: Tensor
    """`[S, H]` the expected variance `s^2`."""
    constant: Tensor
    """`[S, H]` the posterior mean of `a`."""
    constant_var: Tensor
    """`[S, H]` its posterior variance."""
    log_marginal_likelihood: Tensor
    """`[S, H]` with the prior probability."""


def _fit(h: Hypotheses, of: Tensor, factors: _Factors) -> _Fit:
    """Hypotheses `[H]`, each with the covariance `of` `[H]` among those factorised.

    The covariance of the scores is `C / scale + 1`, as the unknown constant `a` has variance 1. By the Sherman-Morrison formula
    products with the inverse of `C` are enough. Of those, `ab` is `a' C^-1 b` for a, b among one, the scores and the means: `o`,
    `y`, `m`.
    """
    n, whitened = factors.whitened.shape[2], factors.whitened
    with_o, with_y = (whitened[..., :2].mT @ whitened).unbind(-2)
    m = h.mean_index.long() + 3  # Column 2 is the mean of those that have none: zero.
    oo, oy, yy = with_o[:, of, 0], with_o[:, of, 1], with_y[:, of, 1]
    om, ym, mm = with_o[:, of, m], with_y[:, of, m], whitened.square().sum(-2)[:, of, m]
    scale = factors.mean_var[:, m - 2] + factors.expected[:, of] if n > 1 else torch.ones_like(oo)
    slope, wide = scale.rsqrt(), 1 + scale * oo
    misfit = scale * (yy - 2 * slope * ym + mm / scale - scale / wide * (oy - slope * om).square())
    log_det = factors.chol.diagonal(dim1=-2, dim2=-1).log().sum(-1)[:, of] + (wide.log() - n * scale.log()) / 2
    return _Fit(scale, scale / wide * (oy - slope * om), wide.reciprocal(), -misfit / 2 - log_det + h.log_prior)


def _at(
    h: Hypotheses, of: Tensor, fit: _Fit, factors: _Factors, weights: Tensor, cross: Tensor, ahead: KernelInputs
) -> tuple[Tensor, Tensor]:
    """Means and standard deviations `[S, K, M]` (Rasmussen & Williams 2006, algorithm 2.1 and equation 2.42).

    Args:
        weights: `[1, G, 6]` of the kernels in each covariance.
        cross: kernels `[1, 6, n, M]` of what was seen and `ahead`.
    """
    products, explained = [], []
    # One covariance at a time, for the cache.
    for chol, whitened, weight in zip(factors.chol.split(1, 1), factors.whitened.split(1, 1), weights[0].tolist()):
        half = _weighted_sum(weight, cross)
        torch.linalg.solve_triangular(chol, half, upper=False, out=half)
        products.append(whitened.mT @ half)
        explained.append(half.square_().sum(-2))
    product, m = torch.cat(products, 1), h.mean_index.long() + 3
    scale, slope, constant = (x[..., None] for x in (fit.scale, fit.scale.rsqrt(), fit.constant))
    with_o = product[:, of, 0]
    mean = product[:, of, 1] - slope * product[:, of, m] + constant * (1 - with_o)
    means_ahead = torch.nn.functional.pad(ahead.mean, (1, 0)).mT[:, m - 2]
    mean = mean + slope * (means_ahead - factors.mean_offset[:, m - 2, None])
    # A space that says nothing of its operations has no statistics of paths, and the mean of nothing is NaN.
    linear = (ahead.path_stats.square().sum(-1) / max(ahead.path_stats.shape[-1], 1))[:, None]
    own = h.signal_var * (h.w_rbf + h.w_one_hot + h.w_pairs + h.w_task_rbf + h.noise_ratio)
    own = own[:, None] + (h.signal_var * h.w_linear)[:, None] * linear
    own = own + h.component_var[:, None] * ahead.components.square().sum(-1)[:, None]
    variance = (own - torch.cat(explained, 1)[:, of]) / scale + (1 - with_o).square() * fit.constant_var[..., None]
    return mean, variance.clamp_min(1e-8).sqrt()


def covariance(kernels: Tensor, h: Hypotheses) -> Tensor:
    """`[S, K, n, M]` for kernels `[S, 6, n, M]` and hypotheses `[S or 1, K]`."""
    return (_kernel_weights(h) @ kernels.flatten(2)).unflatten(-1, kernels.shape[2:])


def _kernel_weights(h: Hypotheses) -> Tensor:
    """What each of the kernels counts for, `[S or 1, K, 6]`."""
    weight = torch.stack([h.w_rbf, h.w_one_hot, h.w_pairs, h.w_linear, h.w_task_rbf], -1) * h.signal_var[..., None]
    return torch.cat([weight, h.component_var[..., None]], -1)


def _weighted_sum(weights: list[float], kernels: Tensor) -> Tensor:
    """One covariance `[S, 1, n, M]` of kernels `[S, 6, n, M]`; it reads only those with a weight, half of them as a rule."""
    (weight, kernel), *others = (pair for pair in zip(weights, kernels.split(1, 1)) if pair[0])
    found = kernel * weight
    for weight, kernel in others:
        found.add_(kernel, alpha=weight)
    return found
