"""Laws of evaluators. A component is a class with `of(task, **settings)`; `check` takes what `of("digits")` gives."""

from __future__ import annotations

from typing import Any

import torch

from controller import Proposal
from nas.run import state_tree
from nas.types import HasMemory
from search_spaces import _noise, _sampling

_SEEDS = 2
_STEPS = 3
"""Of a search whose memory is looked at: the second sees what the first left, the third resumes from what was saved."""


def _scored(component: Any, batch: int) -> tuple[Any, Any, torch.Tensor]:
    evaluator = component.of("digits")
    seeds = torch.arange(_SEEDS)
    archs = _sampling.sample(evaluator.space, seeds, 0, batch)
    return evaluator, evaluator.load(seeds)(Proposal(archs)), archs


def scores_have_a_seed_and_an_architecture_axis(component: Any) -> None:
    """Scores and costs are float32 [S, B]; a failed evaluation's score is NaN, and its cost its seconds."""
    _, results, _ = _scored(component, 3)
    for name, values in (("score", results.score), ("cost", results.cost)):
        assert values.shape == (_SEEDS, 3), f"{name} has shape {list(values.shape)} for 2 seeds and 3 architectures"
        assert values.dtype == torch.float32, f"{name} is {values.dtype}, not float32"
        assert not values.isinf().any(), f"{name} is infinite"
    assert (results.cost >= 0).all(), f"cost is {results.cost.min().item()}; it takes seconds"


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


def memory_is_tensors_of_the_seeds(component: Any) -> None:
    """A memory, where it has one, is tensors that lead with the seeds."""
    evaluator = component.of("digits")
    if isinstance(evaluator, HasMemory):
        for path, leaf in state_tree.flatten(evaluator.begin(torch.arange(_SEEDS))).items():
            assert torch.is_tensor(leaf), f"memory{path} is a {type(leaf).__name__}, not a tensor"
            assert leaf.shape[:1] == (_SEEDS,), f"memory{path} has shape {list(leaf.shape)} for {_SEEDS} seeds"


def memories_of_seeds_stay_apart(component: Any) -> None:
    """With a memory too, a seed is answered alike alone and among others, wherever it stands, bitwise."""
    evaluator = component.of("digits")
    if isinstance(evaluator, HasMemory):
        together = _remembered(evaluator, torch.tensor([4, 7, 5]))
        for place, seed in ((0, 4), (2, 5)):
            alone = _remembered(evaluator, torch.tensor([seed]))
            for (path, ours), (_, theirs) in zip(alone.items(), together.items()):
                same = torch.equal(ours[0].nan_to_num(-1), theirs[place].nan_to_num(-1))
                assert same, f"{path} of seed {seed} differs between 1 seed and 3"


def answers_are_functions_of_the_memory(component: Any) -> None:
    """An answer with a memory leaves the memory as it was, and resumes from a saved one, bitwise."""
    evaluator = component.of("digits")
    if not isinstance(evaluator, HasMemory):
        return
    seeds = torch.arange(_SEEDS)
    whole = _remembered(evaluator, seeds)
    held = evaluator.begin(seeds)
    for step in range(_STEPS):
        before = {path: leaf.clone() for path, leaf in state_tree.flatten(held).items()}
        # Asked anew in each step, as a session that resumes does.
        results, after = evaluator.load_with_memory(seeds)(_proposal(evaluator, seeds, step), held)
        for path, leaf in state_tree.flatten(held).items():
            assert torch.equal(leaf, before[path]), f"an answer changes memory{path} in place"
        copied = {path: leaf.clone() for path, leaf in state_tree.flatten(after).items()}
        held = state_tree.unflatten(after, copied)
    for path, leaf in (state_tree.flatten(results) | state_tree.flatten(held, "memory")).items():
        if path != "/cost":  # Measured seconds.
            same = torch.equal(leaf.nan_to_num(-1), whole[path].nan_to_num(-1))
            assert same, f"{path} differs where the memory was saved and taken up again"


def _remembered(evaluator: Any, seeds: torch.Tensor) -> dict[str, torch.Tensor]:
    """Results and memory after some steps; without the seconds, which are measured."""
    evaluate, memory = evaluator.load_with_memory(seeds), evaluator.begin(seeds)
    for step in range(_STEPS):
        results, memory = evaluate(_proposal(evaluator, seeds, step), memory)
    found = state_tree.flatten(results) | state_tree.flatten(memory, "memory")
    return {path: leaf for path, leaf in found.items() if path != "/cost"}


def _proposal(evaluator: Any, seeds: torch.Tensor, step: int) -> Proposal:
    """Architectures in the first and last step, mixtures between."""
    archs, choices = _sampling.sample(evaluator.space, seeds, step, 2), evaluator.space.choices
    if step % 2 == 0:
        return Proposal(archs)
    logits = _noise.normal(seeds, step, 2, len(choices), max(choices))
    return Proposal(archs, weights=logits.masked_fill(_sampling.padding_mask(choices), -torch.inf).softmax(-1))


LAWS = [
    says_what_it_is,
    scores_have_a_seed_and_an_architecture_axis,
    scores_are_functions_of_the_proposal,
    memory_is_tensors_of_the_seeds,
    memories_of_seeds_stay_apart,
    answers_are_functions_of_the_memory,
]
