"""The hypotheses of the ensemble: which Gaussian processes there are, and their probability before anything is seen.

Shapes: `H` hypotheses, `G` distinct covariances of them, `U` mean functions, `S` seeds, `K` hypotheses kept.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor


class Hypotheses(NamedTuple):
    """Gaussian processes (`gp_ensemble` has the equation): one number a hypothesis, `[H]`, or for those kept `[S, K]`."""

    w_rbf: Tensor
    """Weight of the radial kernel on path statistics."""
    w_one_hot: Tensor
    w_pairs: Tensor
    w_linear: Tensor
    w_task_rbf: Tensor
    signal_var: Tensor
    """Of what the prior does not explain, in variances over the space."""
    noise_ratio: Tensor
    """Variance of an evaluation's noise, over `signal_var`."""
    mean_index: Tensor
    """Which mean function, from 0; -1: none."""
    component_var: Tensor
    """Variance along the prior's components."""
    log_prior: Tensor
    """Log probability before anything is seen."""

    def take(self, index: Tensor) -> Hypotheses:
        """Those of an index."""
        return Hypotheses(*(field[index] for field in self))


_COLD_KERNELS = (
    (0.4, 0.4, 0.0, 0.2),
    (0.4, 0.4, 0.0, 1.0),
    (0.8, 0.0, 0.0, 0.2),
    (0.0, 1.0, 0.0, 0.0),
    (0.2, 0.2, 0.5, 0.2),
    (0.2, 0.2, 0.5, 1.0),
    (0.0, 0.0, 1.0, 0.0),
)
"""`w_rbf`, `w_one_hot`, `w_pairs`, `w_linear` of the hypotheses that know no other task. The one with one-hot positions alone is
slow to learn and hard to mislead. Chosen on the development tasks (docs/benchmarks.md, "How the ensemble was chosen"): three of
them (second, fourth, fifth) need 1.03 as many evaluations from random first moves, within chance, and 1.11 from the prior's."""
_EXACT_KERNELS = ((0.0, 1.0, 0.0, 0.0), (0.4, 0.4, 0.0, 0.2))
"""The same of those of little noise that a space too large to list has beside them. Chosen among four sets of one to four kernels
on made-up functions of 30 decisions that no table shows (docs/benchmarks.md, "Spaces too large to list")."""
_P_COLD_STRUCTURE, _P_COLD_SINGLE, _P_MEAN, _P_COMPONENTS = 0.27, 0.03, 0.5, 0.2
"""Probability of each kind of hypothesis, divided evenly within a kind: cold ones that see path statistics, cold ones that see
one-hot positions or operation pairs alone, those around mean functions, those along components. A few evaluations outweigh
it."""
_REMAINDERS = ((0.02, 0.0), (0.1, 0.2), (0.4, 0.2))
"""`signal_var` and `component_var` around a mean function: the task is at it, near it, or far from it. On the
development tasks all six pairs of these values need 0.98 as many evaluations as these three, within chance."""
_ALONG = (0.1, 0.4)
"""`signal_var` of the two along components alone."""
_WARM_KERNELS = {"w_rbf": 0.075, "w_one_hot": 0.075, "w_pairs": 0.0, "w_linear": 0.0, "w_task_rbf": 0.85}
"""What a mean leaves unexplained is alike for cells that compute alike *and* agree along the components. Chosen with the kernel's
width by how well held-out tasks were predicted."""
_COLD_NOISE, _WARM_NOISE, _COMPONENT_NOISE = 0.4, 0.2, 0.07
"""`noise_ratio` of cold hypotheses, of those around mean functions, and of those along components: an evaluation's noise is much
the same, what it is a part of is not. With 0.1 beside it for three cold kernels 1.03 as many evaluations on the development
tasks, within chance."""


_P_EXACT, _EXACT_NOISE = 0.3, 0.1
"""Probability of the hypotheses that cold ones have beside them in a space too large to list, divided evenly, and their
`noise_ratio`. There a search stays for long among a few neighbors, and has to tell them apart."""
_P_FIGURES = 0.3
"""Probability of the hypotheses around figures that the space knows, divided evenly: that of cold ones. A few evaluations
outweigh it."""
_FIGURE_REMAINDERS = (0.2, 0.6, 1.8)
"""`signal_var` around a figure, which correlates then with the scores by 0.91, 0.79 and 0.6: as zero-cost proxies do
(docs/proxies.md). Not ablated."""


