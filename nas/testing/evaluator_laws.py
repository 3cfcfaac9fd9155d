"""Laws of evaluators. A component is a class with `of(task, **settings)`; `check` takes what `of("digits")` gives."""

from __future__ import annotations

from typing import Any

import torch

from controller import Proposal
from search_spaces import _sampling

_SEEDS = 2


def _scored(component: Any, batch: int) -> tuple[Any, Any, torch.Tensor]:
    evaluator = component.of("digits")
    seeds = torch.arange(_SEEDS)
    archs = _sampling.sample(evaluator.space, seeds, 0, batch)
    return evaluator, evaluator.load(seeds)(Proposal(archs)), archs


def scores_have_a_seed_and_an_architecture_axis(component: Any) -> None:
    """Scores and costs are float32 [S, B]; a failed evaluation is NaN, never infinite."""
    _, results, _ = _scored(component, 3)
    for name, values in (("score", results.score), ("cost", results.cost)):
        assert values.shape == (_SEEDS, 3), f"{name} has shape {list(values.shape)} for 2 seeds and 3 architectures"
        assert values.dtype == torch.float32, f"{name} is {values.dtype}, not float32"
        assert not values.isinf().any(), f"{name} is infinite"


def scores_are_functions_of_the_proposal(component: Any) -> None:
    """The same proposal has the same scores twice."""
    evaluator, results, archs = _scored(component, 2)
    again = evaluator.load(torch.arange(_SEEDS))(Proposal(archs))
    assert torch.equal(again.score.nan_to_num(-1), results.score.nan_to_num(-1)), (
        "the same architectures score otherwise"
    )


def says_what_it_is(component: Any) -> None:
    """It says what its score is in a line, and how many evaluations a search has by default."""
    evaluator = component.of("digits")
    assert evaluator.description.strip(), "description is empty"
    assert "\n" not in evaluator.description, "description has more than one line"
    assert evaluator.defaults.budget > 0, f"defaults.budget is {evaluator.defaults.budget}"
    assert evaluator.defaults.batch > 0, f"defaults.batch is {evaluator.defaults.batch}"


LAWS = [says_what_it_is, scores_have_a_seed_and_an_architecture_axis, scores_are_functions_of_the_proposal]
