"""Optimizers of others as controllers: any object that is asked, told, and can say its state.

Shapes: `S` searches, `B` architectures, `D` decisions, `Z` bytes.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from controller._base import Prior, Proposal, Results
from search_spaces import Space, Task, UserError

__all__ = ["AskTell", "Optimizer"]


class Optimizer(Protocol):
    """What is wrapped: an optimizer of one search."""

    def ask(self, count: int) -> Iterable[Iterable[int]]:
        """The next `count` architectures, a row of `D` whole numbers each."""
        ...

    def tell(self, archs: list[list[int]], scores: list[float]) -> None:
        """What `ask` gave last, and the score of each, the higher the better; NaN where it failed."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """All that changes, its random numbers with it: tensors, numbers, texts, and lists and dicts of these."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Become what `state_dict` gave the state of."""
        ...


class State(NamedTuple):
    seeds: Tensor
    """int64 `[S]`."""
    step: Tensor
    """int64 `[S]` steps taken."""
    stored: Tensor
    """uint8 `[S, Z]` each optimizer's state, padded with zeros."""
    length: Tensor
    """int64 `[S]` bytes of it."""


@dataclass(frozen=True)
class AskTell:
    """Subclass it and write `make`. The optimizer's state is kept in bytes that hold no code, and so a run resumes bitwise.

    An optimizer that asks must do so as a function of its state: random numbers of its own are part of `state_dict`.
    """

    space: Space

    def make(self, task: Task, seed: int) -> Optimizer:
        """A fresh optimizer of one search in `self.space`.

        It is called again before each step, with a task of no meaning, and given its state: keep there what `task` says.
        """
        raise NotImplementedError

    def begin(self, task: Task, seeds: Tensor, prior: Prior | None = None) -> State:
        made = [self.make(task, seed) for seed in seeds.tolist()]
        return self._state(seeds, torch.zeros_like(seeds), made)

    def propose(self, state: State, batch: int) -> Proposal:
        return Proposal(torch.stack([self._asked(o, batch) for o in self._optimizers(state)]))

    def learn(self, state: State, proposal: Proposal, results: Results) -> State:
        optimizers = self._optimizers(state)
        for optimizer, archs, scores in zip(optimizers, proposal.archs, results.score):
            # Asked again, as `propose` gave its optimizers away: asking moves its random numbers on.
            self._asked(optimizer, len(archs))
            optimizer.tell(archs.tolist(), scores.tolist())
        return self._state(state.seeds, state.step + 1, optimizers)

    def _asked(self, optimizer: Optimizer, batch: int) -> Tensor:
        archs = torch.tensor([[int(choice) for choice in arch] for arch in optimizer.ask(batch)])
        if archs.shape != (batch, len(self.space.choices)) or not bool(self.space.valid(archs).all()):
            raise UserError(
                f"{type(self).__name__} proposed {archs.tolist()}; it takes {batch} architectures of space '{self.space.name}'."
            )
        return archs

    def _optimizers(self, state: State) -> list[Optimizer]:
        found = []
        for seed, stored, length in zip(state.seeds.tolist(), state.stored, state.length.tolist()):
            optimizer = self.make(_ANY, seed)
            optimizer.load_state_dict(torch.load(io.BytesIO(stored[:length].numpy().tobytes()), weights_only=True))
            found.append(optimizer)
        return found

    def _state(self, seeds: Tensor, step: Tensor, optimizers: list[Optimizer]) -> State:
        written = [_bytes(optimizer.state_dict()) for optimizer in optimizers]
        # Twice as long each time: so that a search in company has the shape that it has alone, but where a state outgrows it.
        longest = max(_LEAST, 1 << (max(map(len, written)) - 1).bit_length())
        stored = torch.stack([torch.nn.functional.pad(w, (0, longest - len(w))) for w in written])
        return State(seeds, step, stored, torch.tensor([len(w) for w in written]))


_LEAST = 1 << 14
"""Bytes that any state has room for."""
_ANY = Task("any", (3, 32, 32), 10, data_known=False)
"""Of an optimizer that takes its state right after: what the task was told it is part of that."""


def _bytes(state: dict[str, Any]) -> Tensor:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return torch.frombuffer(bytearray(buffer.getvalue()), dtype=torch.uint8)
