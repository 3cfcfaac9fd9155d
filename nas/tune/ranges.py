"""What a setting may be in a search for settings, from text: `inner_lr=0.01..1:log`, `inner_steps=1..5`, `tasks=4,8,16`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import fields
from typing import Any, NamedTuple

from nas import settings
from search_spaces import UserError

_FORM = "NAME=A,B,C, NAME=LOW..HIGH or NAME=LOW..HIGH:log"


class Range(NamedTuple):
    """Of one setting: a list of values, or an interval."""

    values: tuple[Any, ...] | None
    low: Any = None
    high: Any = None
    log: bool = False


def as_text(values: dict[str, Any]) -> dict[str, str]:
    """Settings as the command line has them."""
    return {n: str(v).lower() if isinstance(v, bool) else str(v) for n, v in values.items()}


def parse(component: type, name: str, texts: tuple[str, ...]) -> dict[str, Range]:
    """The ranges of a component's settings.

    Raises `UserError` for a text of another form, a setting that does not exist, and values that it does not take.
    """
    found: dict[str, Range] = {}
    for text in texts:
        setting, equals, given = text.partition("=")
        if not equals or not given:
            raise UserError(f"--setting is '{text}'; it takes {_FORM}.")
        if setting in found:
            raise UserError(f"--setting {setting} is given twice; say all of its values in one.")
        found[setting] = _range(component, name, setting, given)
    if not found:
        known = ", ".join(f.name for f in fields(component)[1:])
        raise UserError(f"Say what to search by --setting {_FORM}; '{name}' has: {known}.")
    return found


def listed(ranges: dict[str, Range]) -> Iterator[dict[str, str]]:
    """Each value of a list, as settings of their own: what may be refused before a search."""
    for name, found in ranges.items():
        for value in found.values or ():
            yield as_text({name: value})


def defaults(component: type, ranges: dict[str, Range]) -> dict[str, Any] | None:
    """The component's own settings, where they are all within the ranges; else None."""
    own = {f.name: f.default for f in fields(component)[1:] if f.name in ranges}
    inside = all(own[n] in r.values if r.values is not None else r.low <= own[n] <= r.high for n, r in ranges.items())
    return own if inside else None


def _range(component: type, name: str, setting: str, given: str) -> Range:
    def value(text: str) -> Any:
        return settings.typed(name, component, {setting: text})[setting]

    low, dots, rest = given.partition("..")
    if not dots:
        values = tuple(map(value, given.split(",")))
        if len(set(values)) < len(values):
            raise UserError(f"--setting {setting}={given} has a value twice.")
        return Range(values)
    high, colon, scale = rest.partition(":")
    least, most = value(low), value(high)
    if isinstance(least, bool | str):
        raise UserError(f"--setting {setting}={given} is an interval; '{setting}' takes a list of values.")
    if not (math.isfinite(least) and math.isfinite(most)):
        raise UserError(f"--setting {setting}={given} has no end; an interval takes two finite numbers.")
    if least >= most:
        raise UserError(f"--setting {setting}={given} is empty; the first number takes to be the smaller.")
    if colon and (scale != "log" or least <= 0):
        raise UserError(f"--setting {setting}={given}; behind ':' stands 'log', for numbers above zero.")
    return Range(None, least, most, bool(colon))
