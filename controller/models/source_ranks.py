"""What a portfolio is made of: how the tasks and devices that a prior knows rank the few architectures worth copying.

Copying wants the order at the very top, which principal components blur. So the best architectures of each source task are kept
with their exact ranks, those that are best within a limit on each known cost among them.

Shapes: `N` architectures of a space, `M` of them kept, `T` source tasks, `P` costs.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

QUANTITIES = ("latency", "energy", "params", "flops", "train_seconds")
KINDS = ("gpu", "cpu", "phone", "board", "fpga", "accelerator")
"""Kinds of devices. A number in a file is a place in one of these, -1 for what is none of them: they may grow at their ends."""
SHARES = (0.1, 0.3, 0.5, 0.7)
"""Shares of a space within which architectures are kept, so that there are some for any limit."""


class SourceRanks(NamedTuple):
    """Of one space. Numbers that are whole are held as fractions, as all of a prior's tensors are."""

    rows: Tensor
    """float32 `[M]` the architectures kept, by their rows in the list of the space's valid ones, rising."""
    ranks: Tensor
    """float16 `[M, T]` log(1 + how many architectures of the space a task ranks higher)."""
    tasks: Tensor
    """float32 `[T]` which task of the prior each source is."""
    families: Tensor
    """float32 `[T]` which family of the prior it is of."""
    shares: Tensor
    """float32 `[T]` how likely a new task follows each: its family's probability, shared among the family's sources."""
    costs: Tensor
    """float16 `[M, P]` the share of the space that costs less."""
    cost_kinds: Tensor
    """float32 `[P, 3]` of each cost the place in `QUANTITIES`, that in `KINDS`, and 1 for a mean over devices, else 0."""

    def only(self, kept: Tensor) -> SourceRanks:
        """Of some of the architectures, by a mask bool `[M]`."""
        return self._replace(rows=self.rows[kept], ranks=self.ranks[kept], costs=self.costs[kept])


def place(among: tuple[str, ...], name: str | None) -> int:
    """Where a name is in `QUANTITIES` or `KINDS`; -1 where it is none of them."""
    return among.index(name) if name in among else -1
