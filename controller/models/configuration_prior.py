"""A prior over configurations that were scored on other data sets: what to begin with, and a mean function.

The mean function is a ridge regression of standardized scores on what each option is, with an effect of the data's size, classes
and color on each. What to begin with is a greedy portfolio (Wistuba et al. 2015, "Sequential model-free hyperparameter tuning",
section 4): each next configuration is the one that adds most to the best so far, in the mean over the data sets.

Shapes: `N` scores, `D` decisions, `F` features of a configuration, `T` of a data set, `S` data sets, `M` candidates, `P` places.
"""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import torch
from torch import Tensor

from controller._base import Prior
from controller.models.multi_fidelity_gp import features, targets
from search_spaces import Space, Task, UserError, _measured, _noise

CONTROLLER = "multi_fidelity_bo"
_PENALTIES = (3.0, 10.0, 30.0, 100.0, 300.0)
"""Of which the one is taken that predicts left-out data sets best."""
_INTERACTION = 4.0
"""How many times heavier the penalty on what depends on the data or the level is: most effects are alike everywhere."""
_DRAWS = 32
"""Mean functions that are drawn given the scores: a portfolio hedges against what is not known, too."""
_ENOUGH = 20
"""Configurations at the highest level from which on a mean function is learned: about as many as there are settings. From fewer
it would only tell the handful apart, which the portfolio does."""
OWN = "own"
"""The name of what the user's own runs found, in the order in which they were added."""
_TRUSTED = 3
"""Configurations of the prior that come before those of the user's runs (`runs/pipeline_prior.py from-runs`)."""
_LEAST = 3
"""Scores of a data set at a level that can be standardized."""


class Scores(NamedTuple):
    """Configurations scored on several data sets."""

    archs: Tensor
    """int64 `[N, D]`."""
    data: Tensor
    """int64 `[N]` which data set."""
    level: Tensor
    """int64 `[N]` the number of the level of compute, from 0."""
    score: Tensor
    """float64 `[N]`; NaN where training failed."""
    about: Tensor
    """float64 `[S, T]` of each data set, as `describe` gives it."""

    def without(self, data: int) -> Scores:
        """Those of all data sets but one."""
        return self.rows(self.data != data)

    def rows(self, at: Tensor) -> Scores:
        """Those at a mask `[N]`."""
        return Scores(self.archs[at], self.data[at], self.level[at], self.score[at], self.about)


class MeanFunction(NamedTuple):
    """What is expected of a configuration, in standard deviations of a data set's scores."""

    weights: Tensor
    """float64 `[2 + T, F]`: anywhere, by each feature of the data, and a level higher."""
    centre: Tensor
    """float64 `[T]` of the data sets' features, as `scale`."""
    scale: Tensor

    def on(self, about: Tensor) -> Tensor:
        """Weights `[F]` of a data set described by `about` `[T]`, for the higher of two levels."""
        known = (about - self.centre) / self.scale
        return self.weights[0] + known.clamp(-2, 2) @ self.weights[1:-1] + self.weights[-1]


def describe(task: Task) -> Tensor:
    """What the mean function knows of a data set: the logarithms of images and classes, and whether it has color."""
    images = task.features[0] if task.features else 1000.0
    numbers = [math.log10(images), math.log10(task.num_classes), float(task.input_shape[0] > 1)]
    return torch.tensor(numbers, dtype=torch.float64)


def fit(space: Space, scores: Scores, candidates: Tensor, places: int) -> Prior:
    """The prior of some scores. Raises `UserError` for too few of them.

    Args:
        candidates: int64 `[M, D]` what the portfolio may hold where no configuration was scored on all data sets.
        places: how many configurations it holds.
    """
    if len(scores.data.unique()) < 3:
        raise UserError(
            f"A prior over configurations takes scores on 3 data sets or more; there are {len(scores.data.unique())}."
        )
    # At a lower level the smallest networks are the best ones: what is best in the end is nearer to the highest level's.
    high = scores.rows(scores.level == scores.level.max())
    enough = len(high.archs.unique(dim=0)) >= _ENOUGH
    found = fitted(space, high if enough else scores)
    mean = found.mean if enough else found.mean._replace(weights=torch.zeros_like(found.mean.weights))
    tried, values = _tried(scores)
    if len(tried):
        first = portfolio(values, places, tried)
    else:
        first = portfolio(found.expected(space, scores.about[scores.data.unique()], candidates), places, candidates)
    return Prior({"first": first, **mean._asdict()}, {"controller": CONTROLLER, "space": space.name})


