"""Surrogates whose numbers other tasks have taught: a Gaussian process with a deep kernel, and a conditional neural process.

- `DeepKernel`: covariance exp(-|z(x) - z(x')|^2 / 2) + noise, where z is a network that tasks share (Wistuba & Grabocka 2021,
  arXiv:2101.07667, section 4.1).
- `NeuralProcess`: a network reads every evaluation, and the mean of what it makes of them and an architecture give a mean and a
  deviation (Garnelo et al. 2018, arXiv:1807.01613, equations 1 to 3).

Candidates and expected improvement are those of `gp.GaussianProcess`. Each search is computed by itself, in float64 (law 1).

Shapes: `S` seeds, `E` evaluations, `M` candidates, `D` decisions, `P` one-hot places, `H` hidden units; leading axes of the
functions are free.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from controller.models.gp import GaussianProcess
from controller.models.kernels import by_search, squared_distances
from search_spaces import _ops

Params = dict[str, Tensor]
"""Named numbers, each `[S, ...]`."""
_LENGTHS = (0.5, 1.0, 2.0)
"""Factors of the learned length scale; marginal likelihood on the task at hand chooses, in place of the paper's fine-tuning by
gradient: a search stays a function of its evaluations. Not ablated."""
_LEAST_STD = 0.1
"""Of a neural process, as its authors have it, so that no score is certain."""


@dataclass(frozen=True)
class DeepKernel(GaussianProcess):
    """A Gaussian process on what a network makes of architectures. `params`: `w1` `[S, P, H]`, `b1` `[S, 1, H]`, `w2`
    `[S, H, R]`, `log_noise` `[S, 1, 1]`."""

    params: Mapping[str, Tensor] = field(default_factory=dict)

    def _posterior(self, archs_SED: Tensor, target_SE: Tensor, candidates_SMD: Tensor) -> tuple[Tensor, Tensor]:
        return _each(_deep_kernel, self, archs_SED, target_SE, candidates_SMD)


@dataclass(frozen=True)
class NeuralProcess(GaussianProcess):
    """A conditional neural process. `params`: `read_x` `[S, P, H]`, `read_y` and `read_b` `[S, 1, H]`, `mean_w` `[S, H, H]`,
    `ask_x` `[S, P, H]`, `ask_b` `[S, 1, H]`, `out_w` `[S, H, 2]`, `out_b` `[S, 1, 2]`."""

    params: Mapping[str, Tensor] = field(default_factory=dict)

    def _posterior(self, archs_SED: Tensor, target_SE: Tensor, candidates_SMD: Tensor) -> tuple[Tensor, Tensor]:
        return _each(_neural_process, self, archs_SED, target_SE, candidates_SMD)


def of(params: Params) -> type[DeepKernel] | type[NeuralProcess]:
    """The surrogate that these numbers are for."""
    return DeepKernel if "log_noise" in params else NeuralProcess


def embed(params: Params, x: Tensor) -> Tensor:
    """z of the deep kernel, `[..., N, R]`, of one-hot architectures `[..., N, P]`."""
    return (x @ params["w1"] + params["b1"]).tanh() @ params["w2"]


def covariance(params: Params, z: Tensor, length: float = 1.0) -> Tensor:
    """Of evaluations, `[..., E, E]`, noise included."""
    distance = squared_distances(z, z) / length**2
    return (-distance / 2).exp() + params["log_noise"].exp() * torch.eye(z.shape[-2], dtype=z.dtype)


def log_likelihood(chol: Tensor, y: Tensor) -> Tensor:
    """Log marginal likelihood `[...]` of `y` `[..., E]` by the root of its covariance, but for a constant (Rasmussen & Williams
    2006, equation 5.8)."""
    white = torch.linalg.solve_triangular(chol, y[..., None], upper=False)
    return -white.square().sum((-1, -2)) / 2 - chol.diagonal(dim1=-1, dim2=-2).log().sum(-1)


def read(params: Params, x: Tensor, y: Tensor) -> Tensor:
    """What a neural process makes of evaluations, `[..., 1, H]`: the mean over them, which no order changes (equation 2)."""
    hidden = (x @ params["read_x"] + y[..., None] * params["read_y"] + params["read_b"]).relu()
    return (hidden @ params["mean_w"]).mean(-2, keepdim=True)


def ask(params: Params, memory: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation `[..., M]` at one-hot architectures `[..., M, P]` (equation 3)."""
    out = (x @ params["ask_x"] + memory + params["ask_b"]).relu() @ params["out_w"] + params["out_b"]
    return out[..., 0], _LEAST_STD + (1 - _LEAST_STD) * torch.nn.functional.softplus(out[..., 1])


Posterior = Callable[[Params, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def _each(
    posterior: Posterior, surrogate: DeepKernel | NeuralProcess, archs: Tensor, target: Tensor, asked: Tensor
) -> tuple[Tensor, Tensor]:
    """Mean and deviation `[S, M]`, one search at a time."""
    encode = partial(_ops.one_hot, choices=surrogate.space.choices)
    names, found = list(surrogate.params), []
    for archs_1ED, target_1E, asked_1MD, *values in by_search(archs, target, asked, *surrogate.params.values()):
        params = {n: v.double() for n, v in zip(names, values)}
        found.append(posterior(params, encode(archs_1ED).double(), target_1E.double(), encode(asked_1MD).double()))
    mean, std = zip(*found)
    return torch.cat(mean), torch.cat(std)


def _deep_kernel(params: Params, x: Tensor, y: Tensor, asked: Tensor) -> tuple[Tensor, Tensor]:
    z, z_asked = embed(params, x), embed(params, asked)
    tried = [(torch.linalg.cholesky(covariance(params, z, length)), length) for length in _LENGTHS]
    chol, length = max(tried, key=lambda pair: float(log_likelihood(pair[0], y)))
    cross = (-squared_distances(z, z_asked) / (2 * length**2)).exp()
    white = torch.linalg.solve_triangular(chol, torch.cat([y[..., None], cross], -1), upper=False)
    # Rounding can make the variance of an architecture near tried ones negative, and its root NaN.
    variance = (1 - white[..., 1:].square().sum(-2)).clamp(min=1e-6)
    return (white[..., 1:] * white[..., :1]).sum(-2), variance.sqrt()


def _neural_process(params: Params, x: Tensor, y: Tensor, asked: Tensor) -> tuple[Tensor, Tensor]:
    # It was trained on scores of root mean square 1.
    unit = y.square().mean().sqrt().clamp_min(1e-6)
    mean, std = ask(params, read(params, x, y / unit), asked)
    return mean * unit, std * unit
