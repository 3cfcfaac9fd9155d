"""The inner loop: propose, evaluate, learn. An iterator, so that the caller stores, logs, draws progress and stops."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, cast

from torch import Tensor

from controller import Controller, State, Step
from controller.candidates import checks
from nas.types import Evaluate, EvaluateWithMemory, Evaluator, HasMemory, Memory
from search_spaces import UserError


class Loaded(NamedTuple):
    """What `search` evaluates by."""

    evaluate: Evaluate | EvaluateWithMemory
    memory: Memory = None
    """Before the first evaluation; None for an evaluator without a memory."""


def load(evaluator: Evaluator, seeds: Tensor) -> Loaded:
    """An evaluator for searches with `seeds` int64 `[S]`, with its memory where it has one."""
    if isinstance(evaluator, HasMemory):
        return Loaded(evaluator.load_with_memory(seeds), evaluator.begin(seeds))
    evaluate = evaluator.load(seeds)
    if not callable(evaluate):
        raise UserError(
            f"'load' of {type(evaluator).__name__} gives {checks.named(evaluate)}; it takes a function of a Proposal."
        )
    return Loaded(evaluate)


def search(
    controller: Controller,
    evaluate: Evaluate | EvaluateWithMemory,
    state: State,
    batch: int = 1,
    *,
    memory: Memory = None,
) -> Iterator[Step]:
    """Steps of `batch` evaluations for each seed, without end; take as many as the budget allows.

    Args:
        controller: proposes and learns.
        evaluate: proposals to results, from `Evaluator.load`, or from `load` above.
        state: from `controller.begin`, or that of an earlier step to go on from there.
        memory: what `load` gives, or that of the earlier step.

    Raises `UserError` for a state, a proposal or results of another form than `Controller` and `Evaluate` have.
    """
    searches = checks.state(controller, state)
    while True:
        proposal = controller.propose(state, batch)
        checks.proposal(controller, proposal, searches, batch)
        if memory is None:
            results = cast("Evaluate", evaluate)(proposal)
        else:
            results, memory = cast("EvaluateWithMemory", evaluate)(proposal, memory)
        checks.results(results, proposal)
        state = controller.learn(state, proposal, results)
        checks.state(controller, state, searches)
        yield Step(proposal, results, state, memory)
