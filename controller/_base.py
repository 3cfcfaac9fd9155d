"""What flows between a search and its controller.

Shapes: `S` searches side by side (seeds), `B` architectures a step, `T` steps, `D` decisions, `C` choices. Every tensor leads
with `S`; seeds never mix.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

from torch import Tensor

from search_spaces import Space, Task

State = Any
"""A `NamedTuple` of tensors `[S, ...]` (nested ones and None allowed): all that changes while a controller searches."""


class Proposal(NamedTuple):
    """Architectures to evaluate."""

    archs: Tensor
    """int64 `[S, B, D]`."""
    epochs: Tensor | None = None
    """int64 `[S, B]` the fidelity asked for; None: the task's own."""
    weights: Tensor | None = None
    """float32 `[S, B, D, C]` a differentiable handle on the choice, for relaxed controllers (DARTS and kin) on a supernet;
    None for those that sample."""


class Results(NamedTuple):
    """What the evaluation found."""

    score: Tensor
    """float32 `[S, B]` higher is better; NaN where evaluation failed."""
    cost: Tensor
    """float32 `[S, B]` seconds."""
    constraint_ratio: Tensor | None = None
    """float32 `[S, B, L]` each constrained value over its bound; None for tasks without constraints.

    `score` already has the penalty taken off.
    """


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
    """float32 `[S, T, B]`; NaN where evaluation failed."""


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


@runtime_checkable
class HasPolicy(Protocol):
    """A controller whose next proposal is a sample of a distribution that can be logged; TensorBoard asks for it."""

    def policy(self, state: State) -> Tensor:
        """Probabilities of each decision's choices, float32 `[S, D, C]`; 0 beyond a decision's own choices."""
        ...


class HasOrder(Protocol):
    """A controller whose prior is a ranking of architectures by `controller.meta.portfolio`, made without any training."""

    @property
    def ranking_source(self) -> Literal["sources", "task"]:
        """Whose objective columns are ranked: other tasks', or (a bound, no search) the task's own."""
        ...


class MetaLearner(Protocol):
    """Makes a prior from the searches of many tasks."""

    @property
    def controller(self) -> Controller: ...

    def init(self, seeds: Tensor) -> Prior: ...

    def update(self, prior: Prior, episodes: list[Episode]) -> Prior: ...
