"""A search space as a run keeps it: shown by its names alone, or built by its own code."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from nas import plugins
from nas.run.config import RunConfig
from search_spaces import Space, Task, UserError, _measured, as_cell_space


class StoredSpace(NamedTuple):
    """A space as a run keeps it."""

    component: str
    """What `plugins.load` finds it by."""
    name: str
    choices: tuple[int, ...]
    decisions: tuple[str, ...]
    operations: tuple[tuple[str, ...], ...]
    edges: tuple[tuple[int, int], ...] | None = None
    """Of a space of cells."""
    skeleton: tuple[int, int, int] | None = None
    """Channels, cells, stem stride of its network, where it is NAS-Bench-201's."""

    @property
    def ours(self) -> bool:
        """Whether the package has it."""
        return not plugins.is_outside(self.component) and self.component.replace("-", "_") in plugins.names("space")


@dataclass(frozen=True)
class NamedSpace:
    """A space of somebody else's by what a run keeps of it: it can be drawn and described, not built."""

    name: str
    choices: tuple[int, ...]
    decisions: tuple[str, ...]
    operations: tuple[tuple[str, ...], ...]
    edges: tuple[tuple[int, int], ...] | None
    texts: dict[tuple[int, ...], str] = field(default_factory=dict, repr=False)
    """How its own space described the architectures of the run."""

    def describe(self, arch: Tensor) -> str:
        picked = tuple(arch.tolist())
        return self.texts.get(picked) or ", ".join(names[c] for names, c in zip(self.operations, picked))

    def valid(self, archs: Tensor) -> Tensor:
        return ((archs >= 0) & (archs < torch.tensor(self.choices))).all(-1)

    def canonical(self, archs: Tensor) -> Tensor:
        return archs

    def build(self, arch: Tensor, task: Task) -> nn.Module:
        raise UserError(f"Space '{self.name}' is not loaded; it only shows what a run found.")

    def parse(self, text: str) -> Tensor:
        for arch, known in self.texts.items():
            if known == text:
                return torch.tensor(arch)
        raise UserError(f"No architecture of the run is called '{text}'.")


def of(config: RunConfig, space: Space) -> StoredSpace:
    """What a run of a configuration keeps of a space."""
    space = _measured.whole_of(space)  # A table of a part of it says which part, not another space.
    cells = as_cell_space(space)
    asked, of_class = config.training_options.get("space", ""), type(space)
    if of_class.__module__.startswith("search_spaces."):
        component = of_class.__module__.rpartition(".")[2]
    elif asked:
        component = asked
    else:  # That of somebody's evaluator, or one typed into a prompt.
        try:
            component = f"{inspect.getsourcefile(of_class)}:{of_class.__qualname__}"
        except TypeError:
            component = f"{of_class.__module__}:{of_class.__qualname__}"
    return StoredSpace(
        component, space.name, space.choices, space.decisions, space.operations,
        None if cells is None else cells.edges, None if cells is None else cells.skeleton,
    )  # fmt: skip


def built(kept: StoredSpace) -> Space:
    """The space itself, to build networks in: of an outside one this runs its code. Raises `UserError` where it has changed."""
    if kept.ours:
        return ours(kept)
    space = _in_its_size(plugins.load("space", kept.component)(), kept)
    if tuple(space.choices) != kept.choices:
        raise UserError(f"Space '{kept.component}' has other choices than when the run began; its networks are others.")
    return space


def ours(kept: StoredSpace) -> Space:
    """One of our own spaces."""
    return _in_its_size(plugins.load("space", kept.component)(), kept)


def _in_its_size(space: Space, kept: StoredSpace) -> Space:
    cells = as_cell_space(space)
    return space if cells is None or kept.skeleton is None else cells.proxy(*kept.skeleton)


def from_json(kept: dict[str, Any]) -> StoredSpace:
    """The inverse of `_asdict` after JSON. Raises `ValueError`, `KeyError` or `TypeError` for what is none."""
    edges, skeleton = kept["edges"], kept["skeleton"]
    operations = tuple(tuple(map(str, names)) for names in kept["operations"])
    choices, decisions = tuple(map(int, kept["choices"])), tuple(map(str, kept["decisions"]))
    if not len(choices) == len(decisions) == len(operations) or tuple(map(len, operations)) != choices:
        raise ValueError("choices, decisions and operations that do not fit together")
    return StoredSpace(
        str(kept["component"]), str(kept["name"]), choices, decisions, operations,
        None if edges is None else tuple((int(a), int(b)) for a, b in edges),
        None if skeleton is None else (int(skeleton[0]), int(skeleton[1]), int(skeleton[2])),
    )  # fmt: skip
