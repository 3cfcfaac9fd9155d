"""Zero-cost proxies of the networks that a search trains on images, each computed once.

Shapes: `N` architectures, `D` decisions, `P` proxies, `R` architectures that values are ranked among.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from nas.evaluators.train import Train
from nas.evaluators.zero_cost import ZeroCost
from nas.training.zero_cost import PROXIES
from search_spaces import _ops, _sampling, representatives, unknown

_RANKED, _IMAGES = 64, 32
"""Architectures that values are ranked among, and images of a batch: half of what `--proxy` alone takes, as hundreds of
candidates are asked for. Neither was ablated."""


@dataclass(frozen=True, eq=False)
class OfNetworks:
    """Proxies of networks on images; each is computed once. Normal scores among `_RANKED` random architectures of the space."""

    evaluator: ZeroCost
    names: tuple[str, ...]
    known: dict[int, tuple[float, ...]] = field(default_factory=dict, repr=False)
    """By the index of the architecture: the proxies."""

    @property
    def count(self) -> int:
        return len(self.names)

    def __call__(self, archs: Tensor) -> Tensor:
        value_NP = self._values(archs.reshape(-1, archs.shape[-1]))
        places_NP = [_score_among(value_N, ranked_R) for value_N, ranked_R in zip(value_NP.T, self._ranked.T)]
        return torch.stack(places_NP, -1).float().view(*archs.shape[:-1], self.count)

    @cached_property
    def _ranked(self) -> Tensor:
        """float64 `[R, P]`."""
        space = self.evaluator.space
        return self._values(_sampling.sample(space, torch.zeros(1, dtype=torch.long), 0, _RANKED, stream=254)[0])

    def _values(self, archs: Tensor) -> Tensor:
        """float64 `[N, P]`; NaN where a proxy is not finite."""
        space = self.evaluator.space
        same = representatives(space, archs)
        indices = _ops.whole_indices(same, space.choices)
        missing = {index: arch for index, arch in zip(indices, same) if index not in self.known}
        for index, found in zip(missing, self.evaluator.proxies(list(missing.values()), self.names)):
            self.known[index] = tuple(found.values[name] for name in self.names)
        return torch.tensor([self.known[index] for index in indices], dtype=torch.float64).view(
            len(indices), self.count
        )


def _score_among(value_N: Tensor, ranked_R: Tensor) -> Tensor:
    """The normal quantile of the share of `ranked_R` below each value and half of those that are equal; NaN is last."""
    ranked_R = ranked_R.nan_to_num(-torch.inf).sort().values
    value_N = value_N.nan_to_num(-torch.inf)
    below, upto = (torch.searchsorted(ranked_R, value_N, right=right) for right in (False, True))
    # Half a place at each end: no rank among finitely many is infinitely good.
    share = ((below + upto) / 2 + 0.5) / (len(ranked_R) + 1)
    return torch.special.ndtri(share.double())


def of(names: tuple[str, ...], evaluator: Train) -> OfNetworks:
    """The proxies of those names. Raises `UserError` for one that there is not."""
    for name in names:
        if name not in PROXIES:
            raise unknown("zero-cost proxy", name, list(PROXIES))
    space, seed = evaluator.space, evaluator.recipe.seed
    made = ZeroCost(space, evaluator.task, evaluator.data, names[0], _IMAGES, seed, evaluator.device)
    return OfNetworks(made, names)
