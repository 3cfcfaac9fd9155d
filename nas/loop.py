"""The inner loop: propose, evaluate, learn. An iterator, so that the caller stores, logs, draws progress and stops."""

from __future__ import annotations

from collections.abc import Iterator

from controller import Controller, State, Step
from nas.types import Evaluate


def search(controller: Controller, evaluate: Evaluate, state: State, batch: int = 1) -> Iterator[Step]:
    """Steps of `batch` evaluations for each seed, without end; take as many as the budget allows.

    Args:
        controller: proposes and learns.
        evaluate: proposals to results, from `Evaluator.load`.
        state: from `controller.begin`, or that of an earlier step to go on from there.
    """
    while True:
        proposal = controller.propose(state, batch)
        results = evaluate(proposal)
        state = controller.learn(state, proposal, results)
        yield Step(proposal, results, state)
