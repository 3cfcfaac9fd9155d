"""The inner loop: propose, evaluate, learn. An iterator, so that the caller stores, logs, draws progress and stops."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, cast

from torch import Tensor

from controller import Controller, State, Step
from nas.types import Evaluate, EvaluateWithMemory, Evaluator, HasMemory, Memory


class Loaded(NamedTuple):
    """What `search` evaluates by."""

    evaluate: Evaluate | EvaluateWithMemory
    memory: Memory = None
    """Before the first evaluation; None for an evaluator without a memory."""


def load(evaluator: Evaluator, seeds: Tensor) -> Loaded:
    """An evaluator for searches with `seeds` int64 `[S]`, with its memory where it has one."""
    if isinstance(evaluator, HasMemory):
        return Loaded(evaluator.load_with_memory(seeds), evaluator.begin(seeds))
    return Loaded(evaluator.load(seeds))


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
    """
    while True:
        proposal = controller.propose(state, batch)
        if memory is None:
            results = cast("Evaluate", evaluate)(proposal)
        else:
            results, memory = cast("EvaluateWithMemory", evaluate)(proposal, memory)
        state = controller.learn(state, proposal, results)
        yield Step(proposal, results, state, memory)
