"""A step and the leaves of a state as a run's database holds them: written, and read back with one check of each.

Shapes: `S` seeds, `B` architectures a step, `D` decisions, `L` constraints.
"""

from __future__ import annotations

import sqlite3
from typing import Any, NamedTuple

import safetensors.torch
import torch
from torch import Tensor

from controller import Proposal, Results
from search_spaces import UserError

_MOST_SECONDS = 1e9
"""Of a step: more are no measurement."""


def packed(proposal: Proposal, results: Results) -> bytes:
    """A step as `step` reads it."""
    archs = proposal.archs
    archs = archs.to(
        torch.uint8 if int(archs.max()) < 256 else torch.int32
    )  # A width, say, may have a thousand options.
    data = {"archs": archs, "score": results.score, "cost": results.cost}
    if results.constraint_ratio is not None:
        data["constraint_ratio"] = results.constraint_ratio
    if results.objectives is not None:
        data["objectives"] = results.objectives
    if proposal.epochs is not None:
        data["epochs"] = proposal.epochs
    if results.provisional is not None:
        data["provisional"] = results.provisional
    return safetensors.torch.save({k: v.contiguous() for k, v in data.items()})


class Step(NamedTuple):
    """A step as it was stored."""

    proposal: Proposal
    results: Results
    wall: float
    """Seconds."""


def step(run: str, number: int, wall: Any, blob: Any, seeds: int) -> Step:
    """A step of a run of `seeds` searches. Raises `UserError` for one that no search stores."""
    what = f"Step {number} of run '{run}'"
    data = _tensors(what, blob)
    ratio = data.get("constraint_ratio", data.get("over"))  # 0.1 wrote `over`.
    archs, score, cost, epochs = (data.get(name) for name in ("archs", "score", "cost", "epochs"))
    provisional, objectives = data.get("provisional"), data.get("objectives")
    of_each = (score, cost, epochs, ratio, provisional, objectives)
    if archs is None or score is None or cost is None:
        raise UserError(f"{what} lacks its architectures, scores or costs.")
    if archs.dim() != 3 or len(archs) != seeds or not archs.numel() or any(
        t is not None and (t.shape[:2] != archs.shape[:2] or t.dim() != 2 + (t is ratio or t is objectives)) for t in of_each
    ):  # fmt: skip
        raise UserError(f"{what} has other shapes than a step of {seeds} seeds.")
    whole = [t for t in (archs, epochs) if t is not None]
    fractions = [t for t in (score, cost, ratio, objectives) if t is not None]
    if (
        any(t.is_floating_point() or t.dtype == torch.bool for t in whole)
        or any(t.dtype != torch.float32 for t in fractions)
        or (provisional is not None and provisional.dtype != torch.bool)
    ):
        raise UserError(f"{what} has numbers of other types than a step.")
    if any(bool((t < 0).any()) for t in whole) or bool(score.isinf().any()) or bool((cost < 0).any()):
        raise UserError(
            f"{what} has a number that no step has: a choice, epochs or seconds below 0, or an infinite score."
        )
    if not isinstance(wall, int | float) or not 0 <= wall < _MOST_SECONDS:
        raise UserError(f"{what} took '{wall}' seconds; it takes a number.")
    results = Results(score, cost, ratio, provisional=provisional, objectives=objectives)
    return Step(Proposal(archs.long(), epochs), results, float(wall))


def check_together(run: str, steps: list[Step], numbers: list[Any]) -> None:
    """Raises `UserError` where steps one by one are whole and do not belong together."""
    if numbers != list(range(len(numbers))):
        raise UserError(f"The steps of run '{run}' are not numbered from 0 on: one is missing.")
    rest = [(s.results.constraint_ratio, s.results.objectives) for s in steps]
    kinds = {
        (s.proposal.archs.shape[2], *(None if t is None else t.shape[2] for t in both)) for s, both in zip(steps, rest)
    }
    if len(kinds) > 1:
        raise UserError(
            f"The steps of run '{run}' are of architectures with different numbers of decisions, constraints or objectives."
        )


def leaf(run: str, path: Any, blob: Any) -> Tensor:
    """A leaf of the state. Raises `UserError` for one that is none."""
    tensors = _tensors(f"Leaf '{path}' of the state of run '{run}'", blob)
    if tensors.keys() != {"_"} or not isinstance(path, str):
        raise UserError(f"Leaf '{path}' of the state of run '{run}' is not one tensor.")
    return tensors["_"]


def check_leaf(run: str, path: str, found: Tensor, begun: Tensor) -> None:
    """Raises `UserError` for a leaf of other shape or type than the controller's own at the beginning of a search.

    A leaf may have grown along all its axes but that of the seeds.
    """
    alike = found.dim() == begun.dim() and found.dtype == begun.dtype and found.shape[:1] == begun.shape[:1]
    if not alike:
        raise UserError(
            f"Leaf '{path}' of the state of run '{run}' is {found.dtype} {list(found.shape)}, which the controller does not "
            "keep; `nas show` shows the run, but it cannot go on."
        )


def _tensors(what: str, blob: Any) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load(blob)
    except Exception as error:  # Whatever the bytes are taken for.
        raise UserError(f"{what} cannot be read ({type(error).__name__}: {' '.join(str(error).split())}).") from None


def write_state(
    connection: sqlite3.Connection, before: dict[str, Tensor], after: dict[str, Tensor], table: str = "state"
) -> None:
    """Make the leaves in `table`, which are `before`, those of `after`; inside a transaction.

    A leaf that is the very tensor it was is not written again.
    """
    for path in before.keys() - after.keys():
        connection.execute(f"delete from {table} where path = ?", (path,))
    for path, leaf in after.items():
        if before.get(path) is not leaf:
            blob = safetensors.torch.save({"_": leaf.detach().contiguous()})
            connection.execute(f"insert or replace into {table} values (?, ?)", (path, blob))
