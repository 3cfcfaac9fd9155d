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

from controller.models.gp_members import Ensemble, Hypotheses, SharedCovariance
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


def predict(ensemble: Ensemble, seen: KernelInputs, scores_Sn: Tensor, ahead: KernelInputs) -> Posterior:
    """The posterior at `ahead` `[S, M]` of the likeliest hypotheses after normal scores `scores_Sn` of `seen` `[S, n]`."""
    width = len(KernelInputs._fields)
    parts = [
        _predict(ensemble, KernelInputs(*x[:width]), x[width], KernelInputs(*x[width + 1 :]))
        for x in by_search(*seen, scores_Sn, *ahead)
    ]
    return Posterior(*(torch.cat(x) for x in zip(*parts)))


def _predict(ensemble: Ensemble, seen: KernelInputs, scores_Sn: Tensor, ahead: KernelInputs) -> Posterior:
    n, every = scores_Sn.shape[1], ensemble.hypotheses
    subset = torch.arange(min(n, _SCREEN)) * n // min(n, _SCREEN)
    few = KernelInputs(*(x[:, subset] for x in seen))
    screened = _screen(every, ensemble.shared, kernel_matrices(few, few), few, scores_Sn[:, subset])
    # Beyond the screen's length half as many are kept: each then costs more, and fewer still matter.
    chosen = screened.argsort(dim=-1, descending=True, stable=True)[:, : _KEEP if n <= _SCREEN else _KEEP // 2]
    kept, cross = Hypotheses(*(x[chosen] for x in every)), kernel_matrices(seen, ahead)
    fit = _fit(kept, kernel_matrices(seen, seen), seen, scores_Sn)
    weight = fit.log_marginal_likelihood.softmax(1)
    # One at a time, for the cache.
    parts = [
        _at(Hypotheses(*(x[:, k : k + 1] for x in kept)), _Fit(*(x[:, k : k + 1] for x in fit)), cross, ahead)
        for k in range(chosen.shape[1])
    ]
    mean, std = (torch.cat(x, 1) for x in zip(*parts))
    return Posterior(weight, mean, std, (weight * ensemble.uses_prior[chosen]).sum(1))


def _screen(
    every: Hypotheses, shared: SharedCovariance, kernels: Tensor, seen: KernelInputs, scores_Sn: Tensor
) -> Tensor:
    """The log marginal likelihood of `_fit` for all hypotheses, `[S, H]`, by one factorisation a distinct covariance.

    A hypothesis's covariance is `C / scale + 1`, with a `C` that it shares with others. By the Sherman-Morrison formula products
    with the inverse of `C` are enough. Of those, `ab` is `a' C^-1 b` for a, b among one, the scores and the means: `o`, `y`, `m`.
    """
    n = scores_Sn.shape[1]
    C_SGnn, noise_1G = covariance(kernels, shared.unique), shared.unique.signal_var * shared.unique.noise_ratio
    expected_SG = C_SGnn.diagonal(dim1=-2, dim2=-1).mean(-1) - C_SGnn.mean((-1, -2)) + noise_1G * (1 - 1 / n)
    C_SGnn.diagonal(dim1=-2, dim2=-1).add_(noise_1G[..., None])
    chol = torch.linalg.cholesky(C_SGnn)
    mean_SnU = torch.nn.functional.pad(seen.mean - seen.mean.mean(1, keepdim=True), (1, 0))
    columns = torch.cat([torch.ones_like(scores_Sn[..., None]), scores_Sn[..., None], mean_SnU], -1)
    whitened = torch.linalg.solve_triangular(chol, columns[:, None], upper=False)
    with_o, with_y = (whitened[..., :2].mT @ whitened).unbind(-2)
    of, m = shared.index, every.mean_index.long() + 3  # Column 2 is the mean of those that have none: zero.
    oo, oy, yy = with_o[:, of, 0], with_o[:, of, 1], with_y[:, of, 1]
    om, ym, mm = with_o[:, of, m], with_y[:, of, m], whitened.square().sum(-2)[:, of, m]
    scale = mean_SnU.square().mean(1)[:, m - 2] + expected_SG[:, of] if n > 1 else torch.ones_like(oo)
    slope, wide = scale.rsqrt(), 1 + scale * oo
    misfit = scale * (yy - 2 * slope * ym + mm / scale - scale / wide * (oy - slope * om).square())
    log_det = chol.diagonal(dim1=-2, dim2=-1).log().sum(-1)[:, of] + (wide.log() - n * scale.log()) / 2
    return -misfit / 2 - log_det + every.log_prior


class _Fit(NamedTuple):
    chol: Tensor
    """`[S, K, n, n]`."""
    whitened: Tensor
    """`[S, K, n, 1]`."""
    mean_offset: Tensor
    """`[S, K, 1]` the mean function's average over what was observed."""
    scale: Tensor
    """`[S, K]` the expected variance `s^2`."""
    log_marginal_likelihood: Tensor
    """`[S, K]` with the prior probability."""


def _fit(h: Hypotheses, kernels: Tensor, seen: KernelInputs, scores_Sn: Tensor) -> _Fit:
    mean = _means(h, seen)
    offset, n = mean.mean(-1, keepdim=True), scores_Sn.shape[1]
    C = covariance(kernels, h)
    expected = C.diagonal(dim1=-2, dim2=-1).mean(-1) - C.mean((-1, -2))
    scale = mean.sub(offset).square().mean(-1) + expected + h.signal_var * h.noise_ratio * (1 - 1 / n)
    scale = torch.ones_like(scale) if n == 1 else scale
    C = C.div_(scale[..., None, None]).add_(1.0)  # The unknown constant `a` has variance 1.
    C.diagonal(dim1=-2, dim2=-1).add_((h.signal_var * h.noise_ratio / scale)[..., None])
    chol = torch.linalg.cholesky(C)
    residual = scores_Sn[:, None] - (mean - offset) * scale.rsqrt()[..., None]
    whitened = torch.linalg.solve_triangular(chol, residual[..., None], upper=False)
    log_det = chol.diagonal(dim1=-2, dim2=-1).log().sum(-1) - h.log_prior
    return _Fit(chol, whitened, offset, scale, -whitened.square().sum((-1, -2)) / 2 - log_det)


def _at(h: Hypotheses, fit: _Fit, cross: Tensor, ahead: KernelInputs) -> tuple[Tensor, Tensor]:
    """Means and standard deviations `[S, 1, M]` of one hypothesis (Rasmussen & Williams 2006, algorithm 2.1)."""
    scale = fit.scale[..., None]
    half = torch.linalg.solve_triangular(fit.chol, covariance(cross, h, fit.scale).add_(1.0), upper=False)
    mean = (fit.whitened.mT @ half).squeeze(-2) + (_means(h, ahead) - fit.mean_offset) * scale.rsqrt()
    # A space that says nothing of its operations has no statistics of paths, and the mean of nothing is NaN.
    linear = (ahead.path_stats.square().sum(-1) / max(ahead.path_stats.shape[-1], 1))[:, None]
    own = h.signal_var * (h.w_rbf + h.w_one_hot + h.w_pairs + h.w_task_rbf + h.noise_ratio)
    own = own[..., None] + (h.signal_var * h.w_linear)[..., None] * linear
    own = own + h.component_var[..., None] * ahead.components.square().sum(-1)[:, None]
    return mean, (own / scale + 1.0 - half.square_().sum(-2)).clamp_min(1e-8).sqrt()


def covariance(kernels: Tensor, h: Hypotheses, scale: Tensor | None = None) -> Tensor:
    """`[S, K, n, M]` for kernels `[S, 6, n, M]` and hypotheses `[S or 1, K]`, over `scale` `[S, K]` if there is one."""
    weight = torch.stack([h.w_rbf, h.w_one_hot, h.w_pairs, h.w_linear, h.w_task_rbf], -1) * h.signal_var[..., None]
    weight = torch.cat([weight, h.component_var[..., None]], -1)
    weight = weight if scale is None else weight / scale[..., None]
    return (weight @ kernels.flatten(2)).unflatten(-1, kernels.shape[2:])


def _means(h: Hypotheses, inputs: KernelInputs) -> Tensor:
    """Each hypothesis's mean function, `[S, K, N]`."""
    if not inputs.mean.shape[-1]:
        return torch.zeros(*h.mean_index.shape, inputs.path_stats.shape[-2], dtype=torch.float64)
    means = inputs.mean.mT[:, None].expand(-1, h.mean_index.shape[1], -1, -1)
    index = h.mean_index.clamp_min(0).long()[..., None, None].expand(len(means), -1, 1, means.shape[-1])
    return means.gather(2, index).squeeze(2) * (h.mean_index >= 0)[..., None]
