"""What flows between a search and its controller.

Shapes: `S` searches side by side (seeds), `B` architectures a step, `T` steps, `D` decisions, `C` choices. Every tensor leads
with `S`; seeds never mix.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
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
    """float32 `[S, B, D, C]` the weight of each option in a mixture, of relaxed controllers (DARTS and others); None for those
    that sample. An evaluator that knows mixtures scores them and says the slope; any other scores `archs` alone."""
    resting: Tensor | None = None
    """bool `[S, B]` where weights that an evaluator trains as it goes are to rest, so that scores compare. None: nowhere."""
    arm: Tensor | None = None
    """int64 `[S, B]` which of several searches within a controller proposed it, by numbers of its own. It comes back to `learn`,
    also where evaluations end in another order than they began. None: the controller has one, or the one in turn proposed it."""
    slopes: Tensor | None = None
    """bool `[S, B]` where the slope by `weights` is read; elsewhere an evaluator may leave it NaN. None: everywhere."""


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
    slope: Tensor | None = None
    """float32 `[S, B, D, C]` the derivative by `Proposal.weights` of the score, or of minus the loss where the score has none;
    None where nothing can be said."""
    provisional: Tensor | None = None
    """bool `[S, B]` where a score is to learn from and not to choose by: that of a mixture, which is no architecture, or of
    shared weights that are still trained. None: nowhere."""
    objectives: Tensor | None = None
    """float32 `[S, B, A]` what a search with several objectives raises, in the order of `Task.aims`: higher is better, so that a
    latency has its sign turned. NaN where evaluation failed. None for tasks with one objective, the score."""


def penalty(ratio: Tensor, weights: Tensor) -> Tensor:
    """What constraints take off a score, `[...]`: the sum of weight x max(0, ratio - 1).

    Args:
        ratio: `[..., L]` each constrained value over its bound.
        weights: `[..., L]` penalty at twice each bound.
    """
    return (weights * (ratio - 1).clamp_min(0)).sum(-1)


class Step(NamedTuple):
    """One turn of the search loop."""

    proposal: Proposal
    results: Results
    state: State
    """The controller's state after it learned from `results`."""
    memory: Any = None
    """The evaluator's after it answered (`nas.types.HasMemory`); None for evaluators without one."""


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


@runtime_checkable
class ReadsObjectives(Protocol):
    """A controller that reads `Results.objectives` itself; any other sees one score made of them (`Scalarization`)."""

    @property
    def reads_objectives(self) -> bool: ...


@runtime_checkable
class SelectsInTheEnd(Protocol):
    """A controller that learns for some steps before it selects an architecture; a search that is shorter is told so."""

    def selects_after(self, batch: int) -> int:
        """Steps of `batch` evaluations before the one that first proposes what it selected.

        Raises `UserError` for settings by which it learns nothing until then.
        """
        ...


@runtime_checkable
class HasPriorWeight(Protocol):
    """A controller that says how much its prior still counts; TensorBoard asks for it."""

    def prior_weight(self, state: State) -> Tensor:
        """From 0 to 1, float `[S]`."""
        ...


class HasOrder(Protocol):
    """A controller whose prior is a ranking of architectures by `controller.meta.portfolio`, made without any training."""

    @property
    def ranking_source(self) -> Literal["sources", "task"]:
        """Whose objective columns are ranked: other tasks', or (a bound, no search) the task's own."""
        ...


class TaskScores(NamedTuple):
    """One training task over all of its space: what meta-training is made of."""

    name: str
    family: str
    space: Space
    task: Task
    normal_scores: Tensor
    """float32 `[N]`, a row each valid architecture of the space: the normal quantile of the score's rank; ties share one."""
    log_cost: Tensor
    """float32 `[N]` the logarithm of an evaluation's seconds, standardized over the space; zero where all cost the same."""
    longest: bool = True
    """False where a longer training on the same data is a task of its own."""


class AuxiliaryColumn(NamedTuple):
    """A quantity over all of a space that is no score, as parameters, seconds or a zero-cost proxy."""

    name: str
    """`TABLE/COLUMN`."""
    space: Space
    normal_scores: Tensor
    """float32 `[N]` as a task's; what is not measured has the mean of its equivalents, or the middle."""
    log_value: Tensor | None = None
    """float32 `[N]` the quantity's logarithm, where a constraint may bound it."""
    quantity: str | None = None
    """As `ConstraintFacts.quantity` and `.device` have them; so is the next."""
    device: str | None = None


