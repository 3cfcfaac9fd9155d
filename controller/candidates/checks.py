"""What components hand over, checked before it is used or stored: one line names the component and the rule that it breaks.

Shapes: `S` searches side by side, `B` architectures a step, `D` decisions, `C` choices. Every check raises `UserError`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from controller._base import Controller, Proposal, Results
from search_spaces import UserError

_TRY = "`nas check` tries a component"


def state(controller: Controller, found: Any, searches: int | None = None) -> int:
    """A controller's state: nested `NamedTuple`s of tensors that lead with `S`. How many searches it is of.

    Args:
        searches: so many it has to be of; None: whatever its first tensor says.
    """
    name, leaves = type(controller).__name__, [*_leaves(found, "state")]
    if not leaves:
        raise UserError(f"The state of {name} has no tensor; it keeps `seeds` and `step`, int64 [S], at least. {_TRY}.")
    for path, leaf in leaves:
        if not isinstance(leaf, Tensor):
            raise UserError(f"{path} of {name} is {named(leaf)}; a state is a NamedTuple of tensors [S, ...]. {_TRY}.")
        searches = (len(leaf) if leaf.dim() else 1) if searches is None else searches
        if leaf.shape[:1] != (searches,):
            raise UserError(
                f"{path} of {name} has shape {list(leaf.shape)} in {searches} searches; a state's tensors are [S, ...]. {_TRY}."
            )
    assert searches is not None
    return searches


def _leaves(tree: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Paths and leaves of nested `NamedTuple`s and dicts; None is no leaf."""
    if tree is None:
        return
    branches = tree._asdict() if hasattr(tree, "_asdict") else tree
    if not isinstance(branches, dict):
        yield path, tree
        return
    for key, branch in branches.items():
        yield from _leaves(branch, f"{path}.{key}")


def proposal(controller: Controller, found: Any, searches: int, batch: int) -> None:
    """A controller's proposal: valid architectures, int64 `[S, B, D]`."""
    name, space = type(controller).__name__, controller.space
    if not isinstance(found, Proposal):
        raise UserError(f"{name} proposes {named(found)}; it takes a Proposal of archs [S, B, D]. {_TRY}.")
    choices = tuple(space.choices)
    shape = (searches, batch, len(choices))
    for field, dtype, takes in (
        ("archs", torch.int64, shape),
        ("epochs", torch.int64, shape[:2]),
        ("weights", torch.float32, (*shape, max(choices))),
        ("resting", torch.bool, shape[:2]),
        ("slopes", torch.bool, shape[:2]),
        ("arm", torch.int64, shape[:2]),
    ):
        value = getattr(found, field)
        if field == "archs" or value is not None:
            _refuse_other_tensor(f"Proposal.{field} of {name}", value, dtype, takes)
    beyond = (found.archs < 0) | (found.archs >= torch.tensor(choices, device=found.archs.device))
    if bool(beyond.any()):
        first = tuple(beyond.nonzero()[0].tolist())
        raise UserError(
            f"{name} proposes choice {int(found.archs[first])} of decision {first[-1]}; space '{space.name}' has choices 0 to "
            f"{choices[first[-1]] - 1} there. {_TRY}."
        )
    valid = space.valid(found.archs)
    if not bool(valid.all()):
        arch = found.archs[~valid][0].tolist()
        raise UserError(f"{name} proposes {arch}, which is not valid in space '{space.name}'. {_TRY}.")
    if found.epochs is not None and not bool((found.epochs > 0).all()):
        raise UserError(f"{name} proposes {int(found.epochs.min())} epochs; it takes 1 or more. {_TRY}.")


def results(found: Any, asked: Proposal) -> None:
    """An evaluator's answer: scores and costs float32 `[S, B]`; a score is NaN where it failed, and never infinite."""
    if not isinstance(found, Results):
        raise UserError(f"The evaluator answers {named(found)}; it takes Results of score and cost. {_TRY}.")
    shape = tuple(asked.archs.shape[:2])
    for field, dtype in (("score", torch.float32), ("cost", torch.float32), ("provisional", torch.bool)):
        value = getattr(found, field)
        if field != "provisional" or value is not None:
            _refuse_other_tensor(f"Results.{field} of the evaluator", value, dtype, shape)
    if bool(found.score.isinf().any()):
        raise UserError(f"A score of the evaluator is infinite; where an evaluation failed it is NaN. {_TRY}.")
    if not bool(((found.cost >= 0) & found.cost.isfinite()).all()):
        wrong = found.cost[~((found.cost >= 0) & found.cost.isfinite())][0].item()
        raise UserError(
            f"A cost of the evaluator is {wrong}; it takes seconds, also where an evaluation failed. {_TRY}."
        )


def _refuse_other_tensor(what: str, found: Any, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    if not isinstance(found, Tensor) or found.dtype != dtype or tuple(found.shape) != shape:
        raise UserError(f"{what} takes a tensor {_of(dtype)} {list(shape)}, not {named(found)}. {_TRY}.")


def named(found: Any) -> str:
    """What a value is, in words."""
    if isinstance(found, Tensor):
        return f"a tensor {_of(found.dtype)} {list(found.shape)}"
    return "None" if found is None else f"an object of type {type(found).__name__}"


def _of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
