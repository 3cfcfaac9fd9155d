"""What the score of a task is measured on: the split of its examples, and over how many training seeds."""

from __future__ import annotations

from nas.evaluators.constrained import Constrained
from nas.evaluators.nats_bench import NatsBench
from nas.evaluators.tabular import Tabular
from nas.types import Evaluator, Objective


def of(evaluator: Evaluator) -> Objective:
    """Of an evaluator's score. One that trains scores by validation examples, after one training; of one from
    outside nothing is known."""
    inner = evaluator.inner if isinstance(evaluator, Constrained) else evaluator
    if isinstance(inner, Tabular | NatsBench):
        return inner.objective
    return Objective(None, None) if inner.training is None else Objective("valid", 1)
