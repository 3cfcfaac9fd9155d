"""A synthetic space that cannot be listed, and synthetic functions on it whose optimum is known.

Both are reached from the command line too: `nas search --task digits --space nas.testing.large_space:LargeSpace` trains its
networks, `--evaluator nas.testing.large_space:SyntheticFunction` looks its scores up.
Shapes: `S` seeds, `B` architectures, `D` decisions, `C` options.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
from torch import Tensor, nn

from controller import Proposal, Results
from nas.types import Defaults, Evaluate
from search_spaces import Space, Task, UserError, _noise

__all__ = ["LargeSpace", "SyntheticFunction"]

_ACTIVATIONS = ("none", "identity", "relu", "tanh", "abs")
_PAIR_SCALE = 1.0
"""Deviation of what a pair of neighboring decisions adds, in deviations of what one adds: about half of a score's variance."""


@dataclass(frozen=True)
class LargeSpace:
    """Networks of one hidden layer, each unit with an activation of its own: 5^40 architectures, all valid."""

    units: int = 40
    all_valid = True

    @property
    def name(self) -> str:
        return f"units-{self.units}"

    @property
    def choices(self) -> tuple[int, ...]:
        return (len(_ACTIVATIONS),) * self.units

    @property
    def decisions(self) -> tuple[str, ...]:
        return tuple(f"unit {d}" for d in range(self.units))

    @property
    def operations(self) -> tuple[tuple[str, ...], ...]:
        return (_ACTIVATIONS,) * self.units

    def valid(self, archs: Tensor) -> Tensor:
        return ((archs >= 0) & (archs < len(_ACTIVATIONS))).all(-1)

    def canonical(self, archs: Tensor) -> Tensor:
        """Itself: that units may change places is left to searches to find out."""
        return archs

    def build(self, arch: Tensor, task: Task) -> nn.Module:
        channels, height, width = task.input_shape
        return nn.Sequential(
            nn.Flatten(),
            nn.Linear(channels * height * width, self.units, bias=False),
            _Activations(arch),
            nn.Linear(self.units, task.num_classes, bias=False),
        )

    def describe(self, arch: Tensor) -> str:
        return " ".join(_ACTIVATIONS[choice] for choice in arch.tolist())

    def parse(self, text: str) -> Tensor:
        words = text.split()
        unknown = [word for word in words if word not in _ACTIVATIONS]
        if unknown or len(words) != self.units:
            what = f"'{unknown[0]}'" if unknown else f"{len(words)} words"
            raise UserError(f"Architecture '{text}' has {what}; it takes {self.units} of: {', '.join(_ACTIVATIONS)}.")
        return torch.tensor([_ACTIVATIONS.index(word) for word in words])


class _Activations(nn.Module):
    """Each unit by its own activation, `[N, D]` to `[N, D]`."""

    one_hot: Tensor

    def __init__(self, arch: Tensor):
        super().__init__()
        one_hot = nn.functional.one_hot(arch.long(), len(_ACTIVATIONS)).float()
        self.register_buffer("one_hot", one_hot.T.contiguous(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        options = torch.stack([torch.zeros_like(x), x, x.relu(), x.tanh(), x.abs()], 1)
        return (options * self.one_hot).sum(1)


@dataclass(frozen=True)
class SyntheticFunction:
    """Scores of a chain: each decision adds a number, and so does each pair of neighbors (an NK landscape, Kauffman 1989, with
    K = 1). 0 is the mean of the space and 100 its optimum, which dynamic programming finds.
    """

    space: Space
    task: Task

    defaults = Defaults(budget=100, batch=1)
    training = None

    @classmethod
    def of(cls, task: str, **settings: str) -> SyntheticFunction:
        """The function that a task's name is for: each name has its own. `units` may be set."""
        units = settings.pop("units", str(LargeSpace.units))
        if settings or not units.isdecimal() or int(units) < 2:
            raise UserError(f"A synthetic function takes units=2 or more; it has {settings or {'units': units}}.")
        return cls(LargeSpace(int(units)), Task(task, (1, 8, 8), 10))

    @property
    def description(self) -> str:
        return "score: 0 is the mean of all architectures, 100 the best; a synthetic function has no other column"

    def load(self, seeds: Tensor) -> Evaluate:
        def evaluate(proposal: Proposal) -> Results:
            score_SB = self.scores(proposal.archs)
            return Results(score_SB, torch.ones_like(score_SB))

        return evaluate

    def report(self, archs: Tensor) -> Tensor | None:
        return None

    def scores(self, archs: Tensor) -> Tensor:
        """Float32 `[...]` of `archs` `[..., D]`."""
        single_DC, pair_DCC = self._tables
        d = torch.arange(archs.shape[-1])
        value = single_DC[d, archs].sum(-1) + pair_DCC[d[1:], archs[..., :-1], archs[..., 1:]].sum(-1)
        mean = single_DC.mean(-1).sum() + pair_DCC[1:].mean((-2, -1)).sum()
        return (100 * (value - mean) / (self._highest - mean)).float()

    @property
    def _tables(self) -> tuple[Tensor, Tensor]:
        return _tables(self.task.name, len(self.space.choices))

    @cached_property
    def _highest(self) -> Tensor:
        """The value of the optimum: of each option of a decision the best that can stand before it."""
        single_DC, pair_DCC = self._tables
        best_C = single_DC[0]
        for single_C, pair_CC in zip(single_DC[1:], pair_DCC[1:]):
            best_C = (best_C[:, None] + pair_CC).amax(0) + single_C
        return best_C.max()


@lru_cache
def _tables(name: str, units: int) -> tuple[Tensor, Tensor]:
    """What decisions add, float64 `[D, C]`, and each with the one before it, `[D, C, C]` (of the first nothing is read)."""
    seed = torch.tensor([int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")])
    C = len(_ACTIVATIONS)
    pair_DCC = _PAIR_SCALE * _noise.normal(seed, 1, units, C, C)[0].double()
    return _noise.normal(seed, 0, units, C)[0].double(), pair_DCC