def hypotheses(mean_weights: Tensor | None, num_figures: int = 0, *, listed: bool = True) -> Hypotheses:
    """Seven that know no other task; with a prior three around each of its mean functions and two along its components; and
    three around each figure that the space knows, which are mean functions after those of the prior.

    Args:
        mean_weights: `[U]` probability that a new task follows each mean function; None without a prior.
        listed: whether the space is small enough to list; in a larger one there are cold ones of little noise too.
    """
    cold = {"w_task_rbf": 0.0, "signal_var": 1.0, "noise_ratio": _COLD_NOISE, "mean_index": -1.0, "component_var": 0.0}
    structured = sum(1 for kernel in _COLD_KERNELS if kernel[0])
    found = [
        {
            **dict(zip(("w_rbf", "w_one_hot", "w_pairs", "w_linear"), kernel)),
            **cold,
            "log_prior": math.log(
                _P_COLD_STRUCTURE / structured if kernel[0] else _P_COLD_SINGLE / (len(_COLD_KERNELS) - structured)
            ),
        }
        for kernel in _COLD_KERNELS
    ]
    if not listed:
        exact = {**cold, "noise_ratio": _EXACT_NOISE, "log_prior": math.log(_P_EXACT / len(_EXACT_KERNELS))}
        found += [
            {**dict(zip(("w_rbf", "w_one_hot", "w_pairs", "w_linear"), kernel)), **exact} for kernel in _EXACT_KERNELS
        ]
    for index, weight in enumerate([] if mean_weights is None else mean_weights.tolist()):
        around = {"mean_index": float(index), "noise_ratio": _WARM_NOISE}
        around["log_prior"] = math.log(max(_P_MEAN * weight / len(_REMAINDERS), 1e-9))
        found += [
            {**_WARM_KERNELS, **around, "signal_var": signal_var, "component_var": component_var}
            for signal_var, component_var in _REMAINDERS
        ]
    if mean_weights is not None:
        along = {"mean_index": -1.0, "noise_ratio": _COMPONENT_NOISE, "component_var": 1.0}
        along["log_prior"] = math.log(_P_COMPONENTS / len(_ALONG))
        found += [{**_WARM_KERNELS, **along, "signal_var": signal_var} for signal_var in _ALONG]
    first = 0 if mean_weights is None else len(mean_weights)
    for index in range(first, first + num_figures):
        around = {"mean_index": float(index), "log_prior": math.log(_P_FIGURES / len(_FIGURE_REMAINDERS) / num_figures)}
        kernel = dict(zip(("w_rbf", "w_one_hot", "w_pairs", "w_linear"), _COLD_KERNELS[0]))
        found += [{**kernel, **cold, **around, "signal_var": signal_var} for signal_var in _FIGURE_REMAINDERS]
    columns = {field: [row[field] for row in found] for field in Hypotheses._fields}
    return Hypotheses(**{field: torch.tensor(values, dtype=torch.float64) for field, values in columns.items()})


class Ensemble(NamedTuple):
    """Hypotheses with what is computed of them once."""

    hypotheses: Hypotheses
    shared: SharedCovariance
    uses_prior: Tensor
    """bool `[H]` whether each rests on what other tasks taught."""


def ensemble(every: Hypotheses, *, cold: bool = True, num_means: float = math.inf) -> Ensemble:
    """The ensemble of some hypotheses; without `cold` of those that rest on other tasks alone.

    Args:
        num_means: mean functions of the prior; those after them are figures of the space.
    """
    uses_prior = ((every.mean_index >= 0) & (every.mean_index < num_means)) | (every.component_var > 0)
    if not cold:
        every, uses_prior = every.take(uses_prior.nonzero().squeeze(-1)), uses_prior[uses_prior]
    return Ensemble(every, unique_covariances(every), uses_prior)


class SharedCovariance(NamedTuple):
    """Hypotheses by their covariance; those that share one differ in their mean function alone."""

    unique: Hypotheses
    """One of each covariance, `[1, G]`."""
    index: Tensor
    """int64 `[H]` each hypothesis's covariance."""


def unique_covariances(every: Hypotheses) -> SharedCovariance:
    """The distinct covariances, so that each is factorised once."""
    zero = torch.zeros_like(every.mean_index)
    unique, index = torch.stack(every._replace(mean_index=zero, log_prior=zero), 1).unique(dim=0, return_inverse=True)
    return SharedCovariance(Hypotheses(*unique.T[:, None]), index)
