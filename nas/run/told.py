"""What a search driven from outside is told: architectures in any of their forms, and numbers.

Shapes: `D` decisions, `A` objectives.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch

from controller.candidates.pending import Group
from nas.evaluation_file import LARGEST
from nas.run.subject import KeptAim
from nas.types import Architecture
from search_spaces import Space, UserError


class Told(NamedTuple):
    """An evaluation that was told."""

    architecture: Architecture
    score: float
    """NaN where it failed. Of several objectives the first."""
    seconds: float
    values: tuple[float, ...] = ()
    """Of each objective, as it was told; empty where the score is the only one."""


class Given(NamedTuple):
    """An architecture that was told, as a group of one."""

    group: Group

    @property
    def key(self) -> tuple[int, ...]:
        return self.group.work()[0]


def listed(given: Any) -> list[Any]:
    """The elements of a list, an array or the like; a number, a text or None is a list of itself."""
    if isinstance(given, (str, Mapping)) or getattr(given, "ndim", 1) == 0 or not isinstance(given, Iterable):
        return [given]
    return list(given)


def read_architectures(given: Any, space: Space) -> tuple[list[Given], bool]:
    """Of one architecture in any form, or of several; and whether it was one.

    Raises `UserError` for what is no architecture of the space.
    """
    elements = [given] if isinstance(given, Architecture) else listed(given)
    # A row of numbers is an architecture, and a table of rows is several.
    row = bool(elements) and all(getattr(x, "ndim", 1) == 0 or isinstance(x, (int, float)) for x in elements)
    one = isinstance(given, (Architecture, str)) or row
    return [_read_architecture(a, space) for a in ([given] if one else elements)], one


def _read_architecture(given: Any, space: Space) -> Given:
    epochs = given.epochs if isinstance(given, Architecture) else None
    try:
        row = given.indices if isinstance(given, Architecture) else given
        arch = space.parse(given) if isinstance(given, str) else torch.as_tensor(row)
    except UserError:
        raise
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise UserError(f"{given!r} is no architecture of space '{space.name}'.") from None
    whole = arch.shape == (len(space.choices),) and not (arch.is_floating_point() or arch.is_complex())
    if not whole or not bool(space.valid(arch[None]).all()):
        raise UserError(f"{arch.tolist()} is no architecture of space '{space.name}'.")
    return Given(Group(arch.long()[None], None if epochs is None else torch.tensor([epochs])))


def _as_float(value: Any) -> float:
    if isinstance(value, (str, bool)):  # "3" is a text here, and True an answer.
        raise TypeError("no number")
    return float(value)


def read_numbers(what: str, values: Iterable[Any], count: int, *, failing: bool = False) -> list[float]:
    """As floats. Raises `UserError` for another number of them, and for one that is none."""
    found = [*values]
    if len(found) != count:
        many = what.replace("number", "numbers") if "number" in what else f"{what}s"
        raise UserError(f"{count} architectures are told with {len(found)} {many}; it takes one each.")
    read = []
    for value in found:
        try:
            number = math.nan if value is None and failing else _as_float(value)
        except (TypeError, ValueError, OverflowError, RuntimeError):
            raise UserError(f"{value!r} is no {what}; it takes a number.") from None
        if abs(number) > LARGEST or (math.isnan(number) and not failing) or (not failing and number < 0):
            raise UserError(
                f"{number} is no {what}; it takes a number of at most {LARGEST:.1e}"
                + (", or NaN where it failed." if failing else ", zero or more.")
            )
        read.append(number)
    return read


def read_aims(aims: str | Sequence[str]) -> tuple[KeptAim, ...]:
    """Objectives as `--aim` has them: the first is raised, the others are lowered, unless `NAME:max` says otherwise.

    Raises `UserError` for fewer than two, and for one that is there twice; empty for none.
    """
    words = aims.split(",") if isinstance(aims, str) else listed(aims)
    if not all(isinstance(word, str) for word in words):
        raise UserError(f"aims is {aims!r}; it takes names of objectives, as 'accuracy,latency'.")
    words = [word.strip() for word in words]
    if not any(words):
        return ()
    found = []
    for at, word in enumerate(words):
        name, colon, direction = word.rpartition(":")
        said = bool(colon) and direction in ("max", "min")
        found.append(KeptAim(name if said else word, direction == "max" if said else at == 0))
    names = [aim.name for aim in found]
    if not found[0].maximize:
        raise UserError(f"aims begins with '{words[0]}'; the first objective is the score, which is raised.")
    if len(names) < 2 or not all(names) or len(set(names)) < len(names):
        raise UserError(f"aims is {aims!r}; it takes two objectives or more, each once, as 'accuracy,latency'.")
    return tuple(found)


def read_objectives(values: Sequence[Any], aims: tuple[KeptAim, ...]) -> list[tuple[float, ...]]:
    """The objectives of each evaluation, from dicts by name or sequences in their order; all NaN where one failed (None).

    Raises `UserError` for one that lacks an objective, and for numbers that are none.
    """
    names, found = [aim.name for aim in aims], []
    for value in values:
        if isinstance(value, Mapping):
            missing = [name for name in names if name not in value]
            if missing:
                raise UserError(f"What was told lacks '{missing[0]}'; the objectives are {', '.join(names)}.")
            value = [value[name] for name in names]
        failed = value is None or (isinstance(value, float) and math.isnan(value))
        value = [None] * len(names) if failed else value if isinstance(value, (str, Mapping)) else listed(value)
        if isinstance(value, str) or len(value) != len(names):
            raise UserError(f"{value!r} was told; it takes {len(names)} numbers, or a dict: {', '.join(names)}.")
        row = tuple(read_numbers("score", value, len(names), failing=True))
        found.append((math.nan,) * len(names) if any(map(math.isnan, row)) else row)
    return found
