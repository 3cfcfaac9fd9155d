"""What flows between a search and its controller.

Shapes: `S` searches side by side (seeds), `B` architectures a step, `T` steps, `D` decisions, `C` choices. Every tensor leads
with `S`; seeds never mix.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, NamedTuple, Protocol

from torch import Tensor

from search_spaces import Space, Task

State = Any
"""A `NamedTuple` of tensors `[S, ...]` (nested ones and None allowed): all that changes while a controller searches."""


class Range(NamedTuple):
    """What a number may be; a component's settings say it in their type, `Annotated[int, Range(1)]`."""

    least: float
    above: bool = False
    """Whether it must be above `least`."""
    below: float = math.inf

    def __contains__(self, value: object) -> bool:
        assert isinstance(value, int | float)
        return (self.least < value if self.above else self.least <= value) and value < self.below

    def __str__(self) -> str:
        least = f"above {self.least:g}" if self.above else f"of {self.least:g} or more"
        return least if self.below == math.inf else f"{least}, below {self.below:g}"


Count = Annotated[int, Range(1)]
Positive = Annotated[float, Range(0, above=True)]
Amount = Annotated[float, Range(0)]
Decay = Annotated[float, Range(0, below=1)]


class Proposal(NamedTuple):
    """Architectures to evaluate."""

    archs: Tensor
    """int64 `[S, B, D]`."""
    epochs: Tensor | None = None
    """int64 `[S, B]` the fidelity asked for; None: the task's own."""
    weights: Tensor | None = None
    """float32 `[S, B, D, C]` a differentiable handle on the choice; None for those that sample."""


class Results(NamedTuple):
    """What the evaluation found."""

    score: Tensor
    """float32 `[S, B]` higher is better; NaN where evaluation failed."""
    cost: Tensor
    """float32 `[S, B]` seconds."""
    over: Tensor | None = None
    """float32 `[S, B, L]` each limited quantity over its limit; None for tasks without limits. `score` has the points off."""


def penalty(ratio: Tensor, weights: Tensor) -> Tensor:
    """What constraints take off a score, `[...]`: the sum of weight x max(0, ratio - 1).

    Args:
        ratio: `[..., L]` each constrained value over its bound.
        weights: `[..., L]` points off at twice each bound.
    """
    return (weights * (ratio - 1).clamp_min(0)).sum(-1)


class Step(NamedTuple):
    """One turn of the search loop."""

    proposal: Proposal
    results: Results
    state: State
    """The controller's state after it learned from `results`."""


class Episode(NamedTuple):
    """Finished searches of one task: what a meta-learner learns from."""

    task: Task
    archs: Tensor
    """int64 `[S, T, B, D]`."""
    score: Tensor
    """float32 `[S, T, B]`."""
    cost: Tensor
    """float32 `[S, T, B]` seconds."""
    first: State
    """The state before the first step."""
    last: State
    """The state after the last."""


class Prior(NamedTuple):
    """What was learned across tasks; lives in a `.safetensors` file."""

    params: dict[str, Tensor]
    about: dict[str, str]
    """The file's header: what it was trained on, by which command, for which controller."""


class Controller(Protocol):
    """A way to search. Configuration is the component's own frozen fields, `space` first."""

    @property
    def space(self) -> Space: ...

    def begin(self, task: Task, seeds: Tensor, prior: Prior | None = None) -> State:
        """The state of `S` fresh searches, one for each of `seeds` int64 `[S]`."""
        ...

    def propose(self, state: State, batch: int) -> Proposal:
        """The next `batch` architectures of each search; a function of the state alone."""
        ...

    def learn(self, state: State, proposal: Proposal, results: Results) -> State:
        """The state once `results` are known."""
        ...


class HasPolicy(Controller, Protocol):
    """A controller whose next proposal is a sample of a distribution that can be shown."""

    def policy(self, state: State) -> Tensor:
        """Probabilities of each decision's choices, float32 `[S, D, C]`; 0 beyond a decision's own choices."""
        ...


class HasOrder(Controller, Protocol):
    """A controller whose prior is a ranking of architectures by `controller.meta.portfolio`, made without any training."""

    @property
    def prior_from(self) -> Literal["sources", "task"]:
        """Whose search columns are ranked: other tasks', or (a bound, no search) the task's own."""
        ...


class Trainable(Controller, Protocol):
    """A controller with parameters that a meta-learner may set."""

    def init(self, seeds: Tensor) -> dict[str, Tensor]:
        """Untrained parameters, each `[S, ...]`."""
        ...

    def loss(self, params: dict[str, Tensor], archs: Tensor, advantage: Tensor) -> Tensor:
        """The loss `[S]` of `archs` `[S, B, D]` weighted by `advantage` `[S, B]`, differentiable in `params`."""
        ...


class MetaLearner(Protocol):
    """Makes a prior from the searches of many tasks."""

    @property
    def controller(self) -> Controller: ...

    def init(self, seeds: Tensor) -> Prior: ...

    def update(self, prior: Prior, episodes: list[Episode]) -> Prior: ...
