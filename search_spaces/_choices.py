"""A search space from a table of named options: everything but the network itself is derived.

Shapes: `D` decisions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, ClassVar

from search_spaces._base import OperationFeatures, Task, UserError

if TYPE_CHECKING:
    from torch import Tensor, nn

MOST_BUILT = 4096
"""Architectures of which each is built to find equivalents: about a minute."""
_ANY = Task("any", (3, 32, 32), 10)
"""What networks are built for to compare them."""
_SEPARATOR = ", "
_FORM = "{decision: {name: value}}"
_LARGEST = math.log(65)
"""Of `OperationFeatures.number`."""


@dataclass(frozen=True)
class Choices:
    """Subclass it, list the `options` of each decision, and write `network`; every combination is valid.

    An option's value is whatever `network` makes a layer of: a module class, a `functools.partial` of one, a number. What it does
    is told to models from there: a number is a number, `None` lets nothing through, `nn.Identity` hands its input on, and
    convolutions and poolings are known by their class and `kernel_size`.
    """

    options: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Of each decision, by its name, the values by theirs."""
    merge_equivalents: ClassVar[bool] = False
    """Find out by itself which architectures compute the same, from what their networks do (`_structure`): each is built once,
    in some milliseconds. For spaces of up to `MOST_BUILT` architectures."""
    all_valid = True

    def network(self, picked: dict[str, Any], task: Task) -> nn.Module:
        """The network of the value `picked` for each decision: images `[N, *task.input_shape]` to logits `[N, num_classes]`."""
        raise UserError(f"Space '{self.name}' has no network; write `def network(self, picked, task)` in its class.")

    @property
    def name(self) -> str:
        """The class's, unless it says otherwise."""
        return type(self).__name__

    @property
    def decisions(self) -> tuple[str, ...]:
        return tuple(self._checked())

    @property
    def operations(self) -> tuple[tuple[str, ...], ...]:
        return tuple(tuple(values) for values in self._checked().values())

    @property
    def choices(self) -> tuple[int, ...]:
        return tuple(map(len, self._checked().values()))

    @property
    def operation_features(self) -> tuple[tuple[OperationFeatures, ...], ...]:
        return tuple(tuple(map(_features, values.values())) for values in self._checked().values())

    def valid(self, archs: Tensor) -> Tensor:
        return ((archs >= 0) & (archs < archs.new_tensor(self.choices))).all(-1)

    def canonical(self, archs: Tensor) -> Tensor:
        """Itself, or with `merge_equivalents` the first that computes the same. Override it where you know better: where some
        decisions do not matter once others are made."""
        if not self.merge_equivalents:
            return archs
        from search_spaces import _ops

        return _ops.from_index(_first_of(self)[_ops.index(archs, self.choices)], self.choices)

    def build(self, arch: Tensor, task: Task) -> nn.Module:
        return self.network(self.picked(arch), task)

    def picked(self, arch: Tensor) -> dict[str, Any]:
        """The value of each decision of `arch` `[D]`."""
        values = (list(values.values()) for values in self._checked().values())
        return {name: options[at] for name, options, at in zip(self.decisions, values, arch.tolist())}

    def describe(self, arch: Tensor) -> str:
        named = zip(self.decisions, self.operations, arch.tolist())
        return _SEPARATOR.join(f"{decision}={names[at]}" for decision, names, at in named)

    def parse(self, text: str) -> Tensor:
        import torch

        parts = [part.partition("=") for part in text.split(_SEPARATOR)]
        given = {decision: option for decision, _, option in parts}
        if list(given) != list(self.decisions):
            raise UserError(
                f"Architecture '{text}' decides {', '.join(given)}; space '{self.name}' takes {', '.join(self.decisions)}."
            )
        at = []
        for decision, names in zip(self.decisions, self.operations):
            if given[decision] not in names:
                raise UserError(f"'{given[decision]}' is no option of '{decision}'; there are: {', '.join(names)}.")
            at.append(names.index(given[decision]))
        return torch.tensor(at)

    def _checked(self) -> Mapping[str, Mapping[str, Any]]:
        """`options`. Raises `UserError` for what no search can decide or no line can name."""
        if not self.options:
            raise UserError(f"Space '{self.name}' has no options; give the class `options = {_FORM}`.")
        if not isinstance(self.options, Mapping):
            raise UserError(f"`options` of space '{self.name}' is {self.options!r:.80}; it takes {_FORM}.")
        for decision, values in self.options.items():
            if not isinstance(values, Mapping):
                raise UserError(f"Decision '{decision}' of space '{self.name}' is {values!r:.80}; it takes {_FORM}.")
            if not values:
                raise UserError(f"Decision '{decision}' of space '{self.name}' has no option; it takes one or more.")
            for text in (decision, *values):
                if not isinstance(text, str) or not text or "=" in text or _SEPARATOR in text or not text.isprintable():
                    raise UserError(
                        f"{text!r} in space '{self.name}' is no name: a text of one line without '=' and '{_SEPARATOR}'."
                    )
        return self.options


@lru_cache(maxsize=8)
def _first_of(space: Choices) -> Tensor:
    """For each architecture by index the index of the first that computes the same, int64 `[N]`."""
    import torch

    from search_spaces import _ops, _structure

    _structure.refuse_large(space.name, math.prod(space.choices), MOST_BUILT)
    archs = _ops.enumerate_all(
        space.choices
    )  # Kept for all: not inside, where it would be of the device without values.
    with torch.device("meta"):
        networks = (space.build(arch, _ANY) for arch in archs)
        texts = [_structure.text(network) for network in networks]
    return torch.tensor(_structure.groups(texts))


def _features(value: Any) -> OperationFeatures:
    """What an option does, as far as its value tells."""
    if value is None:
        return OperationFeatures(none=1.0)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return OperationFeatures(number=math.log1p(max(0.0, value)) / _LARGEST)
    made = value.func if isinstance(value, partial) else value
    kind = getattr(made, "__name__", "")
    if kind == "Identity":
        return OperationFeatures(identity=1.0)
    pooling = "Pool" in kind
    if not pooling and not kind.startswith("Conv"):
        return OperationFeatures(other=1.0)
    size = value.keywords.get("kernel_size", 1) if isinstance(value, partial) else 1
    area = math.prod(size) if isinstance(size, tuple) else size**2
    return OperationFeatures(convolution=float(not pooling), pooling=float(pooling), kernel=area / 9)