def applied(prior: Prior | None, space: Space, task: Task) -> tuple[Tensor, Tensor]:
    """What to begin with `[P, D]` and the weights `[F]` of the mean function on a task; none of another space's prior."""
    D = len(space.choices)
    nothing = torch.zeros(0, D).long(), torch.zeros(0, dtype=torch.float64)
    if prior is None:
        return nothing
    check(prior)
    if prior.about["space"] != space.name:
        return nothing
    p = prior.params
    F = features(space, torch.zeros(1, D).long()).shape[1]
    T = len(describe(task))
    fits = {"weights": (2 + T, F), "centre": (T,), "scale": (T,)}
    fitting = all(name in p and tuple(p[name].shape) == shape for name, shape in fits.items())
    if not fitting or not tuple(p["first"].shape[1:]) == tuple(own(prior).shape[1:]) == (D,):
        raise UserError(f"The prior does not fit space '{space.name}'; it was made for another version of it.")
    first = with_own(p["first"].long(), own(prior))
    if not bool(_measured.whole_of(space).valid(first).all()):
        raise UserError(f"The prior begins with what is no architecture of space '{space.name}'.")
    first = space.fitting(first) if isinstance(space, _measured.Bounded) else first[space.valid(first)]
    return first, MeanFunction(*(p[name].double() for name in MeanFunction._fields)).on(describe(task))


def check(prior: Prior) -> None:
    """Raises `UserError` for a prior that lacks a part, or has one that is none."""
    p = prior.params
    dims = {"first": 2, "weights": 2, "centre": 1, "scale": 1}
    for name, dim in dims.items():
        if name not in p or p[name].dim() != dim:
            raise UserError(f"The prior is none over configurations: it has no '{name}' of {dim} dimensions.")
    if "space" not in prior.about:
        raise UserError("The prior is none over configurations: its header names no space.")
    if OWN in p and p[OWN].dim() != 2:
        raise UserError(f"The prior is none over configurations: its '{OWN}' has not 2 dimensions.")
    if not len(p["first"]):
        raise UserError("The prior is none over configurations: it begins with nothing.")
    for name, tensor in p.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise UserError(f"The prior is none over configurations: its '{name}' holds NaN or infinity.")


def own(prior: Prior) -> Tensor:
    """What the user's own runs found, int64 `[n, D]`."""
    return prior.params[OWN].long() if OWN in prior.params else prior.params["first"][:0].long()


def with_own(first: Tensor, found: Tensor, trusted: int = _TRUSTED) -> Tensor:
    """What to begin with `[P, D]`: `trusted` of the prior's, then by turns one of the user's runs and one of the prior's.

    The latest of them comes before the others. One that both have comes once, where it comes first.
    """
    known = [tuple(arch) for arch in first.tolist()]
    # Before they take turns: a repeat would take one, and put off what is new.
    new = [arch for arch in dict.fromkeys(map(tuple, found.flip(0).tolist())) if arch not in known[:trusted]]
    pairs = itertools.zip_longest(new, [arch for arch in known[trusted:] if arch not in new])
    turns = [arch for pair in pairs for arch in pair if arch is not None]
    return torch.tensor(known[:trusted] + turns).view(-1, first.shape[1])


def _tried(scores: Scores) -> tuple[Tensor, Tensor]:
    """Configurations `[P, D]` that were scored on every data set at the highest level, and their standardized scores `[S, P]`."""
    high = scores.rows(scores.level == scores.level.max())
    names = scores.data.unique().tolist()
    of_arch: dict[tuple[int, ...], dict[int, float]] = {}
    for arch, data, score in zip(high.archs.tolist(), high.data.tolist(), high.score.tolist()):
        of_arch.setdefault(tuple(arch), {})[data] = score
    tried = [arch for arch, own in of_arch.items() if len(own) == len(names)]
    if len(tried) < _LEAST:
        return high.archs[:0], torch.zeros(len(names), 0, dtype=torch.float64)
    values = torch.tensor([[of_arch[arch][data] for arch in tried] for data in names], dtype=torch.float64)
    level = torch.zeros(len(tried)).long()
    return torch.tensor(tried), torch.stack([targets(own, level) for own in values])