class TaskSet(NamedTuple):
    """All that a meta-learner is trained on."""

    tasks: tuple[TaskScores, ...]
    spaces: tuple[Space, ...]
    """Every space on which tasks are drawn; one without tasks of its own has synthetic ones."""
    auxiliary: tuple[AuxiliaryColumn, ...] = ()
    family_weights: Mapping[str, float] = MappingProxyType({})
    """How likely a new task is of each family."""

    @property
    def families(self) -> list[str]:
        """The families of the tasks: those with a weight in its order; all of them by name where none has one."""
        found = {x.family for x in self.tasks}
        return [family for family in self.family_weights if family in found] or sorted(found)


class TaskRequest(NamedTuple):
    """What one step of meta-training asks for."""

    num_tasks: int | None = 8
    """Tasks drawn on one space: mixtures of training tasks, with noise. None: every training task, a sample for each space."""
    rows: int | None = None
    """Architectures at most, drawn at random; None: the whole space."""
    synthetic: bool = False
    """Whether synthetic scores are among the tasks."""
    num_query: int = 0
    """Architectures whose scores are to be predicted from a context of others; 0: none."""
    search_lengths: tuple[int, int] | None = None
    """Evaluations of a search, from the first to below the second; None: no searches."""
    searches: int = 8
    """Searches of each task, where there are searches."""
    constrained: bool = True
    """Whether tasks with constraints are among every training task."""


class TaskSample(NamedTuple):
    """Tasks on one space. `K` tasks, `n` architectures, `c` of the context, `q` to predict."""

    space: Space
    rows: Tensor
    """int64 `[n]` where the architectures are among the valid ones of the space."""
    archs: Tensor
    """int64 `[n, D]`."""
    scores: Tensor
    """float32 `[K, n]` of mean 0 and deviation 1 over the space; NaN where evaluation failed."""
    cost: Tensor
    """float32 `[K, n]` seconds, in any unit."""
    task_features: Tensor
    """float32 `[K, F]`; zeros for synthetic tasks."""
    tasks: Tensor
    """int64 `[K]` the task of the `TaskSet` that each is; -1 for a mixture."""
    context: Tensor | None = None
    """int64 `[K, c]` of the `n`: the architectures whose scores are given."""
    query: Tensor | None = None
    """int64 `[K, q]` of the `n`: those whose scores are to be predicted."""
    top: Tensor | None = None
    """int64 `[K]` of the `n`: one of the eight best of each task."""
    noise: Tensor | None = None
    """float32 `[T, K x searches, 1, D, C]` uniform numbers for `T` evaluations of each search."""


TaskBatch = tuple[TaskSample, ...]
"""A sample for each request of a step, or one for each space where a request asks for every task."""


class Stage(NamedTuple):
    """A part of meta-training, in which every step asks for the same."""

    name: str
    steps: int
    requests: tuple[TaskRequest, ...]
    stream: int = 0
    """Stages of different streams draw independent random numbers."""


def stage_at(stages: tuple[Stage, ...], step: int) -> tuple[Stage, int]:
    """The stage of a step of the whole training, and which step of that stage it is."""
    for stage in stages:
        if step < stage.steps:
            return stage, step
        step -= stage.steps
    raise IndexError(f"training ends {step} steps before")


MetaState = Any
"""Nested `NamedTuple`s and dicts of tensors: all that changes in meta-training. `step` int64 `[]` counts the steps taken."""


class MetaLearner(Protocol):
    """A way to learn a prior across tasks. Configuration is the component's own frozen fields, `tasks` first.

    One that learns for hours by its own settings may have an attribute `quick_options` of the class: settings by which it learns
    enough in seconds. `nas check` and the tests train it with them.
    """

    @property
    def tasks(self) -> TaskSet: ...

    @property
    def stages(self) -> tuple[Stage, ...]:
        """What is trained one after another, for how many steps, on what."""
        ...

    def init(self, seeds: Tensor) -> MetaState:
        """The state before training, of which `prior` makes an untrained prior. `seeds` int64 `[1]`."""
        ...

    def update(self, meta_state: MetaState, batch: TaskBatch) -> tuple[MetaState, dict[str, float]]:
        """The state after one more step, and what TensorBoard shows of it; a function of its arguments alone."""
        ...

    def prior(self, meta_state: MetaState) -> Prior:
        """What has been learned so far; its header names the `controller` that it is for."""
        ...
