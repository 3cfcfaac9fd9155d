"""Proposals of a controller while earlier ones are not told yet: it is told a lie of each, as of an evaluation that has ended.

The lie is the mean of the scores known (constant liar, Ginsbourger et al. 2010, "Kriging is well-suited to parallelize
optimization", section 4.2): a controller that believes it does not propose the same again, and learns nothing false, as the state
that was lied to is thrown away.
Shapes: `B` architectures, `D` decisions; one search, so that `S` is 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from controller._base import Controller, Proposal, Results, State
from search_spaces import UserError, _ops, _sampling

_ROUNDS = 8
"""Proposals in which a controller may repeat what is pending, before the rest is drawn at random. Not ablated."""
_DRAWS = 64
"""Random architectures of a round, and as many rounds, until one is found that is not pending."""
_STREAM = 77


class Group(NamedTuple):
    """What was asked for at once, or the part of it that is not told yet."""

    archs: Tensor
    """int64 `[B, D]`."""
    epochs: Tensor | None = None
    """int64 `[B]` of each; None: the task's own."""

    def work(self) -> list[tuple[int, ...]]:
        """A key for each evaluation: two of one key are the same work."""
        rows = self.archs.tolist()
        return (
            [(*row, -1) for row in rows]
            if self.epochs is None
            else [(*r, e) for r, e in zip(rows, self.epochs.tolist())]
        )

    def proposal(self) -> Proposal:
        """As its controller made it."""
        return Proposal(self.archs[None], None if self.epochs is None else self.epochs[None])

    def rows(self, keep: list[int]) -> Group:
        """Some of it."""
        return Group(self.archs[keep], None if self.epochs is None else self.epochs[keep])


def as_json(groups: Sequence[Group]) -> list[Any]:
    """As a run keeps them."""
    return [[g.archs.tolist(), None if g.epochs is None else g.epochs.tolist()] for g in groups]


def from_json(kept: list[Any]) -> list[Group]:
    """The inverse of `as_json`."""
    return [Group(torch.tensor(archs), None if epochs is None else torch.tensor(epochs)) for archs, epochs in kept]


def ask(
    controller: Controller, state: State, pending: Sequence[Group], count: int, mean: float, cost: float, seed: int
) -> Group:
    """The next `count` evaluations of a search (`S` = 1), none of which is pending or twice among them.

    Args:
        state: after all that is told. It changes with each group that is told, in whole or in part, and so do proposals.
        mean, cost: of the evaluations told so far; what the controller believes of the pending ones.
        seed: of what is drawn where the controller does not stop repeating itself.

    Raises `UserError` where every architecture of the space is pending.
    """
    taken = {key for group in pending for key in group.work()}
    for group in pending:
        state = _lie(controller, state, group, mean, cost)
    found: list[Group] = []
    missing = count
    for _ in range(_ROUNDS):
        proposal = controller.propose(state, missing)
        group = Group(proposal.archs[0], None if proposal.epochs is None else proposal.epochs[0])
        fresh = [at for at, key in enumerate(group.work()) if not (key in taken or taken.add(key))]
        if fresh:
            found.append(group.rows(fresh))
            missing -= len(fresh)
        if not missing:
            break
        state = _lie(controller, state, group, mean, cost)
    if missing:
        epochs = None if not found or found[0].epochs is None else found[0].epochs[:1]
        found.append(_draw(controller, taken, missing, seed, epochs))
    return Group(
        torch.cat([group.archs for group in found]),
        None if any(group.epochs is None for group in found) else torch.cat([g.epochs for g in found]),  # pyright: ignore
    )


def _lie(controller: Controller, state: State, group: Group, mean: float, cost: float) -> State:
    B = len(group.archs)
    return controller.learn(state, group.proposal(), Results(torch.full((1, B), mean), torch.full((1, B), cost)))


def _draw(controller: Controller, taken: set[tuple[int, ...]], count: int, seed: int, epochs: Tensor | None) -> Group:
    space, drawn = controller.space, []
    for step in range(_DRAWS):
        archs = _sampling.sample(space, torch.tensor([seed]), len(taken) * _DRAWS + step, _DRAWS, stream=_STREAM)[0]
        group = Group(archs, None if epochs is None else epochs.expand(_DRAWS))
        drawn += [archs[at] for at, key in enumerate(group.work()) if not (key in taken or taken.add(key))]
        if len(drawn) >= count:
            return Group(torch.stack(drawn[:count]), None if epochs is None else epochs.expand(count))
    raise UserError(
        f"Space '{space.name}' has {_ops.size(space.choices):,} combinations and {len(taken)} are pending already; tell some "
        f"before asking for {count} more."
    )