class Fitted(NamedTuple):
    """A mean function, and how sure it is."""

    mean: MeanFunction
    spread: Tensor
    """float64 `[(2 + T) F, (2 + T) F]`: a root of the covariance of its weights."""

    def expected(self, space: Space, about: Tensor, archs: Tensor) -> Tensor:
        """What may be expected of `archs` `[M, D]` on data sets of `about` `[S, T]`, float64 `[S x draws, M]`."""
        noise = _noise.uniform(torch.arange(_DRAWS), 0, len(self.spread)).double().clamp(1e-6, 1 - 1e-6)
        changes = torch.special.ndtri(noise) @ self.spread.mT
        drawn = [self.mean._replace(weights=self.mean.weights + one.view_as(self.mean.weights)) for one in changes]
        weights = torch.stack([mean.on(one) for mean in drawn for one in about])
        return weights @ features(space, archs).mT


def fitted(space: Space, scores: Scores) -> Fitted:
    """The ridge regression whose penalty predicts left-out data sets best."""
    rows = _standardized(space, scores)
    error = dict.fromkeys(_PENALTIES, 0.0)
    for data in rows.data.unique().tolist():
        out = rows.data == data
        for penalty in _PENALTIES:
            weights = _ridge(rows.inputs[~out], rows.target[~out], penalty, rows.own)[0]
            error[penalty] += float((rows.inputs[out] @ weights - rows.target[out]).square().sum())
    best = min(_PENALTIES, key=lambda penalty: error[penalty])
    weights, root = _ridge(rows.inputs, rows.target, best, rows.own)
    # The posterior of weights (Rasmussen & Williams 2006, equation 2.8): noise as large as the error on left-out data sets.
    noise = math.sqrt(error[best] / len(rows.target))
    spread = noise * torch.linalg.solve_triangular(root, torch.eye(len(root), dtype=root.dtype), upper=False).mT
    return Fitted(MeanFunction(weights.view(-1, rows.own), rows.centre, rows.scale), spread)


class _Rows(NamedTuple):
    inputs: Tensor
    target: Tensor
    data: Tensor
    own: int
    """Features of a configuration, which come first; then what depends on the data and the level."""
    centre: Tensor
    scale: Tensor


def _standardized(space: Space, scores: Scores) -> _Rows:
    """Inputs and targets of the regression, each data set's scores at a level of mean 0 and deviation 1."""
    target, kept = torch.zeros(len(scores.score), dtype=torch.float64), torch.zeros(len(scores.score), dtype=torch.bool)
    for data in scores.data.unique().tolist():
        for level in scores.level.unique().tolist():
            at = (scores.data == data) & (scores.level == level)
            if int((~scores.score[at].isnan()).sum()) >= _LEAST:
                target[at], kept = targets(scores.score[at], scores.level[at]), kept | at
    present = scores.about[scores.data[kept].unique()]
    centre, scale = present.mean(0), present.std(0, unbiased=False).clamp_min(1e-6)
    own = features(space, scores.archs[kept])
    about = ((scores.about[scores.data[kept]] - centre) / scale).clamp(-2, 2)
    parts = [own, *(own * column[:, None] for column in about.unbind(1)), own * scores.level[kept, None]]
    return _Rows(torch.cat(parts, 1), target[kept], scores.data[kept], own.shape[1], centre, scale)


def _ridge(inputs: Tensor, target: Tensor, penalty: float, own: int) -> tuple[Tensor, Tensor]:
    """Weights, and the Cholesky factor of their precision in units of the noise."""
    gram = inputs.mT @ inputs
    heavy = torch.full((gram.shape[0],), penalty * _INTERACTION, dtype=torch.float64)
    heavy[:own] = penalty
    gram.diagonal().add_(heavy)
    root = torch.linalg.cholesky(gram)
    return torch.cholesky_solve((inputs.mT @ target)[:, None], root)[:, 0], root


def portfolio(value: Tensor, places: int, candidates: Tensor) -> Tensor:
    """The candidates `[P, D]` of values `[S, M]`, each adding most to the mean over data sets of the best before it."""
    chosen: list[int] = []
    best = torch.full((len(value),), -torch.inf, dtype=value.dtype)
    for _ in range(min(places, len(candidates))):
        gain = torch.maximum(value, best[:, None]).mean(0)
        gain[chosen] = -torch.inf
        at = int(gain.argmax())
        chosen.append(at)
        best = torch.maximum(best, value[:, at])
    return candidates[chosen]
