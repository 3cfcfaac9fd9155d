"""Proposals of a controller while earlier ones are not told yet: it proposes so many more, and what is pending is left out.

So its own way to make a batch diverse serves. Where it repeats itself all the same, it is told a lie of what it proposed, the
mean of the scores known (constant liar, Ginsbourger et al. 2010, "Kriging is well-suited to parallelize optimization", section
4.2), and asked again; the state that was lied to is thrown away. Lies of all that is pending were worse: they fill the population
of evolution (256 evaluations by 16 workers on own201/digits, `runs/workers.sh`: 96.93 in place of 97.46, standard error 0.13).
Shapes: `B` architectures, `D` decisions; one search, so that `S` is 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from controller._base import Controller, Proposal, Results, State
from controller.candidates import checks
from search_spaces import Space, UserError, _ops, _sampling

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
    arm: Tensor | None = None
    """int64 `[B]` as `Proposal.arm`."""

    @classmethod
    def of(cls, proposal: Proposal) -> Group:
        """What a proposal of one search asks for."""
        epochs, arm = (None if x is None else x[0] for x in (proposal.epochs, proposal.arm))
        return cls(proposal.archs[0], epochs, arm)

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
        epochs, arm = (None if x is None else x[None] for x in (self.epochs, self.arm))
        return Proposal(self.archs[None], epochs, arm=arm)

    def rows(self, keep: list[int]) -> Group:
        """Some of it."""
        epochs, arm = (None if x is None else x[keep] for x in (self.epochs, self.arm))
        return Group(self.archs[keep], epochs, arm)


def as_json(groups: Sequence[Group]) -> list[Any]:
    """As a run keeps them."""
    return [[None if x is None else x.tolist() for x in group] for group in groups]


def from_json(kept: list[Any], space: Space) -> list[Group]:
    """The inverse of `as_json`. Raises `UserError` for what is no architecture of the space: the file is damaged."""
    try:
        # Runs of earlier versions keep no arm.
        groups = [
            Group(torch.tensor(archs), *(None if x is None else torch.tensor(x) for x in more)) for archs, *more in kept
        ]
        if not all(_is_whole(group, space) for group in groups):
            raise ValueError("no architecture of the space")
    except (ValueError, TypeError, RuntimeError) as error:
        raise UserError(f"The run keeps evaluations under way that cannot be read ({error}).") from None
    return groups


def _is_whole(group: Group, space: Space) -> bool:
    """Whether a group has rows of the space, and epochs above zero and arms for each or for none."""
    archs, epochs, arm = group
    alike = archs.dim() == 2 and archs.shape[1] == len(space.choices) and archs.dtype == torch.int64
    if not alike or not bool(space.valid(archs).all()):
        return False
    if arm is not None and (arm.shape != archs.shape[:1] or arm.dtype != torch.int64):
        return False
    return epochs is None or (
        epochs.shape == archs.shape[:1] and epochs.dtype == torch.int64 and bool((epochs > 0).all())
    )


def ask(
    controller: Controller, state: State, pending: Sequence[Group], count: int, mean: float, cost: float, seed: int
) -> Group:
    """The next `count` evaluations of a search (`S` = 1), none of which is pending or twice among them.

    Args:
        state: after all that is told. It changes with each group that is told, in whole or in part, and so do proposals.
        mean, cost: of the evaluations told so far; what a controller that repeats itself is told.
        seed: of what is drawn where the controller does not stop repeating itself.

    Raises `UserError` where every architecture of the space is pending.
    """
    taken = {key for group in pending for key in group.work()}
    found: list[Group] = []
    missing, batch = count, count + len(taken)
    for _ in range(_ROUNDS):
        proposal = controller.propose(state, batch)
        checks.proposal(controller, proposal, 1, batch)
        group = Group.of(proposal)
        fresh = []
        for at, key in enumerate(group.work()):
            if len(fresh) < missing and key not in taken:
                taken.add(key)
                fresh.append(at)
        if fresh:
            found.append(group.rows(fresh))
            missing -= len(fresh)
        if not missing:
            break
        state = _lie(controller, state, group, mean, cost)
    if missing:
        like = found[0].rows([0]) if found else Group.of(controller.propose(state, 1))
        found.append(_draw(controller, taken, missing, seed, like))
    archs, *more = zip(*found)
    return Group(torch.cat(archs), *(None if any(x is None for x in column) else torch.cat(column) for column in more))


def _lie(controller: Controller, state: State, group: Group, mean: float, cost: float) -> State:
    B = len(group.archs)
    return controller.learn(state, group.proposal(), Results(torch.full((1, B), mean), torch.full((1, B), cost)))


def _draw(controller: Controller, taken: set[tuple[int, ...]], count: int, seed: int, like: Group) -> Group:
    """Of the epochs and the arm of `like`, a group of one."""
    space, drawn = controller.space, []
    epochs, arm = like.epochs, like.arm
    for step in range(_DRAWS):
        archs = _sampling.sample(space, torch.tensor([seed]), len(taken) * _DRAWS + step, _DRAWS, stream=_STREAM)[0]
        group = Group(archs, None if epochs is None else epochs.expand(_DRAWS))
        drawn += [archs[at] for at, key in enumerate(group.work()) if not (key in taken or taken.add(key))]
        if len(drawn) >= count:
            epochs, arm = (None if x is None else x.expand(count) for x in (epochs, arm))
            return Group(torch.stack(drawn[:count]), epochs, arm)
    raise UserError(
        f"Space '{space.name}' has {_ops.size(space.choices):,} combinations, too few for what is asked for beside what is "
        "pending; ask for fewer, or tell some first."
    )
